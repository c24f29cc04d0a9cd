"""Keys are given, never made up or stored: from the environment, or handed in by the Airflow edge from its secrets backend.

A `Key` pickles as its reference, never as its bytes, so that no plan, closure or log can carry it; the process that unpickles it
finds the secret in its own keyring (`provide`) or environment.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from anonymize.errors import KeyMissing

MINIMUM_BYTES = 32
_keyring: dict[str, bytes] = {}


def provide(reference: str, secret: str | bytes) -> None:
    """Put a secret into this process's keyring under its reference (`airflow:anonymize_key`); used by the Airflow edge and by workers."""
    _keyring[reference] = secret.encode() if isinstance(secret, str) else secret


def provided() -> dict[str, bytes]:
    """This process's keyring, for the start of worker processes; never for a file or a log."""
    return dict(_keyring)


def from_environment(name: str) -> bytes:
    """The secret in the variable NAME, or in the file that NAME_FILE names (as containers and cluster nodes hand secrets out); else nothing.

    Raises KeyMissing where that file cannot be read.
    """
    file = os.environ.get(f"{name}_FILE")
    if name in os.environ or not file:
        return os.environ.get(name, "").encode()
    try:
        return Path(file).read_bytes().strip()
    except OSError as error:
        raise KeyMissing(f"no key: {name}_FILE names a file that cannot be read ({error.strerror})") from None


def resolve(reference: str) -> bytes:
    """The secret behind a reference: `env:NAME` from the environment (NAME, or the file that NAME_FILE names), any other from the keyring.

    Raises KeyMissing where there is none, or where it is shorter than 32 bytes.
    """
    scheme, _, name = reference.partition(":")
    secret = _keyring.get(reference)
    if secret is None and scheme == "env":
        secret = from_environment(name)
    if not secret:
        hint = f"export {name}=$(openssl rand -hex 32)" if scheme == "env" else f"an Airflow Variable '{name}'"
        raise KeyMissing(f"no key: {reference} is not set. Give a secret of 32 bytes or more, for example: {hint}")
    if len(secret) < MINIMUM_BYTES:
        raise KeyMissing(f"the key {reference} has {len(secret)} bytes; {MINIMUM_BYTES} are needed. Make one with: openssl rand -hex 32")
    return secret


class Key:
    """A secret separated by project: what is derived under one project says nothing about another.

    reference: `env:NAME` or `airflow:NAME`; project: the separation, a policy's `project`.
    Source: HMAC as a pseudo-random function (RFC 2104), derivation by label as in HKDF-Expand (RFC 5869).
    """

    def __init__(self, reference: str, project: str) -> None:
        self.reference, self.project = reference, project
        self._derived: dict[str, bytes] = {}
        resolve(reference)

    def derive(self, purpose: str) -> bytes:
        """The 32-byte subkey of a purpose (`pseudonym:patient`, `shift`, `needle`)."""
        if purpose not in self._derived:
            label = b"anonymize\x00" + self.project.encode() + b"\x00" + purpose.encode()
            self._derived[purpose] = hmac.new(resolve(self.reference), label, hashlib.sha256).digest()
        return self._derived[purpose]

    @property
    def id(self) -> str:
        """Eight hex digits that name the key in a manifest and tell nothing of it."""
        return self.derive("key id").hex()[:8]

    def __reduce__(self) -> tuple[type[Key], tuple[str, str]]:
        return Key, (self.reference, self.project)

    def __repr__(self) -> str:
        return f"Key({self.reference}, project={self.project})"
