"""A published version without some subjects: their rows go, then the classes that this leaves too small, until all that was asked holds.

What is suppressed is found here with DuckDB and the search's models; that it holds is counted anew from the written files by `recount.py`
and `validate/counting.py`, which share nothing with this.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize import asking
from anonymize.engine.files import GROUP_ROWS
from anonymize.errors import GateFailed, StoreError, without_values
from anonymize.judging.recount import Rows, Wanted, recount, smallest_combination
from anonymize.policy.model import Policy, Role
from anonymize.privacy.lattice import values_in_order
from anonymize.privacy.models import Model, columns_of
from anonymize.publish.manifest import TableFact
from anonymize.publish.parquet import hash_file
from anonymize.publish.sealing import unseal
from anonymize.publish.store import Version
from anonymize.taking_back.searching import id_column
from anonymize.taking_back.subjects import KeyedIds
from anonymize.taking_back.withheld import found_in
from anonymize.transform.batch import SUBJECT

_SUBJECTS = pa.schema([(SUBJECT, pa.string())])


@dataclass(frozen=True)
class TableWork:
    """A table of the version: where it lies on this machine, and what its columns are. id: None where it is not about subjects."""

    fact: TableFact
    id: str | None
    quasi: tuple[str, ...]
    models: tuple[Model, ...]
    event: bool
    home: Path

    @property
    def name(self) -> str:
        return self.fact.name

    def files(self, of: str) -> list[Path]:
        """Parquet of `old`, `stage` (what will be published), or whose rows they are: `old-subjects`, `subjects`."""
        return sorted((self.home / of / self.name).glob("*.parquet"))


@dataclass
class Rewritten:
    """What became of a version. taken, suppressed: rows by table; subjects: suppressed with those who went; found: recounted, in words."""

    tables: tuple[TableFact, ...]
    stage: Path
    taken: dict[str, int]
    suppressed: dict[str, int]
    suppressed_subjects: int
    smallest: int | None
    found: list[str] = field(default_factory=list)
    absent: dict[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return not any(table.rows for table in self.tables if table.subjects is not None)


def rewrite(version: Version, policy: Policy, ids: KeyedIds, home: Path) -> Rewritten:
    """Write the version without the subjects under `home` (private), and prove it.

    k is the greater of the policy's and the version's own; models, attacker and hierarchies are the policy's as it stands.
    Raises StoreError where a file is not what was published, KeyMissing where a column's key is not there, GateFailed where what is left
    does not hold.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    k = max(policy.privacy.k, version.manifest.privacy.k)
    works = [_fetched(version, policy, table, home) for table in version.manifest.tables]
    with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(home / "scratch")}) as duck, without_values("taking back"):
        duck.execute("SET enable_progress_bar = false")
        _load(duck, works, ids)
        taken = {work.name: _count(duck, f"SELECT count(*) FROM {_t(work)} WHERE who IN (SELECT who FROM gone)") for work in works}  # noqa: S608
        before = _people(duck, works)
        _suppress(duck, works, policy, k)
        after = _people(duck, works)
        for work in works:
            _write(duck, work)
    tables = tuple(_fact(work) for work in works)
    left = {work.name: table.rows for work, table in zip(works, tables, strict=True)}
    suppressed = {work.name: work.fact.rows - taken[work.name] - left[work.name] for work in works}
    done = Rewritten(tables, home / "stage", taken, suppressed, before - after, None)
    if not done.empty:
        _prove(done, works, policy, k, ids)
    return done


# ------------------------------------------------------------------------------------------------------------- to this machine


def _fetched(version: Version, policy: Policy, table: TableFact, home: Path) -> TableWork:
    """Copy a table's files here, hold them against the manifest, and write whose each row is beside them."""
    column = id_column(policy, table)
    spec = policy.tables.get(table.name)
    quasi = tuple(c.name for c in table.columns if c.role == Role.QUASI.value)
    names = {c.name for c in table.columns}
    models = tuple(m for m in asking.of_table(policy, table.name) if m.column in names) if spec is not None and quasi else ()
    event = bool(policy.privacy.events and quasi and column and table.name != policy.subject_table)
    work = TableWork(table, column, quasi, models, event, home)
    folder = home / "old" / table.name
    folder.mkdir(parents=True, mode=0o700)
    for file in table.files:
        target = folder / Path(file.path).name
        filesystem, path = version.backend.filesystem(f"{version.folder}/{file.path}")
        try:
            with filesystem.open_input_stream(path) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 4 << 20)
        except OSError as error:
            raise StoreError(f"the research store cannot read {file.path}: {error.strerror or type(error).__name__}") from None
        if hash_file(target) != file.sha256:
            raise StoreError(f"{version.uri}/{file.path} is not what was published, so nothing is made of it. Take it from a backup")
        if any(c.encrypted for c in table.columns):
            target.rename(sealed := target.with_suffix(".sealed"))
            unseal(sealed, target, policy.release.encryption.references)
            sealed.unlink()
    _write_subjects(work, "old", "old-subjects")
    return work


