"""One file in, one file out, hierarchies in ARX's format. No policy, no key; only the privacy engine."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anonymize.errors import StepFailed
from anonymize.flat import CsvSink, FlatFile, InputError, texts

if TYPE_CHECKING:
    import pyarrow as pa

    from anonymize.hierarchies.tables import CsvHierarchy
    from anonymize.judging.recount import Wanted
    from anonymize.population import People
    from anonymize.privacy import LocalSolution, SearchSettings, Solution
    from anonymize.privacy.models import Model

_WHOSE = "__subject"
#: Utility is measured over so many tuples of the tally at the most.
_MOST_MEASURED = 200_000


@dataclass(frozen=True)
class Asked:
    """What `generalize` shall do. l, t, beta: as in `parse_l`, `parse_t`, `parse_beta`; population: a file of the people whom the rows were
    drawn from (`people_columns`: a quasi-identifier -> its column; `people_count`: its column of numbers of people), k_map: people of it a
    class, presence: (least, most) share of a class's people who are in the file; keep, drop: columns that leave as they are, and that do not
    leave; subject: the column that says whose a row is: k then counts subjects; weights: how much a column's loss counts; exact:
    quasi-identifiers that are not made coarser; seconds: after the work of so many the best so far is taken (0: the best there is)."""

    hierarchies: Path
    k: int = 5
    l: tuple[str, ...] = ()  # noqa: E741
    t: tuple[str, ...] = ()
    beta: tuple[str, ...] = ()
    population: Path | None = None
    people_columns: Mapping[str, str] = field(default_factory=dict)
    people_count: str | None = None
    k_map: int | None = None
    presence: tuple[float, float] | None = None
    mode: Literal["local", "optimal"] = "optimal"
    suppression: float = 0.05
    delimiter: str | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    subject: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    exact: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What was done: no value of a record. removed: rows that were left out, since the suppressed together did not hold what was asked; cut:
    what the budget of seconds left undone."""

    rows: int
    rows_written: int
    suppressed: int
    removed: int
    k: int
    classes: int
    loss: float
    highest_risk: float
    average_risk: float
    mode: str
    asked: dict[str, Any]
    levels: dict[str, Any]
    utility: dict[str, Any]
    seconds: dict[str, float]
    recount: dict[str, Any]
    cut: str = ""


def generalize(source: Path, target: Path, asked: Asked, say: Callable[[str], None] = lambda _: None) -> Report:
    """Generalize a CSV or Parquet file until every class of its quasi-identifiers holds what is asked, and write it beside, recounted.

    Quasi-identifiers are the columns that have a hierarchy file and are no sensitive column of l or t. The target appears whole or not at all.
    Raises InputError where something does not fit, AnonymizeError where what is asked cannot be reached, StepFailed where the recount of the
    written file does not find what was asked.
    """
    from anonymize.asking import wanted
    from anonymize.privacy import recode_locally, search
    from anonymize.progress import paced

    start = time.perf_counter()
    file = FlatFile.open(source, asked.delimiter)
    if target.resolve() == source.resolve():
        raise InputError(f"{target}: the output would replace the input; give it another name")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder to write {target.name} into")
    models, sensitive = _models(file, asked)
    hierarchies = _hierarchies(file, asked, sensitive)
    quasi = {name: h for name, h in hierarchies.items() if name not in sensitive}
    say(f"{source.name}: generalizing {', '.join(quasi)}" + (f"; sensitive: {', '.join(sensitive)}" if sensitive else ""))
    tally = _tally(file, quasi, sensitive, asked.subject)
    if not tally.num_rows:
        raise InputError(f"{source}: the file has no rows")
    _covered(file, tally, quasi, asked)
    models = _fitted(models, tally, hierarchies)
    of_file = tally
    if asked.population is not None:
        tally = _people(asked, asked.population).beside(tally, quasi)
    counted = time.perf_counter()
    settings = replace(_settings(asked, models), watch=paced(say, source.name))
    solution = (recode_locally if asked.mode == "local" else search)(tally, quasi, settings, subject=_WHOSE if asked.subject else None)
    utility = _utility(solution, of_file, asked)
    stay = _suppressed_may_stay(solution, of_file, settings, bool(asked.subject))
    searched = time.perf_counter()
    say(f"k = {solution.k} in {solution.classes:,} classes, loss {solution.loss:.4f}, {solution.suppressed:,} rows suppressed")
    partial = target.with_name(f".{target.name}.partial")
    try:
        written = _write(file, partial, solution, quasi, asked, stay)
        applied = time.perf_counter()
        found = _recounted(file, partial, quasi, asked, wanted(asked.k, models, of_file, _WHOSE if asked.subject else None), written.rows)
        os.replace(partial, target)
    finally:
        for left in (partial, _beside(partial)):
            left.unlink(missing_ok=True)
    done = time.perf_counter()
    spans = {"tally": counted - start, "search": searched - counted, "apply": applied - searched, "recount": done - applied, "all": done - start}
    return Report(
        rows=written.rows + written.removed,
        rows_written=written.rows,
        suppressed=written.suppressed,
        removed=written.removed,
        k=found.smallest,
        classes=found.classes,
        loss=round(solution.loss, 6),
        highest_risk=round(1 / found.smallest, 6) if found.smallest else 0.0,
        average_risk=round(found.classes / found.rows, 6) if found.rows else 0.0,
        mode=asked.mode,
        asked={
            **{"k": asked.k, "l": list(asked.l), "t": list(asked.t), "beta": list(asked.beta), "suppression": asked.suppression},
            **({"k_map": asked.k_map, "presence": asked.presence} if asked.population else {}),
        },
        levels=dict(solution.counts()["levels"]),
        utility=utility,
        seconds={name: round(span, 3) for name, span in spans.items()},
        recount=asdict(found),
        cut=str(solution.counts().get("cut", "")),
    )


