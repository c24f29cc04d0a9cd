"""Pages from templates: everything is escaped, dates are told as ages beside their exact time, and no page may be kept or framed by others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from anonymize_desk.access import token

HERE = Path(__file__).parent
#: No script and no style but our own files, nothing from elsewhere, no frame but Airflow's own page, nothing kept by the browser.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def page(name: str, request: Request, user: BaseUser | None, status: int = 200, **shown: Any) -> HTMLResponse:
    """A template as a page."""
    return HTMLResponse(fill(name, request, user, **shown), status)


def fill(name: str, request: Request, user: BaseUser | None, **shown: Any) -> str:
    """A template, filled."""
    root = request.scope.get("root_path", "")
    known = {"root": root, "user": user.get_name() if user else "", "token": token(user) if user else "", "now": datetime.now(UTC)}
    return _templates.get_template(name).render(known | shown)


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits: `3 hours`."""
    seconds = max(0, int((now - since).total_seconds()))
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            number = seconds // size
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "less than a minute"


def exactly(at: datetime) -> str:
    """A time to the minute, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_templates.filters |= {"age": age, "exactly": exactly, "iso": lambda at: at.isoformat(timespec="seconds")}
_templates.filters["said"] = lambda at: exactly(datetime.fromisoformat(at))
