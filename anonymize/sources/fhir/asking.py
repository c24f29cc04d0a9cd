"""One request to a FHIR server, tried again where that can help, and told in words without an address: addresses can hold secrets.

Back-off by `Retry-After` (seconds or a date, RFC 9110 10.2.3), else doubling; a token is sent to the server's own origin alone (RFC 6454).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from anonymize.errors import SourceError
from anonymize.sources.fhir.smart import Tokens

#: So often one request is tried before its failure is told.
TRIES = 8
#: Seconds: the first pause without a `Retry-After`, and the longest with one.
FIRST, LONGEST = 1.0, 3600.0
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = 5


class Refused(SourceError):
    """An answer that trying again does not mend; `status` is HTTP's."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the server asks us to wait; None where it does not say, or nothing that can be read."""
    said = answer.headers.get("Retry-After", "").strip()
    if not said:
        return None
    try:
        seconds = float(said) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said) else (_date(said) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST)


def _date(text: str) -> datetime:
    found = parsedate_to_datetime(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass
class Asker:
    """Asks a server. base: its address; sleep: how to wait; where: begins the words of an error."""

    base: str
    where: str
    http: httpx.Client
    tokens: Tokens
    sleep: Callable[[float], None] = time.sleep

    def allowed(self, url: str, *, token: bool) -> str:
        """An address that the server told, as a whole one. Raises SourceError where it would take a request off TLS, or a token elsewhere."""
        whole = urljoin(f"{self.base}/", url)
        try:
            same = origin(whole) == origin(self.base)
        except ValueError:
            raise SourceError(f"{self.where}: the server told an address that is none") from None
        if not same and urlsplit(whole).scheme != "https":
            raise SourceError(f"{self.where}: the server told an address that is not https")
        if token and not same:
            raise SourceError(f"{self.where}: the server wants its token sent to another host, which is never done")
        return whole

    def ask(self, method: str, url: str, *, token: bool = True, once: bool = False, **options: Any) -> httpx.Response:
        """The answer to a request, whatever it says, once it is none that passes. once: a request that must not be made twice, so it is tried
        again only where the server surely did not take it."""
        last = ""
        for attempt in range(TRIES):
            try:
                with self._sent(method, url, token=token, **options) as answer:
                    answer.read()
            except httpx.TransportError as error:
                last, wait = type(error).__name__, None
                if once and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    break
            else:
                last, wait = f"HTTP {answer.status_code}", retry_after(answer)
                if answer.status_code not in PASSING or (once and answer.status_code not in (429, 503)):
                    return answer
            if attempt < TRIES - 1:
                self.pause(attempt, wait)
        raise SourceError(f"{self.where}: the server does not answer as it should ({last}, tried {attempt + 1} times). Try again later: {_KEPT}")

    @contextmanager
    def stream(self, url: str, *, token: bool, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """An answer that is read while it comes; tried once."""
        with self._sent("GET", url, token=token, headers=headers) as answer:
            yield answer

    def pause(self, attempt: int, wait: float | None = None) -> None:
        """Wait as long as the server asks, else longer with each attempt."""
        self.sleep(min(FIRST * 2**attempt, 120.0) * random.uniform(0.75, 1.25) if wait is None else wait)

    @contextmanager
    def _sent(self, method: str, url: str, *, token: bool, headers: dict[str, str] | None = None, **options: Any) -> Iterator[httpx.Response]:
        """One answer, redirections followed: the token goes with them only where they stay with the server. A token that the server says has
        ended is renewed, once."""
        renewed = False
        where = self.allowed(url, token=token)
        for _ in range(REDIRECTS + 2):
            sent = dict(headers or {})
            if token and origin(where) == origin(self.base):
                sent |= self.tokens.header()
            with self.http.stream(method, where, headers=sent, **options) as answer:
                if answer.is_redirect and "location" in answer.headers:
                    where = self.allowed(urljoin(where, answer.headers["location"]), token=False)
                    continue
                if answer.status_code == 401 and token and not renewed:
                    renewed = True
                    self.tokens.refused()
                    continue
                yield answer
                return
        raise SourceError(f"{self.where}: the server sends from address to address without end")

    def refuse(self, what: str, answer: httpx.Response) -> Refused:
        """What the server said, as an error: its status and FHIR's own codes for what is wrong; its words are withheld."""
        try:
            issues = answer.json()["issue"]
            codes = {one["code"] for one in issues if re.fullmatch(r"[a-z-]{1,30}", str(one.get("code")))}
        except (ValueError, KeyError, TypeError, AttributeError, httpx.ResponseNotRead):
            codes = set()
        said = f"HTTP {answer.status_code}" + (f", {', '.join(sorted(codes))}" if codes else "")
        return Refused(f"{self.where}: {what} ({said})", answer.status_code)


_KEPT = "what came so far is kept, and the run goes on there"
