"""The engine of a cluster: Spark schedules, shuffles and counts; the rows stay Arrow, in its Python workers (`spark_tasks.py`).

Nothing of a record goes through the driver but tallies. The workspace stands on storage that the driver and all executors see at one path. What
is written is byte for byte what the local engine writes: Spark's workers write the same Parquet with the same code, and files are cut at the
same rows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from anonymize import errors, keys
from anonymize.engine import spark_tasks as tasks
from anonymize.engine.base import TALLY_LIMIT, Mapper, Table, Written, hold_tally
from anonymize.engine.files import ParquetFolder, parquet_batches, replace_folder
from anonymize.engine.spark_tasks import Attached, Chosen, Chunk, File, Job, Mapped, Part, Step, carried
from anonymize.errors import AnonymizeError, StepFailed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CHUNK_BYTES = 64 << 20
"""What a task is given at most, not compressed; a subject of a million rows is many tasks."""
LEAST_BYTES = 256 << 10
SORT_BYTES = 32 << 20
WHOLE_FILE_BYTES = 512 << 20

STARTED = {
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
    "spark.io.encryption.enabled": "true",  # what Spark spills and shuffles lies on the executors' disks
    "spark.python.worker.reuse": "true",  # a model loads once a worker
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
}
"""Set where this engine starts Spark; a policy's `conf` goes before."""
ALONE = {"spark.driver.host": "localhost", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false"}
"""Set where Spark is this machine's own: nobody else has to reach it."""
HELD = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.execution.pyspark.udf.hideTraceback.enabled": "true",  # our errors say what may be said
    "spark.sql.execution.pyspark.udf.tracebackWithLocals.enabled": "false",
    "spark.sql.pyspark.worker.logging.enabled": "false",
    "spark.sql.adaptive.enabled": "false",  # partitions are counted: the n-th is the n-th
    "spark.sql.autoBroadcastJoinThreshold": "-1",  # a broadcast is collected on the driver first
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
}
"""Held in the session of this engine, whoever started Spark."""


@dataclass(frozen=True)
class Joined:
    """A join that a plan holds: the table whose columns are attached, and the column."""

    small: Table
    on: str


@dataclass(frozen=True)
class Plan:
    """How a table's rows come about: parts, then a join, then more steps."""

    parts: tuple[Part, ...]
    joined: Joined | None = None
    after: tuple[Step, ...] = ()

    def then(self, step: Step) -> Plan:
        """The plan with one more step."""
        if self.joined is not None:
            return replace(self, after=(*self.after, step))
        return replace(self, parts=tuple(replace(part, steps=(*part.steps, step)) for part in self.parts))

    @property
    def plain(self) -> bool:
        """Whether the rows lie in files as they are, but for a choice of columns."""
        return self.joined is None and all(isinstance(step, Chosen) for part in self.parts for step in part.steps)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class SparkTable(Table):
    """A table that Spark makes once it is written or tallied. `batches` makes it in the scratch folder first, and reads that."""

    plan: Callable[[], Plan] = lambda: Plan(())

    def only(self, schema: pa.Schema) -> Table:
        return _table(self.name, schema, lambda: self.plan().then(Chosen(schema)), super().only(schema).batches)

    def followed_by(self, others: Sequence[Table]) -> Table:
        if not all(isinstance(other, SparkTable) for other in others):
            return super().followed_by(others)

        def plan() -> Plan:
            plans = [table.plan() for table in (self, *others)]  # type: ignore[attr-defined]
            if any(one.joined is not None for one in plans):
                raise StepFailed(f"{self.name}: write what was joined before it is put behind another table")
            return Plan(tuple(part for one in plans for part in one.parts))

        return _table(self.name, self.schema, plan, super().followed_by(others).batches)

    def watched(self, see: Callable[[int], None]) -> Table:  # noqa: ARG002
        return self


def _table(name: str, schema: pa.Schema, plan: Callable[[], Plan], batches: Callable[[], Iterator[pa.RecordBatch]]) -> SparkTable:
    return SparkTable(name, schema, batches, None, plan)