# ------------------------------------------------------------------------------------------------------- the file and its hierarchies


def _hierarchies(file: FlatFile, asked: Asked, sensitive: list[str]) -> dict[str, CsvHierarchy]:
    """Each column's hierarchy, by the name of its file; and every column has one, or was named in another way."""
    from anonymize.hierarchies.tables import CsvHierarchy

    if not asked.hierarchies.is_dir():
        raise InputError(f"{asked.hierarchies}: no such folder of hierarchies")
    for name in (*asked.keep, *asked.drop, *sensitive, *asked.weights, *asked.exact, *((asked.subject,) if asked.subject else ())):
        if name not in file.columns:
            raise InputError(f"{file.path}: no column '{name}'. It has: {', '.join(file.columns)}")
    others = {*asked.keep, *asked.drop} | ({asked.subject} if asked.subject else set())
    found: dict[str, CsvHierarchy] = {}
    for name in file.columns:
        ladder = _ladder_file(asked.hierarchies, name)
        if ladder is None and name not in (*others, *sensitive):
            raise InputError(
                f"{asked.hierarchies}: no hierarchy file '*_hierarchy_{name}.csv' for column '{name}'. "
                f"Add it, or say what becomes of the column: --keep {name} (leaves as it is) or --drop {name}"
            )
        if ladder is not None and name not in others:
            try:
                found[name] = CsvHierarchy.load(ladder)
            except (ValueError, OSError) as error:
                raise InputError(f"{ladder}: {error if isinstance(error, ValueError) else error.strerror}") from None
    if not set(found) - set(sensitive):
        raise InputError(f"{asked.hierarchies}: no column of {file.path} is left to generalize")
    return found


def _ladder_file(folder: Path, column: str) -> Path | None:
    escaped = glob.escape(column)
    found = sorted({*folder.glob(f"*_hierarchy_{escaped}.csv"), *folder.glob(f"{escaped}.csv")})
    if len(found) > 1:
        raise InputError(f"{folder}: two hierarchy files for column '{column}': {', '.join(f.name for f in found)}")
    return found[0] if found else None


def _cells(batch: pa.RecordBatch, quasi: Mapping[str, CsvHierarchy]) -> list[pa.Array]:
    """The quasi-identifiers as their hierarchies' files write them. An empty cell is missing, unless its file knows it."""
    import pyarrow.compute as pc

    columns = {name: texts(batch[name]) for name in quasi}
    return [pc.fill_null(column.cast("string"), "") if "" in quasi[name].rows else column for name, column in columns.items()]


