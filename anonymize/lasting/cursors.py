"""How far a table has been read: a cursor, and the window that a run reads from there.

A cursor is a value of a record (the latest moment that was met, the greatest key), so it lies in the private kept base and in no record.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import SourceError
from anonymize.policy.lasting import Incremental
from anonymize.sources.parts import Part


def to_json(value: Any) -> dict[str, Any] | None:
    """A cursor as it is kept. Raises TypeError where a column's values do not grow by an order that sources share."""
    if value is None:
        return None
    if isinstance(value, datetime | date):
        return {"type": type(value).__name__, "value": value.isoformat()}
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(type(value).__name__)
    return {"type": type(value).__name__, "value": value}


def from_json(stated: dict[str, Any] | None) -> Any:
    """The cursor that was kept."""
    if stated is None:
        return None
    kind, value = stated["type"], stated["value"]
    return {"datetime": datetime.fromisoformat, "date": date.fromisoformat}.get(kind, lambda same: same)(value)


def greatest(before: Any, column: pa.Array) -> Any:
    """The greater of a cursor and a column's values; None where there are none."""
    found = pc.max(column).as_py() if len(column) else None
    return found if before is None else before if found is None else max(before, found)


def window(spec: Incremental, cursor: Any, type: pa.DataType, start: datetime | None, end: datetime | None) -> Part:
    """What a run reads: from the cursor, less the lateness, on; with an interval from its start, where that is earlier, to before its end.

    cursor: None at first, and of a full refresh. type: of the cursor's column. Raises SourceError where an interval meets a column that is no
    time.
    """
    bounded = spec.interval and end is not None
    if bounded and not pa.types.is_temporal(type):
        raise SourceError(f"cursor '{spec.cursor}' is no time at the source, so it has no 'interval'. Give its column 'type: timestamp'")
    until = _as(end, type) if bounded and end is not None else None
    since = None if cursor is None else _earlier(cursor, spec)
    if since is not None and bounded and start is not None:
        since = min(since, _as(start, type))
    return Part(spec.cursor, since, until)


def _earlier(cursor: Any, spec: Incremental) -> Any:
    if isinstance(cursor, datetime):
        return cursor - spec.back
    if isinstance(cursor, date):  # a day has no hours: any lateness is whole days of it
        return cursor - timedelta(days=-(-spec.back // timedelta(days=1)))
    if isinstance(cursor, str):
        return cursor if not spec.back else _day(cursor, spec.back)
    return cursor - spec.lateness if isinstance(spec.lateness, int) else cursor


def _day(text: str, back: timedelta) -> str:
    """The day of a moment that is written in ISO 8601, so much earlier: as a text it is less than every moment of it, however it is written."""
    try:
        return (datetime.fromisoformat(text).replace(tzinfo=None) - back - timedelta(days=1)).date().isoformat()
    except ValueError:
        raise SourceError("the cursor is a text that is no ISO 8601 time, so it has no lateness. Give its column 'type: timestamp'") from None


def _as(moment: datetime, type: pa.DataType) -> date | datetime:
    """A moment as a column has it: times without a zone are taken as UTC."""
    utc = moment.astimezone(UTC)
    if pa.types.is_date(type):
        return utc.date()
    return utc if getattr(type, "tz", None) else utc.replace(tzinfo=None)
