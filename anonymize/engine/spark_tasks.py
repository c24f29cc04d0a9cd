"""What runs in an executor's Python process: rows of Parquet files in, steps of Arrow batches, a Parquet file out.

Spark carries no record where it need not: a task reads its rows itself, from the workspace, and writes them there. What a task does stands in
a file of the workspace too (`Job`), so that no plan, event log or closure holds more than that file's path. Only what must be shuffled (a sort,
a join's keys, a tally) goes through Spark, as types that Spark has (`carried`).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anonymize import keys
from anonymize.engine.base import Mapper
from anonymize.engine.batches import BATCH_ROWS, applied, balanced, whole_groups
from anonymize.engine.files import ParquetFolder
from anonymize.errors import StepFailed, without_values

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class File:
    """A Parquet file. groups: the rows of each row group; sizes: their bytes, not compressed."""

    path: str
    groups: tuple[int, ...]
    sizes: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.groups)

    @classmethod
    def of(cls, path: Path) -> File:
        """As its footer says."""
        told = pq.read_metadata(path)
        groups = [told.row_group(number) for number in range(told.num_row_groups)]
        return cls(str(path), tuple(group.num_rows for group in groups), tuple(group.total_byte_size for group in groups))


@dataclass(frozen=True)
class Chosen:
    """A step: some columns, under their schema's metadata."""

    schema: pa.Schema

    def __call__(self, batches: Batches) -> Batches:
        for batch in batches:
            yield batch.select(self.schema.names).cast(self.schema)


@dataclass(frozen=True)
class Mapped:
    """A step: a pure function of a batch."""

    fn: Mapper
    schema: pa.Schema
    table: str
    whole: str | None = None

    def __call__(self, batches: Batches) -> Batches:
        for batch in balanced(batches) if self.whole is None else whole_groups(batches, self.whole):
            yield applied(self.fn, batch, self.schema, self.table)


Step = Chosen | Mapped


@dataclass(frozen=True)
class Part:
    """The rows of a folder's files, in order, and what is done to them."""

    files: tuple[File, ...]
    steps: tuple[Step, ...] = ()

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(sum(file.sizes) for file in self.files)


@dataclass(frozen=True)
class Attached:
    """What a join attaches: by the column `on`, the other columns of `small`."""

    on: str
    small: pa.Schema

    @property
    def fields(self) -> list[pa.Field]:
        return [field for field in self.small if field.name != self.on]


@dataclass(frozen=True)
class Chunk:
    """What one task reads: rows start … stop of a part."""

    part: int
    start: int
    stop: int


@dataclass(frozen=True)
class Job:
    """What the tasks of a Spark job do. parts: where rows come from; after: steps behind the join; schema: of what comes out; folder: where
    files are written, as `name` says of the task's number; secrets: references of the keys that the steps name."""

    table: str
    parts: tuple[Part, ...]
    chunks: tuple[Chunk, ...]
    schema: pa.Schema
    folder: str
    attached: Attached | None = None
    after: tuple[Step, ...] = ()
    name: str = "chunk-{:06}.parquet"


def save(job: Job, path: Path, secrets: Sequence[str]) -> None:
    """Write a job where its tasks find it; a key in it is a reference. Functions of a script or notebook go by value."""
    from pyspark import cloudpickle

    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        pickle.dump(list(secrets), file)
        cloudpickle.dump(job, file)


@lru_cache(maxsize=4)
def load(path: str) -> Job:
    """A job, once a process. A secret that the driver was handed (`airflow:NAME`) is looked for in this executor's environment, as NAME."""
    with open(path, "rb") as file:
        for reference in pickle.load(file):  # noqa: S301 - of the private workspace, written by the driver
            secret = keys.from_environment(reference.partition(":")[2])
            if secret:
                keys.provide(reference, secret)
        return pickle.load(file)  # noqa: S301


# ------------------------------------------------------------------------------------------------------------------------------ tasks

WRITTEN = "task int, rows bigint, groups array<bigint>"
"""What a task that writes a file says of it."""
_WRITTEN = pa.schema([("task", pa.int32()), ("rows", pa.int64()), ("groups", pa.list_(pa.int64()))])


def write_chunks(path: str) -> Callable[[Batches], Batches]:
    """Tasks that read, step and write a chunk each. In: task numbers."""

    def task(numbers: Batches) -> Batches:
        with _guarded(path):
            job = load(path)
            for number in _numbers(numbers):
                yield _write(job, number, _rows(job, number))

    return task


def emit_chunks(path: str, columns: Sequence[str]) -> Callable[[Batches], Batches]:
    """Tasks that read and step a chunk each, and hand some columns to Spark, named c0, c1 …"""

    def task(numbers: Batches) -> Batches:
        with _guarded(path):
            job = load(path)
            for number in _numbers(numbers):
                for batch in _rows(job, number):
                    yield carry(batch.select(columns))

    return task