def _write_subjects(work: TableWork, data: str, beside: str) -> None:
    """Whose each row is, in one form for all tables: the digest's 63 bits as text; null where the table is about nobody."""
    folder = work.home / beside / work.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in work.files(data):
        source = pq.ParquetFile(file)
        with pq.ParquetWriter(folder / file.name, _SUBJECTS, compression="zstd") as out:
            for batch in source.iter_batches(GROUP_ROWS, columns=[work.id] if work.id else [source.schema_arrow.names[0]]):
                whose = _whose(batch.column(0)) if work.id else pa.nulls(batch.num_rows, pa.string())
                out.write_batch(pa.record_batch([whose], schema=_SUBJECTS))


def _whose(column: pa.Array) -> pa.Array:
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    encoded = column.dictionary_encode()
    forms = [None if v is None else str(int.from_bytes(base64.b32decode(v.upper())[:8], "big") >> 1) for v in encoded.dictionary.to_pylist()]
    return pa.array(forms, pa.string()).take(encoded.indices)


# ------------------------------------------------------------------------------------------------------------------- who goes


def _load(duck: duckdb.DuckDBPyConnection, works: Sequence[TableWork], ids: KeyedIds) -> None:
    """A table `t_…` a table: file, row, who, class (its quasi-identifiers as one text), sensitive columns; `gone`: who is out; `dead`: classes
    of a table that are out."""
    duck.execute("CREATE TABLE gone (who VARCHAR PRIMARY KEY)")
    duck.execute("CREATE TABLE dead (name VARCHAR, class VARCHAR)")
    duck.register("asked", pa.table({"who": pa.array([str(number) for number in ids.numbers()], pa.string())}))
    duck.execute("INSERT INTO gone SELECT who FROM asked")
    for work in works:
        files = work.files("old")
        if not files:
            duck.execute(f"CREATE TABLE {_t(work)} (file VARCHAR, row BIGINT, who VARCHAR, class VARCHAR)")
            continue
        known = ", ".join(_quoted(name) for name in work.quasi)
        text = f"to_json(row({known}))::VARCHAR" if known else "NULL::VARCHAR"
        sensitive = "".join(f", {_quoted(name)}" for name in columns_of(work.models))
        data = f"read_parquet([{_listed(files)}], filename = true, file_row_number = true)"
        whose = f"read_parquet([{_listed(work.files('old-subjects'))}])"
        wanted = f"d.filename AS file, d.file_row_number AS row, w.{SUBJECT} AS who, {text} AS class{sensitive}"
        query = f"SELECT {wanted} FROM {data} d POSITIONAL JOIN {whose} w"  # noqa: S608
        duck.execute(f"CREATE TABLE {_t(work)} AS {query}")


def _suppress(duck: duckdb.DuckDBPyConnection, works: Sequence[TableWork], policy: Policy, k: int) -> None:
    """Take out what does not hold, until all holds: whole subjects in the subject table, as the pipeline does, rows of a class elsewhere. Each
    round takes more out or ends, so there is an end."""
    while True:
        before = _out(duck)
        for work in works:
            if work.quasi:
                _suppress_classes(duck, work, policy, k)
        if policy.privacy.events:
            _suppress_combinations(duck, works, policy, k)
        if _out(duck) == before:
            return


def _suppress_classes(duck: duckdb.DuckDBPyConnection, work: TableWork, policy: Policy, k: int) -> None:
    size = "count(DISTINCT who) + count(*) FILTER (who IS NULL)"
    duck.execute(f"CREATE OR REPLACE TEMP TABLE short AS SELECT class FROM {_alive(work)} GROUP BY class HAVING {size} < {k}")  # noqa: S608
    failing = _failing(duck, work, policy)
    if failing:
        duck.register("failing", pa.table({"class": pa.array(failing, pa.string())}))
        duck.execute("INSERT INTO short SELECT class FROM failing")
    if work.name == policy.subject_table:
        duck.execute(f"INSERT OR IGNORE INTO gone SELECT DISTINCT who FROM {_alive(work)} WHERE class IN (SELECT class FROM short)")  # noqa: S608
    duck.execute("INSERT INTO dead SELECT ?, class FROM (SELECT DISTINCT class FROM short)", [work.name])


