"""Who seals the trail: an Ed25519 key that is given, never made up or stored."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anonymize import keys
from anonymize.errors import AnonymizeError, KeyMissing

_HOW = "Make one: openssl genpkey -algorithm ed25519 -out trail.pem (a PEM), or openssl rand -hex 32 (a seed of 64 hex digits)"


class Public:
    """A public key. hex: its 32 bytes."""

    def __init__(self, raw: bytes) -> None:
        self.hex = raw.hex()
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @property
    def id(self) -> str:
        """16 hex digits that name the key."""
        return hashlib.sha256(bytes.fromhex(self.hex)).hexdigest()[:16]

    def holds(self, signature: str | None, message: bytes) -> bool:
        """Whether the signature, hex as it is written here, is this key's of the message."""
        try:
            raw = bytes.fromhex(signature or "")
            self._key.verify(raw, message)
            return raw.hex() == signature  # no second way to write the same signature
        except (InvalidSignature, ValueError):
            return False

    @classmethod
    def read(cls, given: str) -> Public:
        """From 64 hex digits, or the path of a PEM. Raises AnonymizeError."""
        try:
            if len(given) == 64:
                return cls(bytes.fromhex(given))
            loaded = serialization.load_pem_public_key(Path(given).read_bytes())
            if not isinstance(loaded, Ed25519PublicKey):
                raise ValueError("of another kind")
            return cls(loaded.public_bytes_raw())
        except (OSError, ValueError):
            raise AnonymizeError(f"'{given}' is no Ed25519 public key: 64 hex digits, or the path of a PEM file") from None


class Signer:
    """The private key behind a reference."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = Public(key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> str:
        """128 hex digits. Source: RFC 8032."""
        return self._key.sign(message).hex()

    @classmethod
    def of(cls, reference: str, *, base: Path) -> Signer:
        """The key of `env:NAME`, `airflow:NAME` (handed in by the Airflow edge), or `file:PATH` relative to `base`.

        Raises KeyMissing where there is none, or what is there is none; what is there is never repeated.
        """
        scheme, _, name = reference.partition(":")
        if scheme == "file":
            path = base / name
            if not path.is_file():
                raise KeyMissing(f"no key signs the trail: {path} is no file. {_HOW}")
            secret = path.read_bytes()
        else:
            try:
                secret = keys.resolve(reference)
            except KeyMissing:
                raise KeyMissing(f"no key signs the trail: {reference} is not set, or too short. {_HOW}") from None
        key = _private(secret.strip())
        if key is None:
            raise KeyMissing(f"{reference} holds no Ed25519 private key. {_HOW}")
        return cls(key)


def _private(secret: bytes) -> Ed25519PrivateKey | None:
    """PEM (PKCS 8, without a password), or a seed of 32 bytes in hex or base64."""
    try:
        if secret.startswith(b"-----"):
            # An environment variable may hold its line ends as `\\n`.
            loaded = serialization.load_pem_private_key(secret.replace(b"\\n", b"\n"), password=None)
            return loaded if isinstance(loaded, Ed25519PrivateKey) else None
        raw = bytes.fromhex(secret.decode()) if len(secret) == 64 else base64.b64decode(secret, validate=True)
        return Ed25519PrivateKey.from_private_bytes(raw)
    except (ValueError, TypeError):
        return None
