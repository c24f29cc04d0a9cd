"""A policy is read by many and holds no secret: passwords and keys that stand in one are found, and never repeated in an error."""

from __future__ import annotations

import re
from urllib.parse import unquote

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
#: scheme://user:PASSWORD@host; a password can hold anything but the last @. Not a port: scheme://host:5432/…@…
_IN_ADDRESS = re.compile(r"://[^:/@\s]*:(?!\d{1,5}(?:[/?]|$))([^\s]+)@")
_IN_QUERY = re.compile(
    r"(?i)[?&;=]((?:[a-z]*[_-]?)?(?:password|passwd|pwd|secret|secret[_-]?(?:access[_-]?)?key|access[_-]?key(?:[_-]?id)?|account[_-]?key"
    r"|api[_-]?key|sas[_-]?token|token|sig(?:nature)?|credential))=([^&;\s]+)"
)
#: Words that somebody might add to a policy to hold a secret.
WORDS = frozenset("password passwd pwd pass secret token secret_key access_key api_key credentials username user".split())

HOW = "Put it into the environment and write ${NAME}, or name an Airflow connection"


def secret_in(text: str) -> str | None:
    """What secret a text holds (`a password`), in words without it; None where it holds none, or only `${NAME}` in its place."""
    for shown in (text, unquote(text)):
        address = _IN_ADDRESS.search(shown)
        if address and _REFERENCE.sub("", address[1]):
            return "a password"
        for match in _IN_QUERY.finditer(shown):
            if _REFERENCE.sub("", match[2]):
                return f"a secret ('{match[1]}')"
    return None