def _failing(duck: duckdb.DuckDBPyConnection, work: TableWork, policy: Policy) -> list[str]:
    """The classes in which a model of sensitive values does not hold, against the table as it is left."""
    found: set[str] = set()
    if not work.models:
        return []
    tally = _tally(duck.execute(f"SELECT * FROM {_alive(work)}").to_arrow_table(), work, policy)  # noqa: S608
    if not len(tally):
        return []
    classes = tally["class"].combine_chunks().dictionary_encode()
    single = None if work.name == policy.subject_table else "who"
    for model in asking.fit(work.models, tally, asking.ladders(policy, work.name, work.models)):
        order = values_in_order(tally[model.column])
        pairs = tally.select(["class", model.column, *([single] if single else [])])
        pairs = pairs.group_by(pairs.schema.names).aggregate([]) if single else tally
        row = pc.index_in(pairs["class"], classes.dictionary).to_numpy().astype(np.int64)
        column = pc.index_in(pairs[model.column], order).to_numpy().astype(np.int64)
        weights = np.ones(len(pairs)) if single else pairs["subjects"].to_numpy()
        counts = np.zeros((len(classes.dictionary), len(order)), np.int64)
        np.add.at(counts, (row, column), weights.astype(np.int64))
        whole = asking.histogram(tally, model.column, order, single)
        found.update(classes.dictionary.filter(pa.array(~model.holds(counts, whole))).to_pylist())
    return sorted(found)


def _tally(rows: pa.Table, work: TableWork, policy: Policy) -> pa.Table:
    """Distinct tuples of class and sensitive values with their number of subjects; with whose they are, where a subject has several rows."""
    keys = ["class", *columns_of(work.models), *(["who"] if work.name != policy.subject_table else [])]
    present = [key for key in keys if key in rows.schema.names]
    return rows.select(present).group_by(present).aggregate([([], "count_all")]).rename_columns([*present, "subjects"])


def _suppress_combinations(duck: duckdb.DuckDBPyConnection, works: Sequence[TableWork], policy: Policy, k: int) -> None:
    """Take out whoever stands in a combination, of demographics and the events that the attacker knows, that fewer than k share."""
    about = next((work for work in works if work.name == policy.subject_table and work.quasi), None)
    events = [work for work in works if work.event]
    if not events:
        return
    parts = " UNION ".join(f"SELECT who, '{number} ' || class AS item FROM {_alive(work)}" for number, work in enumerate(events))  # noqa: S608
    duck.execute(f"CREATE OR REPLACE TEMP TABLE items AS {parts}")
    home = f"SELECT who, class FROM {_alive(about)}" if about is not None else "SELECT NULL AS who, NULL AS class WHERE false"  # noqa: S608
    known = f"SELECT items.who, coalesce(h.class, '') AS class, item FROM items LEFT JOIN ({home}) h ON h.who = items.who"  # noqa: S608
    duck.execute(f"CREATE OR REPLACE TEMP TABLE known AS {known}")
    for size in range(1, policy.privacy.events + 1):
        joins = "".join(f" JOIN known k{i} ON k{i}.who = k0.who AND k{i}.item > k{i - 1}.item" for i in range(1, size))
        keys = ", ".join(["k0.class", *(f"k{i}.item" for i in range(size))])
        names = ", ".join(f"x{i}" for i in range(size + 1))
        sets = f"SELECT k0.who AS who, {', '.join(f'{key} AS x{i}' for i, key in enumerate(keys.split(', ')))} FROM known k0{joins}"  # noqa: S608
        rare = f"SELECT {names} FROM ({sets}) GROUP BY {names} HAVING count(DISTINCT who) < {k}"  # noqa: S608
        match = " AND ".join(f"s.x{i} = r.x{i}" for i in range(size + 1))
        duck.execute(f"INSERT OR IGNORE INTO gone SELECT DISTINCT s.who FROM ({sets}) s JOIN ({rare}) r ON {match}")  # noqa: S608


def _alive(work: TableWork) -> str:
    return (
        f"(SELECT * FROM {_t(work)} t WHERE (who IS NULL OR who NOT IN (SELECT who FROM gone)) "  # noqa: S608
        f"AND (class IS NULL OR class NOT IN (SELECT class FROM dead WHERE name = {_text(work.name)})))"
    )