def emit_keys(path: str) -> Callable[[Batches], Batches]:
    """Tasks that say which values of the join's column stand in their chunk: (p, c0), once, and one row without a value."""

    def task(numbers: Batches) -> Batches:
        with _guarded(path):
            job = load(path)
            assert job.attached is not None  # for the type checker
            for number in _numbers(numbers):
                part = job.parts[job.chunks[number].part]
                found = [batch.column(0) for batch in _read(part.files, job.chunks[number], [job.attached.on])]
                values = pa.chunked_array(found, type=_type(part, job.attached.on)).unique().drop_null()
                values = carry(pa.record_batch([values], names=["v"])).column(0)
                values = pa.concat_arrays([values, pa.nulls(1, values.type)])
                yield pa.record_batch([pa.repeat(pa.scalar(number, pa.int32()), len(values)), values], names=["p", "c0"])

    return task


def write_joined(path: str) -> Callable[[Batches], Batches]:
    """Tasks that read a chunk each, attach what came for it, step and write. In: (p, the small table's columns, the key first)."""

    def task(batches: Batches) -> Batches:
        with _guarded(path):
            job = load(path)
            number, small = _came(job, batches)
            if number is not None:
                yield _write(job, number, _joined_rows(job, number, small))

    return task


def emit_joined(path: str, columns: Sequence[str]) -> Callable[[Batches], Batches]:
    """As `write_joined`, but hands some columns to Spark."""

    def task(batches: Batches) -> Batches:
        with _guarded(path):
            job = load(path)
            number, small = _came(job, batches)
            for batch in _joined_rows(job, number, small) if number is not None else ():
                yield carry(batch.select(columns))

    return task


def write_carried(path: str) -> Callable[[Batches], Batches]:
    """Tasks that write what Spark sorted, a file a partition."""

    def task(batches: Batches) -> Batches:
        from pyspark import TaskContext

        with _guarded(path):
            job = load(path)
            context = TaskContext.get()
            assert context is not None  # for the type checker: this is a task
            yield _write(job, context.partitionId(), (uncarry(batch, job.schema) for batch in batches))

    return task


class _guarded:
    """No value of a record in what Spark is told of an error, nor in a frame of it: another error in its place, without its chain."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        self._guard = without_values("Spark task", besides=(OSError,))
        self._guard.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            told = f"{error.strerror or 'input/output error'} (is the workspace at the same place here as on the driver?)"
            raise StepFailed(f"Spark task: {type(error).__name__}: {told}") from None
        return bool(self._guard.__exit__(kind, error, trace))  # type: ignore[arg-type]


def _numbers(batches: Batches) -> Iterator[int]:
    for batch in batches:
        yield from batch.column(0).to_pylist()


def _rows(job: Job, number: int) -> Batches:
    chunk = job.chunks[number]
    part = job.parts[chunk.part]
    first = part.steps[0] if part.steps else None
    if isinstance(first, Mapped) and first.whole is not None:
        rows = _whole(part.files, chunk, first.whole)
    else:
        rows = _read(part.files, chunk, first.schema.names if isinstance(first, Chosen) else None)
    return _stepped(rows, (*part.steps, *job.after))


def _stepped(rows: Batches, steps: Sequence[Step]) -> Batches:
    for step in steps:
        rows = step(rows)
    return rows


def _read(files: Sequence[File], chunk: Chunk, columns: Sequence[str] | None = None) -> Batches:
    """Rows start … stop of some files, taken together."""
    position = 0
    for file in files:
        if position < chunk.stop and position + file.rows > chunk.start:
            yield from _read_file(file, chunk.start - position, chunk.stop - position, columns)
        position += file.rows


def _read_file(file: File, start: int, stop: int, columns: Sequence[str] | None) -> Batches:
    with pq.ParquetFile(file.path) as parquet:
        position = 0
        for number, rows in enumerate(file.groups):
            if position < stop and position + rows > start:
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[number], columns=columns, use_threads=False):
                    first, last = max(start - position, 0), min(stop - position, batch.num_rows)
                    if first < last:
                        yield batch.slice(first, last - first)
                    position += batch.num_rows
            else:
                position += rows


def _whole(files: Sequence[File], chunk: Chunk, column: str) -> Batches:
    """A chunk's rows of a sorted table; a value that began in the chunk before is left to it, and one that goes on behind is read to its end."""
    total = sum(file.rows for file in files)
    if chunk.start >= chunk.stop:
        return
    before = next(_read(files, Chunk(0, chunk.start - 1, chunk.start), [column])).column(0)[0] if chunk.start else None
    began = chunk.start == 0
    for batch in _read(files, Chunk(0, chunk.start, chunk.stop)):
        if not began:
            same = _same(batch[column], before)
            batch = batch.slice(same)
            began = batch.num_rows > 0
        if began:
            yield batch
            last = batch[column][-1]
    if not began:
        return
    for batch in _read(files, Chunk(0, chunk.stop, total)):
        same = _same(batch[column], last)
        if same:
            yield batch.slice(0, same)
        if same < batch.num_rows:
            return