class SparkEngine:
    """Four verbs on Spark. master: `local[2]`, `spark://host:7077`, `yarn`, `k8s://…`, `sc://host` (Connect); empty: what spark-submit gives,
    or the session that is there. conf: Spark's own settings. scratch: a private folder of the workspace; tally: the most distinct tuples that
    are searched."""

    def __init__(self, *, master: str = "", conf: Mapping[str, str] | None = None, scratch: Path, tally: int = TALLY_LIMIT) -> None:
        self.master, self.conf, self.scratch, self.tally_limit = master, dict(conf or {}), scratch, tally
        self._session: SparkSession | None = None
        self._ours = False

    def map(self, table: Table, fn: Mapper, schema: pa.Schema, *, whole: str | None = None) -> Table:
        def plan() -> Plan:
            before = self._plan(table)
            if whole is not None and any(part.steps for part in before.parts):
                before = self._parked(before, table)
            return before.then(Mapped(fn, schema, table.name, whole))

        return self._lazy(table.name, schema, plan)

    def tally(self, table: Table, columns: Sequence[str], subject: str | None) -> pa.Table:
        from pyspark.sql import functions as F

        plan = self._plan(table)
        with self._told(f"tally {table.name}"):
            frame = self._frame(plan, table, [*columns, *([subject] if subject else table.schema.names[:1])])
            names = [f"c{number}" for number in range(len(columns))]
            if columns and plan.rows > self.tally_limit:
                each = [F.approx_count_distinct(F.xxhash64(*names), 0.02), *(F.approx_count_distinct(name, 0.02) for name in names)]
                tuples, *distinct = frame.agg(*each).toArrow().to_pylist()[0].values()
                hold_tally(table.name, tuples, self.tally_limit, dict(zip(columns, distinct, strict=True)))
            count = F.count_distinct(f"c{len(columns)}") if subject else F.count(F.lit(1))
            counted = frame.groupBy(*names).agg(count.alias("subjects"))
            ordered = counted.orderBy(*(F.col(name).asc_nulls_first() for name in names)) if columns else counted
            found = ordered.toArrow()
        schema = pa.schema([*(table.schema.field(c) for c in columns), pa.field("subjects", pa.int64())]).remove_metadata()
        return pa.Table.from_batches([tasks.uncarry(batch, schema) for batch in found.to_batches()], schema)

    def join(self, table: Table, small: Table, on: str) -> Table:
        schema = pa.schema([*table.schema, *(field for field in small.schema if field.name != on)])

        def plan() -> Plan:
            before = self._plan(table)
            return replace(before if before.plain else self._parked(before, table), joined=Joined(small, on))

        return self._lazy(table.name, schema, plan)

    def write(
        self,
        table: Table,
        path: Path,
        *,
        sort: Sequence[str] = (),
        file_rows: int = 1_000_000,
        passing: bool = False,  # noqa: ARG002
    ) -> Written:
        with replace_folder(path) as folder:
            if not sort and not isinstance(table, SparkTable) and table.path is None:
                # From a source: one stream, which is here.
                with ParquetFolder(folder, table.schema, file_rows) as files:
                    for batch in table.batches():
                        files.add(batch)
                rows = files.rows
            else:
                with self._folder() as parked:
                    plan = self._plan(table)
                    made = self._sorted(plan, table, sort, parked) if sort else self._made(plan, table, parked)
                    rows = self._cut(made, table, folder, file_rows)
        return Written(self.read(path), rows, tuple(sorted(path.glob("*.parquet"))))

    def read(self, path: Path) -> Table:
        schema = ds.dataset(path, format="parquet").schema
        return SparkTable(path.name, schema, lambda: parquet_batches(path), path, lambda: Plan((Part(_files(path)),)))

    def close(self) -> None:
        """End the Spark that this engine started; one that was there goes on."""
        if self._session is not None and self._ours:
            self._session.stop()
        self._session = None

    # ------------------------------------------------------------------------------------------------------------------------- plans

    def _lazy(self, name: str, schema: pa.Schema, plan: Callable[[], Plan]) -> SparkTable:
        def batches() -> Iterator[pa.RecordBatch]:
            with self._folder() as parked:
                for file in self._made(plan(), Table(name, schema, batches), parked):
                    yield from tasks._read((file,), Chunk(0, 0, file.rows))

        return _table(name, schema, plan, batches)

    def _plan(self, table: Table) -> Plan:
        """How Spark makes a table; one that is only here is put into the scratch folder first."""
        if isinstance(table, SparkTable):
            return table.plan()
        if table.path is not None:
            return Plan((Part(_files(table.path)),))
        folder = self._new_folder()
        with ParquetFolder(folder, table.schema, 1_000_000) as files:
            for batch in table.batches():
                files.add(batch)
        return Plan((Part(_files(folder)),))

    def _parked(self, plan: Plan, table: Table) -> Plan:
        """The plan's rows, made and put into the scratch folder (which goes with the workspace)."""
        return Plan((Part(tuple(self._made(plan, table, self._new_folder()))),))

    def _job(self, plan: Plan, table: Table, folder: Path, chunks: Sequence[Chunk], **more: Any) -> tuple[str, Job]:
        """A job, and the path where its tasks find it."""
        attached = Attached(plan.joined.on, plan.joined.small.schema) if plan.joined else None
        job = Job(table.name, plan.parts, tuple(chunks), table.schema, str(folder), attached, plan.after, **more)
        path = self._new_folder() / "job.pickle"
        tasks.save(job, path, list(keys.provided()))
        return str(path), job

    def _chunks(self, plan: Plan) -> list[Chunk]:
        """What each task reads: as many tasks as keep all cores busy, of 64 MB at most. Many files that are not large are a task each, so that
        what comes out of them need not be cut anew."""
        target = min(CHUNK_BYTES, max(LEAST_BYTES, plan.bytes // (4 * self._slots())))
        chunks = []
        for number, part in enumerate(plan.parts):
            by_file = len(part.files) >= 4 * self._slots() and part.bytes / len(part.files) <= WHOLE_FILE_BYTES
            ends = list(accumulate(file.rows for file in part.files)) if by_file else _ends(part, target)
            chunks += [Chunk(number, start, stop) for start, stop in pairwise(dict.fromkeys([0, *ends]))] or [Chunk(number, 0, 0)]
        return chunks

    def _made(self, plan: Plan, table: Table, folder: Path) -> list[File]:
        """Make a plan's rows, a file a chunk, in order."""
        chunks = self._chunks(plan)
        path, _ = self._job(plan, table, folder, chunks)
        with self._told(table.name):
            if plan.joined is None:
                return self._files_of(self._numbered(len(chunks)).mapInArrow(tasks.write_chunks(path), tasks.WRITTEN), folder)
            return self._files_of(self._met(plan, len(chunks), path).mapInArrow(tasks.write_joined(path), tasks.WRITTEN), folder)

    def _met(self, plan: Plan, chunks: int, path: str) -> DataFrame:
        """For each chunk (p) the rows of the small table whose keys stand in it: the keys travel, and the small table's rows; the large table's
        do not. A chunk is a partition."""
        assert plan.joined is not None  # for the type checker
        small, on = plan.joined.small, plan.joined.on
        other = [field.name for field in small.schema if field.name != on]
        key = _sql_type(carried(small.schema.field(on).type))
        self._partitions(plan.bytes)
        asked = self._numbered(chunks).mapInArrow(tasks.emit_keys(path), f"p int, c0 {key}")
        rows = self._frame(self._plan(small), small, [on, *other])
        met = asked.hint("merge").join(rows.hint("merge"), "c0", "left")
        return met.select("p", *rows.columns).repartitionById(chunks, "p")

    def _frame(self, plan: Plan, table: Table, columns: Sequence[str]) -> DataFrame:
        """Some columns of a plan's rows as c0, c1 …, in no order: read by Spark itself where files and types allow, else by Python."""
        session = self.session()
        fields = [table.schema.field(name) for name in columns]
        files = [file.path for part in plan.parts for file in part.files]
        self._partitions(plan.bytes)
        if plan.plain and all(carried(f.type) == f.type for f in fields) and not any(re.search(r"[][{}*?\\]", f) for f in files):
            from pyspark.sql import functions as F

            schema = ", ".join(dict.fromkeys(f"{_quoted(f.name)} {_sql_type(f.type)}" for f in fields))
            frame = session.read.schema(schema).option("datetimeRebaseMode", "CORRECTED").parquet(*(f"file:{file}" for file in files))
            return frame.select(*(F.col(_quoted(f.name)).alias(f"c{number}") for number, f in enumerate(fields)))
        chunks = self._chunks(plan)
        path, _ = self._job(plan, table, self.scratch, chunks)
        types = ", ".join(f"c{number} {_sql_type(carried(f.type))}" for number, f in enumerate(fields))
        if plan.joined is not None:
            return self._met(plan, len(chunks), path).mapInArrow(tasks.emit_joined(path, list(columns)), types)
        return self._numbered(len(chunks)).mapInArrow(tasks.emit_chunks(path, list(columns)), types)

    def _sorted(self, plan: Plan, table: Table, sort: Sequence[str], folder: Path) -> list[File]:
        """Make a plan's rows, sorted by Spark, a file a partition, in order."""
        from pyspark.sql import functions as F

        partitions = max(1, -(-plan.bytes // SORT_BYTES))
        if partitions > 1 and not plan.plain:
            plan = self._parked(plan, table)  # Spark reads twice what it sorts: once for a sample
        with self._told(f"sort {table.name}"):
            frame = self._frame(plan, table, table.schema.names)
            order = [F.col(f"c{table.schema.names.index(name)}").asc_nulls_first() for name in sort]
            spread = frame.repartitionByRange(partitions, *order) if partitions > 1 else frame.coalesce(1)
            path, _ = self._job(Plan(()), table, folder, [])
            return self._files_of(spread.sortWithinPartitions(*order).mapInArrow(tasks.write_carried(path), tasks.WRITTEN), folder)

    def _cut(self, made: list[File], table: Table, folder: Path, file_rows: int) -> int:
        """Move what was made into the folder, cut into files of `file_rows` rows; returns the rows."""
        full = [file for file in made if file.rows] or made[:1]
        rows = sum(file.rows for file in full)
        if all(file.rows == file_rows for file in full[:-1]) and full[-1].rows <= file_rows:
            for number, file in enumerate(full):
                Path(file.path).rename(folder / f"part-{number:05}.parquet")
            return rows
        chunks = [Chunk(0, start, min(start + file_rows, rows)) for start in range(0, rows, file_rows)]
        path, _ = self._job(Plan((Part(tuple(full)),)), table, folder, chunks, name="part-{:05}.parquet")
        with self._told(table.name):
            self._files_of(self._numbered(len(chunks)).mapInArrow(tasks.write_chunks(path), tasks.WRITTEN), folder)
        return rows

    def _files_of(self, written: DataFrame, folder: Path) -> list[File]:
        told = sorted(written.toArrow().to_pylist(), key=lambda one: one["task"])
        names = [folder / f"chunk-{one['task']:06}.parquet" for one in told]
        if not told or not names[0].exists():
            return []
        return _footers(names)

    def _numbered(self, tasks: int) -> DataFrame:
        """Task numbers, one a partition."""
        return self.session().range(0, tasks, 1, tasks)

    # ------------------------------------------------------------------------------------------------------------------------ session

    def session(self) -> SparkSession:
        """The Spark session, started where none is there. Raises AnonymizeError, in words, where pyspark or Java is missing."""
        if self._session is None:
            self._session, self._ours = _start(self.master, self.conf, self.scratch)
            for name, value in HELD.items():
                self._session.conf.set(name, value)
        return self._session

    def _slots(self) -> int:
        """Tasks that run side by side."""
        try:
            return max(1, self.session().sparkContext.defaultParallelism)
        except Exception:  # Spark Connect has no context
            return int(self.session().conf.get("spark.default.parallelism", "8") or 8)

    def _partitions(self, size: int) -> None:
        wanted = max(1, min(self._slots() * 2, -(-size // LEAST_BYTES)), -(-size // CHUNK_BYTES))
        self.session().conf.set("spark.sql.shuffle.partitions", str(wanted))

    def _new_folder(self) -> Path:
        folder = self.scratch / f"spark-{uuid.uuid4().hex}"
        folder.mkdir(parents=True, mode=0o700)
        return folder

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self._new_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _told(self, where: str) -> Iterator[None]:
        """What Spark raises, in our words: what the task said, where it was ours, or the error's type."""
        try:
            yield
        except AnonymizeError:
            raise
        except Exception as error:
            raise _in_our_words(where, error) from None


def _in_our_words(where: str, error: Exception) -> AnonymizeError:
    said = str(error)
    ours = re.search(r"anonymize\.errors\.(\w+): ([^\n]+)", said)
    kind = getattr(errors, ours[1], None) if ours else None
    if ours and isinstance(kind, type) and issubclass(kind, AnonymizeError):
        if kind is errors.KeyMissing:
            return kind(f"on a Spark executor: {ours[2]} (docs/spark.md: how a key reaches executors)")
        return kind(ours[2] if ours[2].startswith(where) else f"{where}: {ours[2]}") if kind is StepFailed else StepFailed(f"{where}: {ours[2]}")
    if "No module named" in said:
        missing = re.search(r"No module named '([\w.]+)'", said)
        return StepFailed(f"{where}: executors have no Python module '{missing[1] if missing else '?'}'. Give them the driver's environment")
    if "exited unexpectedly" in said or "ExecutorLostFailure" in said:
        return StepFailed(f"{where}: a Python worker or executor ended (out of memory, or killed). Start the run again: it goes on")
    return StepFailed(f"{where}: {type(error).__name__} of Spark (message withheld: it can hold a record's value)")


def _start(master: str, conf: Mapping[str, str], scratch: Path) -> tuple[SparkSession, bool]:
    """A session of our own settings, and whether the Spark behind it was started here."""
    if find_spec("pyspark") is None:
        raise AnonymizeError("engine.spark needs pyspark, which is not installed: pip install 'anonymize[spark]'")
    from pyspark.sql import SparkSession

    there = SparkSession.getActiveSession() is not None or "DATABRICKS_RUNTIME_VERSION" in os.environ
    if not there:
        if not master.startswith("sc://") and "SPARK_REMOTE" not in os.environ:
            _require_java()
        if "spark.pyspark.python" not in conf:
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Of pandas 3: no frame of pandas is made here, all is Arrow.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    builder: Any = SparkSession.builder.appName("anonymize")
    if not there:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        local = {**ALONE, "spark.local.dir": str(scratch)} if master.startswith("local") else {}
        for name, value in (STARTED | local | dict(conf)).items():
            builder = builder.config(name, value)
        if master:
            builder = builder.remote(master) if master.startswith("sc://") else builder.master(master)
    try:
        with _keys_in_environment(master):
            session = builder.getOrCreate()
    except Exception as error:
        raise AnonymizeError(
            f"Spark does not start ({type(error).__name__}; master '{master or 'of spark-submit'}'). Is the master there, and of version "
            f"{_version()}? See docs/spark.md"
        ) from None
    return session.newSession(), not there


@contextmanager
def _keys_in_environment(master: str) -> Iterator[None]:
    """Where Spark is this machine's own, its workers inherit what Airflow handed to this process: as a variable, while they are started."""
    names = {ref.partition(":")[2]: secret.decode(errors="ignore") for ref, secret in keys.provided().items()}
    fresh = {name: secret for name, secret in names.items() if master.startswith("local") and name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            del os.environ[name]


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = Path(home) / "bin" / "java" if home else shutil.which("java")
    hint = "Install Java 17 or newer (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME"
    if java is None or not Path(java).exists():
        raise AnonymizeError(f"engine.spark needs Java, and there is none. {hint}")
    told = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False, timeout=60).stderr  # noqa: S603
    version = re.search(r'version "(\d+)', told)
    if version and int(version[1]) < 17:
        raise AnonymizeError(f"engine.spark needs Java 17, and {java} is {version[1]}. {hint}")


def _version() -> str:
    from pyspark import __version__

    return str(__version__)


def _ends(part: Part, target: int) -> list[int]:
    """Where chunks of about a number of bytes end: within a row group that has more, behind several that have fewer."""
    ends, row, waiting = [], 0, 0
    for rows, size in ((rows, size) for file in part.files for rows, size in zip(file.groups, file.sizes, strict=True)):
        waiting += size
        if waiting >= target:
            pieces = max(1, min(rows, round(size / target)))
            ends += [row + rows * (piece + 1) // pieces for piece in range(pieces)]
            waiting = 0
        row += rows
    return [*ends, row]


def _files(path: Path) -> tuple[File, ...]:
    return tuple(_footers(sorted(path.glob("*.parquet"))))


def _footers(paths: Sequence[Path]) -> list[File]:
    if len(paths) < 8:
        return [File.of(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(File.of, paths))


def _sql_type(type: pa.DataType) -> str:
    from pyspark.sql.pandas.types import from_arrow_type

    return from_arrow_type(type).simpleString()


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