def _out(duck: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    return _count(duck, "SELECT count(*) FROM gone"), _count(duck, "SELECT count(*) FROM dead")


def _people(duck: duckdb.DuckDBPyConnection, works: Sequence[TableWork]) -> int:
    """Subjects who are still in any table."""
    parts = " UNION ".join(f"SELECT who FROM {_alive(work)} WHERE who IS NOT NULL" for work in works)  # noqa: S608
    return _count(duck, f"SELECT count(*) FROM ({parts})")  # noqa: S608


# ------------------------------------------------------------------------------------------------------- what is left, as files


def _write(duck: duckdb.DuckDBPyConnection, work: TableWork) -> None:
    """The rows that stay, in their order, in files of the same names and schema."""
    folder = work.home / "stage" / work.name
    folder.mkdir(parents=True, mode=0o700)
    for file in work.files("old"):
        query = f"SELECT row FROM {_alive(work)} WHERE file = ? ORDER BY row"  # noqa: S608
        stays = duck.execute(query, [str(file)]).fetchnumpy()["row"]
        source = pq.ParquetFile(file)
        with pq.ParquetWriter(folder / file.name, source.schema_arrow, compression="zstd", write_statistics=True) as out:
            for group in _groups(source, np.asarray(stays)):
                out.write_table(group, row_group_size=GROUP_ROWS)
    _write_subjects(work, "stage", "subjects")


def _groups(source: pq.ParquetFile, stays: np.ndarray) -> Iterator[pa.Table]:
    start = 0
    for number in range(source.num_row_groups):
        rows = source.metadata.row_group(number).num_rows
        within = stays[(stays >= start) & (stays < start + rows)] - start
        start += rows
        if len(within):
            yield source.read_row_group(number).take(pa.array(within))


def _fact(work: TableWork) -> TableFact:
    rows = sum(pq.read_metadata(file).num_rows for file in work.files("stage"))
    subjects = work.fact.subjects
    if work.id is not None:
        seen = (pc.unique(pq.read_table(file)[SUBJECT]) for file in work.files("subjects"))
        subjects = len({who for part in seen for who in part.to_pylist() if who is not None})
    return work.fact.model_copy(update={"rows": rows, "subjects": subjects, "files": ()})


# ------------------------------------------------------------------------------------------------------------------ the proof


def _prove(done: Rewritten, works: Sequence[TableWork], policy: Policy, k: int, ids: KeyedIds) -> None:
    """Count anew, from the files as written, what was asked, and that no pseudonym of theirs stands in any column. Raises GateFailed."""
    failed, smallest = [], []
    for work in works:
        files, whose = work.files("stage"), work.files("subjects")
        done.absent |= {f"{work.name}.{column}": rows for column, rows in found_in(files, ids).items()}
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        if not work.quasi or not rows:
            continue
        counted = recount(files, work.quasi, _wanted(work, policy, k), subject=whose if work.id else None)
        failed += [f"{work.name}: {what}" for what in counted.failed]
        smallest.append(counted.smallest)
        done.found.append(f"{work.name}: the smallest of {counted.classes:,} classes has {counted.smallest} subjects; k = {k}")
        done.found += [f"{work.name}: every class holds what is asked of {column}" for column in columns_of(work.models)]
    events = [_rows(work) for work in works if work.event]
    if events:
        about = next((_rows(work) for work in works if work.name == policy.subject_table), None)
        least, sets = smallest_combination(about, events, policy.privacy.events)
        failed += [f"a combination of {policy.privacy.attacker} is of {least} subjects"] if sets and least < k else []
        done.found.append(f"the rarest of {sets:,} combinations of {policy.privacy.attacker} is of {least} subjects; k = {k}")
    failed += [f"{column} holds {rows:,} rows of theirs still" for column, rows in done.absent.items() if rows]
    if failed:
        raise GateFailed("what is left does not hold, so it is not published:\n" + "\n".join(f"  {what}" for what in failed))
    done.smallest = min(smallest, default=None)


def _rows(work: TableWork) -> Rows:
    return Rows(work.files("stage"), work.files("subjects"), work.quasi)


def _wanted(work: TableWork, policy: Policy, k: int) -> Wanted:
    if not work.models:
        return Wanted(k)
    columns = columns_of(work.models)
    data = pq.read_table(work.files("stage"), columns=columns)
    single = work.name == policy.subject_table
    if not single:
        data = data.append_column(SUBJECT, pq.read_table(work.files("subjects"))[SUBJECT])
    keys = data.schema.names
    tally = data.group_by(keys).aggregate([([], "count_all")]).rename_columns([*keys, "subjects"])
    fitted = asking.fit(work.models, tally, asking.ladders(policy, work.name, work.models))
    return asking.wanted(k, fitted, tally, None if single else SUBJECT)


def _count(duck: duckdb.DuckDBPyConnection, query: str) -> int:
    return int((duck.execute(query).fetchone() or (0,))[0] or 0)


def _t(work: TableWork) -> str:
    return _quoted(f"t_{work.name}")


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(_text(str(file)) for file in files)


def _text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