def _tally(file: FlatFile, quasi: Mapping[str, CsvHierarchy], sensitive: list[str], subject: str | None) -> pa.Table:
    """Distinct tuples (with whose they are, and sensitive values) and their numbers of rows, in an order that is always the same."""
    import duckdb
    import pyarrow as pa

    from anonymize.engine.duck import private_duck

    if not sensitive and not subject and (packed := _packed(file, quasi)) is not None:
        return packed
    names = [*quasi, *sensitive, *([_WHOSE] if subject else [])]
    schema = pa.schema([(name, pa.string()) for name in names])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in file.batches():
            others = [texts(batch[name]) for name in (*sensitive, *([subject] if subject else []))]
            yield pa.RecordBatch.from_arrays([*_cells(batch, quasi), *others], schema=schema)

    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    query = f"SELECT {columns}, count(*) AS subjects FROM rows GROUP BY {columns} ORDER BY {columns}"  # noqa: S608
    with private_duck() as duck:
        duck.register("rows", pa.RecordBatchReader.from_batches(schema, batches()))
        try:
            tally: pa.Table = duck.sql(query).to_arrow_table()
        except duckdb.Error:
            for _ in batches():  # what went wrong in reading says so itself
                pass
            raise
    if subject and tally[_WHOSE].null_count:
        raise InputError(f"{file.path}: column '{subject}' must say of every row whose it is, and some rows have none")
    return tally


def _packed(file: FlatFile, quasi: Mapping[str, CsvHierarchy]) -> pa.Table | None:
    """The tally where a tuple fits into a number, in a fraction of the time; None where not, or where a value is in no hierarchy."""
    import pyarrow as pa

    from anonymize.privacy.tuples import Tally

    try:
        tally = Tally({name: pa.array(list(hierarchy.rows)) for name, hierarchy in quasi.items()})
    except ValueError:
        return None
    if not all(tally.add(_cells(batch, quasi)) for batch in file.batches(list(quasi))):
        return None
    return tally.table()


def _covered(file: FlatFile, tally: pa.Table, quasi: Mapping[str, CsvHierarchy], asked: Asked) -> None:
    """Every value stands in its column's hierarchy; else say which column, how many values, and the first row."""
    import pyarrow.compute as pc

    problems = []
    for name, hierarchy in quasi.items():
        values = pc.unique(tally[name].combine_chunks())
        missing = values.filter(pc.invert(hierarchy.covers(values)))
        if len(missing):
            before, row = 0, 0
            for batch in file.batches():
                where = pc.index(pc.is_in(texts(batch[name]), missing), True).as_py()
                if where >= 0:
                    row = before + where + 1
                    break
                before += batch.num_rows
            ladder = _ladder_file(asked.hierarchies, name)
            problems.append(
                f"{ladder}: {len(missing)} of {len(values)} values of column '{name}' are not in it, the first in row {row}. Add them"
            )
    if problems:
        raise InputError("\n".join(problems))


# ------------------------------------------------------------------------------------------------------------------------ the search


def _models(file: FlatFile, asked: Asked) -> tuple[list[Model], list[str]]:
    from anonymize.asking import parse
    from anonymize.privacy.models import columns_of

    if asked.k < 1:
        raise InputError("--k must be 1 or more")
    if not 0 <= asked.suppression <= 1:
        raise InputError("--suppression is a share of the rows, from 0 to 1")
    _population_fits(asked)
    try:
        models = parse(asked.l, asked.t, asked.beta)
    except ValueError as error:
        raise InputError(str(error)) from None
    for name in columns_of(models):
        if name in (*asked.drop, asked.subject):
            raise InputError(f"column '{name}' cannot be sensitive (--l, --t, --beta) and dropped or the subject at once")
        if name not in file.columns:
            raise InputError(f"{file.path}: no column '{name}'. It has: {', '.join(file.columns)}")
    return models, columns_of(models)


def _population_fits(asked: Asked) -> None:
    if (asked.population is None) != (asked.k_map is None and asked.presence is None):
        raise InputError("--population FILE goes with --k-map K, --presence LEAST..MOST, or both; and these need a population")
    if asked.population is not None and asked.subject is not None:
        raise InputError("a population has a row a person, and --subject says that a person may have several: give a file with a row a person")
    if asked.presence is not None and asked.mode == "local":
        raise InputError("--presence needs classes that do not overlap, and those of --mode local do; take --mode optimal")


