"""Airflow's connections as SQLAlchemy's URLs: as a URI or as JSON, from the Airflow edge or from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from anonymize.errors import SourceError

#: Airflow's connection types that are not SQLAlchemy's dialects.
DIALECTS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mssql": "mssql+pyodbc"}
#: What of a connection's `extra` the drivers take (the rest is for Airflow's hooks). TLS stands here: it must not be lost on the way.
DRIVER_OPTIONS = {
    *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "gssencmode", "krbsrvname", "target_session_attrs"),
    *("connect_timeout", "application_name", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("charset", "ssl_ca", "ssl_cert", "ssl_key", "driver", "Encrypt", "TrustServerCertificate"),
}


def connection_url(connection: str, connections: Callable[[str], str] | None) -> str:
    """The SQLAlchemy URL of an Airflow connection: from what the Airflow edge hands in, else from `AIRFLOW_CONN_<ID>`.

    Raises SourceError where there is none, or where it is neither a URI nor JSON; it never holds the password.
    """
    found = connection_text(connection, connections)
    try:
        url = _from_json(found) if found.lstrip().startswith("{") else _from_uri(found)
    except (ValueError, KeyError, TypeError, AttributeError, sa.exc.ArgumentError):
        raise SourceError(f"connection '{connection}' is neither a URI (postgres://user:password@host/database) nor Airflow's JSON") from None
    return url.render_as_string(hide_password=False)


def connection_text(connection: str, connections: Callable[[str], str] | None) -> str:
    """An Airflow connection as it is given: a URI or JSON. Raises SourceError where there is none."""
    variable = f"AIRFLOW_CONN_{connection.upper()}"
    found = connections(connection) if connections else os.environ.get(variable)
    if not found:
        raise SourceError(f"no connection '{connection}': define it in Airflow, or set {variable}")
    return found


def _from_json(text: str) -> sa.URL:
    parts = json.loads(text)
    if parts["conn_type"] == "sqlite":
        return sa.URL.create("sqlite", database=parts.get("schema") or parts.get("host"))
    port = int(parts["port"]) if parts.get("port") else None
    address = (parts.get("login"), parts.get("password"), parts.get("host"), port, parts.get("schema"))
    return _with_options(sa.URL.create(DIALECTS.get(parts["conn_type"], parts["conn_type"]), *address), parts.get("extra"))


def _from_uri(text: str) -> sa.URL:
    type, colon, rest = text.partition(":")
    url = sa.engine.make_url(DIALECTS.get(type, type) + colon + rest)
    extra = url.query.get("__extra__")
    return _with_options(url.difference_update_query(["__extra__"]), extra)


def _with_options(url: sa.URL, extra: Any) -> sa.URL:
    options = json.loads(extra) if isinstance(extra, str) and extra else extra or {}
    return url.update_query_dict({name: str(value) for name, value in options.items() if name in DRIVER_OPTIONS})