def _same(column: pa.Array, value: pa.Scalar) -> int:
    """How many of a column's first rows are a value."""
    equal = pc.is_null(column) if not value.is_valid else pc.fill_null(pc.equal(column, value), False)
    first = pc.index(equal, False).as_py()
    return len(column) if first < 0 else int(first)


def _came(job: Job, batches: Batches) -> tuple[int | None, pa.Table]:
    """The number of the chunk that a partition is for, and the rows of the small table that came for it."""
    got = [batch for batch in batches if batch.num_rows]
    assert job.attached is not None  # for the type checker
    names = [job.attached.on, *(field.name for field in job.attached.fields)]
    schema = pa.schema([job.attached.small.field(name) for name in names])
    number = got[0].column(0)[0].as_py() if got else None
    rows = [uncarry(pa.RecordBatch.from_arrays(batch.columns[1:], names=names), schema) for batch in got]
    return number, pa.Table.from_batches(rows, schema)


def _joined_rows(job: Job, number: int, small: pa.Table) -> Batches:
    assert job.attached is not None  # for the type checker
    chunk, on = job.chunks[number], job.attached.on
    part, fields = job.parts[chunk.part], job.attached.fields
    known = small.filter(pc.is_valid(small[on]))
    values = known[on].combine_chunks()

    def attached() -> Batches:
        for batch in _stepped(_read(part.files, chunk), part.steps):
            where = pc.index_in(batch[on].cast(values.type), value_set=values, skip_nulls=True)
            columns = [known[field.name].combine_chunks().take(where).cast(field.type) for field in fields]
            yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=pa.schema([*batch.schema, *fields]))

    return _stepped(attached(), job.after)


def _type(part: Part, column: str) -> pa.DataType:
    return pq.read_schema(part.files[0].path).field(column).type


def _write(job: Job, number: int, rows: Batches) -> pa.RecordBatch:
    """Write rows to the task's file, which takes its place once it is whole: of two attempts at a task either may win."""
    folder = Path(job.folder)
    name = job.name.format(number)
    fresh = f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with ParquetFolder(folder, job.schema, 1 << 62, name=fresh) as file:
            for batch in rows:
                file.add(batch.cast(job.schema))
        (folder / fresh).chmod(0o600)
        (folder / fresh).replace(folder / name)
    except BaseException:
        (folder / fresh).unlink(missing_ok=True)
        raise
    return pa.RecordBatch.from_pylist([{"task": number, "rows": file.rows, "groups": file.groups[0]}], schema=_WRITTEN)


# ---------------------------------------------------------------------------------------------------------------- types that Spark has


_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20), pa.float16(): pa.float32()}


def carried(type: pa.DataType) -> pa.DataType:
    """The type as which Spark carries a column: its own where Spark has it, else one of the same order, from which it comes back exactly.

    Raises StepFailed for a type that has none.
    """
    t = pa.types
    if type in _WIDER:
        return _WIDER[type]
    if t.is_null(type) or t.is_large_string(type) or t.is_string_view(type):
        return pa.string()
    if t.is_large_binary(type) or t.is_fixed_size_binary(type) or t.is_binary_view(type):
        return pa.binary()
    if t.is_time32(type):
        return pa.int32()
    if t.is_timestamp(type) or t.is_time64(type) or t.is_duration(type) or t.is_date64(type):
        return pa.int64()
    if t.is_dictionary(type):
        return carried(type.value_type)
    if t.is_list(type) or t.is_large_list(type):
        return pa.list_(carried(type.value_type))
    if t.is_struct(type):
        return pa.struct([pa.field(field.name, carried(field.type)) for field in type])
    simple = (t.is_boolean, t.is_integer, t.is_floating, t.is_string, t.is_binary, t.is_date32, t.is_decimal128)
    if any(one(type) for one in simple):
        return type
    raise StepFailed(f"Spark cannot carry columns of type {type}. Give the column another type in the policy (`type:`), or use engine.local")


def carry(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch for Spark: types that it has, columns named c0, c1 …"""
    columns = [column.cast(carried(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=[f"c{number}" for number in range(len(columns))])


def uncarry(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch from Spark, under its own schema again."""
    columns = [_back(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _back(column: pa.Array, type: pa.DataType) -> pa.Array:
    if pa.types.is_null(type):
        return pa.nulls(len(column))
    if pa.types.is_dictionary(type):
        return _back(column, type.value_type).dictionary_encode().cast(type)
    return column.cast(type)