def _people(asked: Asked, file: Path) -> People:
    from anonymize.population import People

    return People(file, asked.people_columns, asked.people_count)


def _fitted(models: list[Model], tally: pa.Table, hierarchies: Mapping[str, CsvHierarchy]) -> list[Model]:
    from anonymize.asking import fit

    try:
        return fit(models, tally, hierarchies)
    except ValueError as error:
        raise InputError(str(error)) from None


def _settings(asked: Asked, models: list[Model]) -> SearchSettings:
    from anonymize.asking import population_models
    from anonymize.privacy import SearchSettings

    exact = dict.fromkeys(asked.exact, 0)
    people = tuple(population_models(asked.k_map, asked.presence))
    return SearchSettings(asked.k, asked.suppression, asked.weights, {}, exact, tuple(models), people, asked.seconds)


def _suppressed_may_stay(solution: Solution | LocalSolution, tally: pa.Table, settings: SearchSettings, subjects: bool) -> bool:
    """Whether all that stands at the top, suppressed or not, holds what is asked as the class that it is."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from anonymize.asking import histogram
    from anonymize.privacy.lattice import values_in_order
    from anonymize.privacy.models import DeltaPresence
    from anonymize.privacy.solution import SUPPRESSED

    tops = [h.generalize(pa.nulls(1, pa.string()), len(h.levels) - 1)[0].as_py() for h in solution.hierarchies.values()]
    if any(isinstance(people, DeltaPresence) for people in settings.population):
        return not solution.suppressed  # the top stands for everybody, also for who is counted in another class
    if not settings.models and not subjects and solution.suppressed >= settings.k:
        return True
    at_top, off = [], 0
    for batch in tally.to_batches():
        out = solution.apply(batch)
        same = out[SUPPRESSED]
        off += pc.sum(same).as_py() or 0
        all_top = pa.array(np.ones(len(out), bool))
        for name, top in zip(solution.hierarchies, tops, strict=True):
            all_top = pc.and_(all_top, pc.fill_null(pc.equal(out[name], top), False))
        at_top.append(pc.or_(same, all_top))
    if not off:
        return True
    ends = tally.filter(pa.chunked_array(at_top))
    people = pc.count_distinct(ends[_WHOSE]).as_py() if subjects else pc.sum(ends["subjects"]).as_py()
    if people < settings.k:
        return False
    for model in settings.models:
        order = values_in_order(tally[model.column])
        counts = [histogram(part, model.column, order, _WHOSE if subjects else None) for part in (ends, tally)]
        if not model.holds(counts[0][None, :], counts[1])[0]:
            return False
    return True


def _utility(solution: Solution | LocalSolution, tally: pa.Table, asked: Asked) -> dict[str, Any]:
    """What is left: by column the share of its precision (1 - loss) and of its information (entropy), suppressed cells having none; the
    chance that a pair of rows cannot be told apart (discernibility), and rows a class over k. Of very many tuples the first stand for all."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from anonymize.privacy.risk import Sizes, average_class, discernibility, entropy_left
    from anonymize.privacy.solution import SUPPRESSED

    some = tally.slice(0, _MOST_MEASURED)
    out = pa.Table.from_batches([solution.apply(batch) for batch in some.to_batches()])
    rows, off = some["subjects"].to_numpy(), out[SUPPRESSED].to_numpy(zero_copy_only=False)
    entropy = {}
    for name in solution.hierarchies:
        shown = pc.if_else(out[SUPPRESSED], "*", out[name])
        entropy[name] = round(entropy_left(_numbers(some[name]), _numbers(shown), rows), 4)
    names = list(solution.hierarchies)
    kept = out.select(names).append_column("rows", pa.array(rows)).filter(pa.array(~off))
    sizes, counts = np.unique(kept.group_by(names).aggregate([("rows", "sum")])["rows_sum"].to_numpy(), return_counts=True)
    held = Sizes(sizes, counts)
    return {
        "granularity": round(1 - solution.loss, 6),
        "entropy": entropy,
        "discernibility": round(discernibility(held, int(rows[off].sum())), 6),
        "average_class": round(average_class(held, asked.k), 3),
    }


