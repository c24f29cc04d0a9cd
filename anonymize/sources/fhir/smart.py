"""Who we are to a FHIR server: SMART backend services, or a token that somebody gave us.

A token is kept in memory alone, is asked for anew before it ends, and goes to no other host than the one whose server it was made for.
Source: HL7 SMART App Launch 2.2.0, "Backend Services" and "Client Authentication: Asymmetric" (private_key_jwt); RFC 7523.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from anonymize.errors import SourceError
from anonymize.policy.origins import FhirAuth

#: Seconds that a signed assertion holds; SMART allows five minutes.
ASSERTION = 240
#: A token is renewed so many seconds before it ends.
EARLY = 30
#: A token that does not say when it ends; SMART recommends servers five minutes.
USUAL = 300
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def secret(reference: str, where: str, connections: Callable[[str], str] | None) -> str:
    """The secret behind `env:NAME` or `connection:ID` (an Airflow connection's password, or `private_key` of its extra). Raises SourceError."""
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        found = os.environ.get(name, "")
        if not found.strip():
            raise SourceError(f"{where}: {name} is not set in the environment")
        return found
    variable = f"AIRFLOW_CONN_{name.upper()}"
    text = connections(name) if connections else os.environ.get(variable, "")
    found = _of_connection(text)
    if not found:
        raise SourceError(f"{where}: connection '{name}' holds no secret: put it into its password, or 'private_key' of its extra")
    return found


def _of_connection(text: str) -> str:
    try:
        if text.lstrip().startswith("{"):
            parts = json.loads(text)
            extra = parts.get("extra") or {}
            extra = json.loads(extra) if isinstance(extra, str) else extra
            return str(extra.get("private_key") or parts.get("password") or "")
        address = urlsplit(text)
        extra_text = next((unquote(one[10:]) for one in address.query.split("&") if one.startswith("__extra__=")), "")
        extra = json.loads(extra_text) if extra_text else {}
        given = next((unquote(one[12:]) for one in address.query.split("&") if one.startswith("private_key=")), "")
        return str(extra.get("private_key") or given or unquote(address.password or ""))
    except (ValueError, AttributeError):
        return ""


@dataclass
class Signer:
    """Our private key, and how it signs."""

    key: RSAPrivateKey | EllipticCurvePrivateKey
    algorithm: str
    kid: str | None

    @classmethod
    def of(cls, text: str, kid: str | None, where: str) -> Signer:
        """A PEM, a JWK, or a set of JWKs of which the first private one counts. Raises SourceError without a word of the key."""
        try:
            key, own = _key(text)
        except Exception:
            raise SourceError(f"{where}: the private key is neither a PEM (unencrypted) nor a private JWK") from None
        if isinstance(key, RSAPrivateKey) and key.key_size >= 2048:
            return cls(key, "RS384", kid or own)
        if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
            return cls(key, "ES384", kid or own)
        raise SourceError(f"{where}: the private key must be RSA of 2,048 bits or more, or elliptic on P-384: SMART takes RS384 and ES384")

    def assertion(self, client: str, token_url: str) -> str:
        """A signed token that says who we are, for one use (SMART: iss, sub, aud, exp, jti)."""
        now = int(time.time())
        claims = {"iss": client, "sub": client, "aud": token_url, "iat": now, "exp": now + ASSERTION, "jti": str(uuid.uuid4())}
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.kid} if self.kid else None)


def _key(text: str) -> tuple[Any, str | None]:
    if text.lstrip().startswith("{"):
        data = json.loads(text)
        keys = data.get("keys", [data])
        chosen = next(one for one in keys if "d" in one)
        return jwt.PyJWK(chosen, algorithm="RS384" if chosen["kty"] == "RSA" else "ES384").key, chosen.get("kid")
    # A PEM in an environment variable often has `\n` where its lines end.
    return load_pem_private_key(text.replace("\\n", "\n").strip().encode(), None), None


@dataclass
class Tokens:
    """Gives the token for a request. http: asks one URL, once; base: the server's address."""

    settings: FhirAuth | None
    base: str
    where: str
    http: httpx.Client
    connections: Callable[[str], str] | None = None
    _token: str = field(default="", repr=False)
    _ends: float = 0.0
    _signer: Signer | None = field(default=None, repr=False)
    _url: str = ""

    def header(self) -> dict[str, str]:
        """`Authorization`, for the server's own host and no other; empty where the server asks for nothing."""
        if self.settings is None:
            return {}
        if self.settings.bearer is not None:
            return {"Authorization": f"Bearer {_sendable(secret(self.settings.bearer, self.where, self.connections), self.where)}"}
        if time.monotonic() > self._ends - EARLY:
            self._renew(self.settings)
        return {"Authorization": f"Bearer {self._token}"}

    def refused(self) -> None:
        """The server took the token for ended: the next request asks for a new one."""
        self._ends = 0.0

    def _renew(self, settings: FhirAuth) -> None:
        self._signer = self._signer or Signer.of(secret(settings.key or "", self.where, self.connections), settings.kid, self.where)
        self._url = self._url or settings.token_url or self._discovered()
        _guarded(self._url, self.where)
        form = {
            "grant_type": "client_credentials",
            "scope": settings.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._signer.assertion(settings.client or "", self._url),
        }
        try:
            answer = self.http.post(self._url, data=form, headers={"Accept": "application/json"})
        except httpx.HTTPError as error:
            raise SourceError(f"{self.where}: the server of tokens cannot be reached ({type(error).__name__})") from None
        try:
            said = answer.json()
            token, lasts = said.get("access_token"), said.get("expires_in", USUAL)
        except (ValueError, AttributeError):
            said, token, lasts = {}, None, 0
        if answer.status_code != 200 or not isinstance(token, str):
            raise SourceError(f"{self.where}: no token was given: HTTP {answer.status_code}{_code(said)}. {_HINT}")
        self._token, self._ends = _sendable(token, self.where), time.monotonic() + (lasts if isinstance(lasts, int | float) else USUAL)

    def _discovered(self) -> str:
        try:
            answer = self.http.get(f"{self.base}/.well-known/smart-configuration", headers={"Accept": "application/json"})
            found = answer.json()["token_endpoint"] if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, str):
            hint = "Say it: auth: {token-url: …}"
            raise SourceError(f"{self.where}: the server's .well-known/smart-configuration names no token_endpoint. {hint}")
        return found


_HINT = "Is our public key registered with the server under this client and 'kid', and is the 'scope' granted?"


def _code(said: Any) -> str:
    """OAuth's own word for what is wrong (`invalid_client`), if it is one of its words; what else was said is withheld."""
    word = said.get("error") if isinstance(said, dict) else None
    return f", {word}" if isinstance(word, str) and re.fullmatch(r"[a-z_]{1,40}", word) else ""


def _sendable(token: str, where: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
        raise SourceError(f"{where}: the token holds signs that no token has")
    return token.strip()


def _guarded(url: str, where: str) -> None:
    """A secret goes over TLS alone, or to this machine. Raises SourceError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise SourceError(f"{where}: a secret is sent over https alone")
