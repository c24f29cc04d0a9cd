"""What each kind of database server needs: a read-only session that its other users do not notice, one state of the data, values as they are.

Nothing is ever committed. SQL Server and Snowflake know no read-only transaction: there the reader's grants are what keeps it from writing.
"""

from __future__ import annotations

import codecs
import importlib.util
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from anonymize.errors import NoSuchTable, SourceError

#: A server that vanishes without a word is noticed within two minutes, and not after the system's two hours.
POSTGRES_CONNECT = {"connect_timeout": 30, "keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
#: The session of one connection, before its first statement. One state of the data throughout: a table that is written to while it is read
#: has each record once.
SESSION: dict[str, tuple[str, ...]] = {
    "postgresql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET LOCAL TIME ZONE 'UTC'",
        "SET LOCAL datestyle = 'ISO, YMD'",
        "SET LOCAL intervalstyle = 'postgres'",
        "SET LOCAL bytea_output = 'hex'",
        "SET LOCAL extra_float_digits = 1",
        # A table without a primary key is read from its beginning, not from where another scan is; a query's rows come in one order.
        "SET LOCAL synchronize_seqscans = off",
        "SET LOCAL max_parallel_workers_per_gather = 0",
    ),
    "mysql": (
        "SET SESSION time_zone = '+00:00'",
        # The server waits for a reader that waits for its own next step.
        "SET SESSION net_write_timeout = 3600",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "oracle": ("ALTER SESSION SET TIME_ZONE = 'UTC'", "SET TRANSACTION READ ONLY"),
    "snowflake": ("ALTER SESSION SET TIMEZONE = 'UTC'",),
    "sqlite": ("PRAGMA query_only = ON",),
}
SESSION["mariadb"] = SESSION["mysql"]
#: How a policy's query finds the tables of the source's schema, where the policy names one.
_SCHEMA = {
    "postgresql": "SET LOCAL search_path TO {}",
    **dict.fromkeys(("mysql", "mariadb"), "USE {}"),
    "oracle": "ALTER SESSION SET CURRENT_SCHEMA = {}",
    "snowflake": "USE SCHEMA {}",
}
#: A query without ORDER BY comes in the order of the plan for all its rows, by a cursor as without.
POSTGRES_QUERY = "SET LOCAL cursor_tuple_fraction = 1.0"
#: The drivers that come with the pipeline or its extras, where a URL names none.
DRIVERS = {
    **dict.fromkeys(("postgresql", "postgres"), "postgresql+psycopg"),
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mssql": "mssql+pymssql",
    "oracle": "oracle+oracledb",
}
#: SQLSTATE of PostgreSQL, numbers of MySQL, SQL Server and Oracle: there is no such table.
_NO_TABLE = frozenset({"42P01", "42S02", "1146", "208", "942"})
_DENIED = frozenset({"42501", "1142", "1143", "1044"})
_LENIENT = "utf-8-lone"


def settings(dialect: sa.Dialect, schema: str | None, snapshot: str | None) -> list[str]:
    """The statements that begin a session, in their order. snapshot: of another session of PostgreSQL, whose state of the data is to be seen."""
    found = list(SESSION.get(dialect.name, ()))
    if schema is not None and dialect.name in _SCHEMA:
        quoted = dialect.identifier_preparer.quote_schema(schema)
        found.insert(1 if dialect.name == "postgresql" else 0, _SCHEMA[dialect.name].format(quoted))
    if snapshot is not None:
        found.insert(1, f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    return found


def located(url: sa.URL, folder: Path) -> sa.URL:
    """The URL with its driver; a relative SQLite or DuckDB file is relative to the policy."""
    if url.drivername in DRIVERS:
        url = url.set(drivername=DRIVERS[url.drivername])
    if url.get_backend_name() in ("sqlite", "duckdb") and url.database and not Path(url.database).is_absolute():
        url = url.set(database=str((folder / url.database).resolve()))
    return url


def engine(name: str, url: str, folder: Path) -> sa.Engine:
    """An engine that keeps no connection open between two uses. Raises SourceError(source) where there is no such dialect or driver."""
    try:
        place = located(sa.engine.make_url(url), folder)
        made = sa.create_engine(place, poolclass=sa.NullPool, connect_args=_connect_args(place))
    except ModuleNotFoundError as error:
        raise SourceError(f"source '{name}': the driver '{error.name}' of its URL is not installed. Install it beside the pipeline") from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError):
        what = f"source '{name}': its URL is none that SQLAlchemy knows here (dialect://user:password@host/database)"
        raise SourceError(what + (". Install the extra 'snowflake'" if url.startswith("snowflake:") else "")) from None
    sa.event.listen(made, "connect", lenient)
    return made


def _connect_args(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql":
        return {key: value for key, value in POSTGRES_CONNECT.items() if key not in url.query}
    if url.get_driver_name() == "pymysql":
        return {"conv": _mysql_decoders(), "connect_timeout": 30} if "connect_timeout" not in url.query else {"conv": _mysql_decoders()}
    return {}


def _mysql_decoders() -> dict[Any, Any]:
    """Dates, times and decimals stay the texts that the server sends: `0000-00-00` makes one record fall out, and columns convert at once."""
    from pymysql.constants import FIELD_TYPE as F
    from pymysql.converters import conversions

    texts = (F.DATE, F.NEWDATE, F.DATETIME, F.TIMESTAMP, F.TIME, F.DECIMAL, F.NEWDECIMAL)
    # The session's zone is UTC, which a TIMESTAMP's text does not say.
    own = {F.BIT: lambda raw: int.from_bytes(raw, "big"), F.TIMESTAMP: lambda text: f"{text}Z"}
    return {key: value for key, value in conversions.items() if key not in texts} | own


def lenient(connection: Any, _: Any) -> None:
    """Let one odd value make one record fall out, where the driver would end the whole read."""
    if hasattr(connection, "text_factory"):
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    elif type(connection).__module__.startswith("pymysql"):
        if codecs.lookup(connection.encoding).name == "utf-8":
            connection.encoding = _LENIENT
        _keep_alive(connection._sock)


def as_written(connection: sa.Connection) -> None:
    """Whatever is no number, truth value or text comes as PostgreSQL itself writes it: `infinity`, the year 12020, arrays, ranges. Not for
    the connections that read the catalogue, where SQLAlchemy wants its arrays."""
    from psycopg.types.string import TextLoader

    from anonymize.sources.sql_types import POSTGRES_NATIVE

    adapters: Any = connection.connection.driver_connection.adapters  # type: ignore[union-attr]
    for info in adapters.types:
        for oid in {info.oid, info.array_oid} - {0}:
            if info.name not in POSTGRES_NATIVE or oid == info.array_oid:
                adapters.register_loader(oid, TextLoader)


def _keep_alive(sock: socket.socket | None) -> None:
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _lone(name: str) -> codecs.CodecInfo | None:
    """UTF-8 of which a byte that is none becomes a lone surrogate, for drivers that take a codec's name and no error handler."""
    if name.replace("_", "-") != _LENIENT:
        return None
    return codecs.CodecInfo(codecs.utf_8_encode, lambda raw, _="strict": codecs.utf_8_decode(raw, "surrogateescape", True), name=_LENIENT)


codecs.register(_lone)


def abandon(connection: sa.Connection) -> None:
    """Drop a connection whose rows are not wanted any more; MySQL's driver would read them all to their end first."""
    raw = connection.connection.driver_connection if not connection.invalidated else None
    if raw is not None and type(raw).__module__.startswith("pymysql"):
        if raw._result is not None:
            raw._result.unbuffered_active, raw._result = False, None
        raw._force_close()
    connection.invalidate()


class Guard:
    """Says which source and what of it could not be read. A driver's message can hold the URL or a value, so it is withheld."""

    def __init__(self, where: str, dialect: str) -> None:
        self.where, self.dialect = where, dialect

    def __enter__(self) -> None:
        return None

    def __exit__(self, type: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            raise self.said(error, getattr(error, "orig", None) or error) from None
        if isinstance(error, OSError | ValueError | ArithmeticError | pa.ArrowException) or _of_driver(error):
            raise self.said(error, error) from None

    def said(self, error: BaseException | None, cause: BaseException | None) -> SourceError:
        """The error for a user, without the driver's words."""
        codes = {getattr(cause, "sqlstate", None), str(next(iter(getattr(cause, "args", ())), ""))}
        missing = bool(codes & _NO_TABLE) or (self.dialect == "sqlite" and any(str(code).startswith("no such table") for code in codes))
        kind = NoSuchTable if missing else SourceError
        return kind(f"{self.where}: cannot be read ({cause.__class__.__name__}). {self._hint(error, codes, missing)}")

    def _hint(self, error: BaseException | None, codes: set[Any], missing: bool) -> str:
        if codes & _DENIED:
            return "Its user may not read it. Grant SELECT"
        if self.dialect in ("sqlite", "duckdb"):
            return "Is the file a database that the run's user may read, and the query right?"
        if missing:
            return "It names a table that is not there"
        if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError | sa.exc.TimeoutError | OSError):
            return "Is the server up, the network open, and are the credentials right? Start the run again: it goes on"
        return "Is the query right?"


def _of_driver(error: BaseException | None) -> bool:
    """Whether an error is a driver's own, of PEP 249."""
    return any(base.__name__ == "Error" and not base.__module__.startswith("anonymize") for base in type(error).__mro__)


def installed(module: str) -> bool:
    """Whether a driver is there."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