def _numbers(column: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.cast(pa.string()).combine_chunks()
    return pc.dictionary_encode(texts, null_encoding="encode").indices.to_numpy(zero_copy_only=False)


# ------------------------------------------------------------------------------------------------------------- written and recounted


@dataclass(frozen=True)
class _Written:
    rows: int
    suppressed: int
    removed: int


def _beside(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.subjects")


def _write(
    file: FlatFile, partial: Path, solution: Solution | LocalSolution, quasi: Mapping[str, CsvHierarchy], asked: Asked, stay: bool
) -> _Written:
    """Apply the solution batch by batch. A suppressed row stays with its cells at the top, or goes."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from anonymize.privacy.solution import SUPPRESSED

    columns = [name for name in file.columns if name not in asked.drop and (name != asked.subject or name in asked.keep)]
    sink: CsvSink | pq.ParquetWriter | None = None
    whose = pq.ParquetWriter(_beside(partial), pa.schema([(_WHOSE, pa.string())])) if asked.subject else None
    rows = suppressed = removed = 0
    try:
        for batch in file.batches(list(quasi)):
            out = solution.apply(pa.RecordBatch.from_arrays(_cells(batch, quasi), names=list(quasi)))
            off = out[SUPPRESSED]
            arrays = []
            for name in columns:
                if name in quasi:
                    arrays.append(pc.if_else(off, quasi[name].top, out[name]))
                else:
                    arrays.append(batch[name])
            table = pa.table(dict(zip(columns, arrays, strict=True)))
            subjects = pa.table({_WHOSE: texts(batch[asked.subject])}) if asked.subject else None
            number = pc.sum(off).as_py() or 0
            if number and not stay:
                table = table.filter(pc.invert(off))
                subjects = subjects.filter(pc.invert(off)) if subjects is not None else None
                removed += number
            else:
                suppressed += number
            if sink is None:
                sink = pq.ParquetWriter(partial, table.schema) if file.delimiter is None else CsvSink(partial, table.schema, file.delimiter)
            sink.write_table(table)
            if whose is not None and subjects is not None:
                whose.write_table(subjects)
            rows += table.num_rows
    finally:
        for one in (sink, whose):
            if one is not None:
                one.close()
    return _Written(rows, suppressed, removed)


def _recounted(file: FlatFile, partial: Path, quasi: Mapping[str, CsvHierarchy], asked: Asked, wanted: Wanted, rows: int) -> Any:
    """Count the written file anew. Raises StepFailed where it does not hold."""
    from anonymize.judging.recount import recount

    found = recount(partial, list(quasi), wanted, subject=_beside(partial) if asked.subject else None, delimiter=file.delimiter or ",")
    if found.rows != rows:
        raise StepFailed(f"recount: {rows:,} rows were written and {found.rows:,} were found; nothing was left in place")
    failed = [*found.failed, *_failed_against_people(file, partial, quasi, asked)]
    if failed:
        raise StepFailed(f"recount: {'; '.join(failed)}; nothing was left in place. This is a fault of the program: please report it")
    return found


def _failed_against_people(file: FlatFile, partial: Path, quasi: Mapping[str, CsvHierarchy], asked: Asked) -> list[str]:
    """What the written file does not hold against the population, both counted anew."""
    import pyarrow as pa

    from anonymize.judging.recount import Crowd, against, failed_against, values_of

    if asked.population is None:
        return []
    columns = {name: asked.people_columns.get(name, name) for name in quasi}
    ladders = {}
    for name, hierarchy in quasi.items():
        leaves = pa.array(values_of(asked.population, columns[name]), pa.string())
        every = [hierarchy.generalize(leaves, level) for level in range(len(hierarchy.levels))]
        ladders[name] = [pair for step in every for pair in zip(leaves.to_pylist(), step.to_pylist(), strict=True)]
    crowd = Crowd(asked.population, columns, asked.people_count, None, ladders)
    return failed_against(against(partial, crowd, delimiter=file.delimiter or ","), asked.k_map, asked.presence)
