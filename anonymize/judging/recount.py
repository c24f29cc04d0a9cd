"""What a written file holds, counted anew by its own plain definitions: nothing here is shared with the search that made the file."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

_LADDER = pa.schema([("leaf", pa.string()), ("label", pa.string())])
MEMORY = "2GB"


@dataclass(frozen=True)
class Wanted:
    """What every class of a file must hold. k: subjects.

    diversity: (column, variant, numbers): `distinct` (l), `entropy` (l) or `recursive` (c, l); closeness: (column, distance, t), with
    the whole table's counts of a column's values in `whole`, in `ranks` each value's rank (`ordered`) and in `paths` each value's
    generalizations, finest first, the value itself among them (`hierarchical`). likeness: (column, `basic` or `enhanced`, beta), with `whole`.
    """

    k: int
    diversity: tuple[tuple[str, str, tuple[float, ...]], ...] = ()
    closeness: tuple[tuple[str, str, float], ...] = ()
    whole: Mapping[str, Mapping[str | None, int]] | None = None
    ranks: Mapping[str, Sequence[str | None]] | None = None
    paths: Mapping[str, Mapping[str | None, tuple[str | None, ...]]] | None = None
    likeness: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Counted:
    """What stands in a file. smallest: subjects of the smallest class; failed: what does not hold, in words without a value."""

    rows: int
    classes: int
    smallest: int
    failed: tuple[str, ...]


def recount(
    file: Path | Sequence[Path], quasi: Sequence[str], wanted: Wanted, *, subject: Path | Sequence[Path] | None = None, delimiter: str = ","
) -> Counted:
    """Count the classes of a CSV or Parquet file, or of several that make a table, and hold each against what is wanted.

    subject: Parquet that says, row by row, whose each row is; without it each row is a subject of its own.
    """
    duck = _open(_listed(file), _listed(subject), delimiter)
    keys = ", ".join(_quoted(name) for name in quasi) or "'all'"
    size = "count(*)" if subject is None else "count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL)"
    short_of = f"count(*) FILTER (size < {wanted.k})"
    grouped = f"SELECT {size} AS size, count(*) AS n FROM t GROUP BY {keys}"  # noqa: S608
    query = f"SELECT count(*), min(size), {short_of}, sum(n) FROM ({grouped})"  # noqa: S608
    classes, smallest, short, rows = duck.execute(query).fetchone() or (0, 0, 0, 0)
    failed = [f"{short:,} classes have fewer than {wanted.k} subjects"] if short else []
    for column in dict.fromkeys(name for name, *_ in (*wanted.diversity, *wanted.closeness, *wanted.likeness)):
        tests, broken = _tests(column, wanted), Counter[str]()
        for counts in _histograms(duck, keys, column, subject is not None):
            broken.update(words for words, holds in tests if not holds(counts))
        failed += [f"{number:,} classes {words}" for words, number in broken.items()]
    return Counted(rows or 0, classes, smallest or 0, tuple(failed))


@dataclass(frozen=True)
class Rows:
    """Rows as written: their Parquet files, beside them those that say whose each is (`__subject`), and the columns that are known."""

    files: Sequence[Path]
    subjects: Sequence[Path]
    columns: tuple[str, ...]


def smallest_combination(about: Rows | None, events: Sequence[Rows], m: int) -> tuple[int, int]:
    """The number of subjects who share the rarest combination of what `about` says of them (one row each) with up to m different rows of
    `events`; and how many combinations there are. By a join of each subject's rows with themselves."""
    duck = _known_of_subjects(about, events)
    smallest, sets = 0, 0
    for size in range(1, m + 1):
        joins = "".join(f" JOIN known k{i} ON k{i}.who = k0.who AND k{i}.item > k{i - 1}.item" for i in range(1, size))
        keys = ", ".join(["k0.class", *(f"k{i}.item" for i in range(size))])
        query = f"SELECT min(n), count(*) FROM (SELECT count(DISTINCT k0.who) AS n FROM known k0{joins} GROUP BY {keys})"  # noqa: S608
        least, number = duck.execute(query).fetchone() or (None, 0)
        smallest, sets = (least if not sets else min(smallest, least), sets + number) if number else (smallest, sets)
    return smallest, sets


def _known_of_subjects(about: Rows | None, events: Sequence[Rows]) -> duckdb.DuckDBPyConnection:
    """A table `known`: who, her class by `about`, and each of her events, once."""
    home = (about.files if about else events[0].files)[0].parent if about or events else Path(".")
    duck = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(home / ".combinations.scratch")})
    duck.execute("SET enable_progress_bar = false")
    duck.execute("CREATE TABLE about (who VARCHAR, class VARCHAR)")
    duck.execute("CREATE TABLE items (who VARCHAR, item VARCHAR)")
    for number, rows in enumerate([*([about] if about else []), *events]):
        duck.read_parquet([str(file) for file in rows.files]).create_view(f"data{number}")
        duck.read_parquet([str(file) for file in rows.subjects]).create_view(f"whose{number}")
        known = ", ".join(f"{_quoted(name)}" for name in rows.columns)
        text = f"to_json(row({known}))::VARCHAR" if rows.columns else "''"
        into, prefix = ("about", "") if about is rows else ("items", f"'{number} ' || ")
        duck.execute(f"INSERT INTO {into} SELECT DISTINCT __subject, {prefix}{text} FROM data{number} POSITIONAL JOIN whose{number}")  # noqa: S608
    duck.execute("CREATE TABLE known AS SELECT who, coalesce(class, '') || ' ' AS class, item FROM items LEFT JOIN about USING (who)")
    return duck


@dataclass(frozen=True)
class Crowd:
    """A population as it stands in a file. columns: a quasi-identifier -> the file's column; count: the file's column with the number of people
    of a row; ladders: by quasi-identifier, each of the file's values (as text) with all that may have been published for it."""

    file: Path
    columns: Mapping[str, str]
    count: str | None
    delimiter: str | None
    ladders: Mapping[str, Sequence[tuple[str | None, str | None]]]


def values_of(file: Path, column: str, delimiter: str | None = None) -> list[str | None]:
    """The distinct values of a column of a CSV or Parquet file, as text."""
    duck = _open([file], [], delimiter or _delimiter(file))
    return [row[0] for row in duck.execute(f"SELECT DISTINCT {_quoted(column)}::VARCHAR FROM t ORDER BY 1").fetchall()]  # noqa: S608


def against(
    file: Path | Sequence[Path], crowd: Crowd, *, subject: Path | Sequence[Path] | None = None, delimiter: str = ","
) -> list[tuple[int, int]]:
    """Of each class that is published (files as in `recount`): its subjects, and the people of the population for whom it may stand."""
    duck = _open(_listed(file), _listed(subject), delimiter)
    quasi = list(crowd.columns)
    keys = ", ".join(_quoted(name) for name in quasi)
    size = "count(*)" if subject is None else "count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL)"
    duck.execute(f"CREATE TABLE classes AS SELECT {keys}, {size} AS size FROM t GROUP BY {keys}")  # noqa: S608
    source = _source(duck, crowd.file, crowd.delimiter or _delimiter(crowd.file))
    texts = ", ".join(f"{_quoted(crowd.columns[name])}::VARCHAR AS v{i}" for i, name in enumerate(quasi))
    number = f"sum({_quoted(crowd.count)}::BIGINT)" if crowd.count else "count(*)"
    duck.execute(f"CREATE TABLE reached AS SELECT {texts}, {number} AS n FROM {source} GROUP BY ALL")  # noqa: S608
    # A column at a time, each person goes on along all that may stand for her, as far as some class begins so.
    for i, name in enumerate(quasi):
        duck.register("ladder", pa.table({"leaf": [a for a, _ in crowd.ladders[name]], "label": [b for _, b in crowd.ladders[name]]}, _LADDER))
        same = " AND ".join(f"c.{_quoted(other)} IS NOT DISTINCT FROM r.l{j}" for j, other in enumerate(quasi[:i]))
        begins = f"SELECT 1 FROM classes c WHERE {same or 'true'} AND c.{_quoted(name)} IS NOT DISTINCT FROM l.label"  # noqa: S608
        duck.execute(
            f"CREATE OR REPLACE TABLE reached AS SELECT r.*, l.label AS l{i} FROM reached r "  # noqa: S608
            f"JOIN (SELECT DISTINCT * FROM ladder) l ON r.v{i} IS NOT DISTINCT FROM l.leaf WHERE EXISTS ({begins})"
        )
    same = " AND ".join(f"c.{_quoted(name)} IS NOT DISTINCT FROM r.l{i}" for i, name in enumerate(quasi))
    found = duck.execute(f"SELECT any_value(c.size), coalesce(sum(r.n), 0)::BIGINT FROM classes c LEFT JOIN reached r ON {same} GROUP BY {keys}")  # noqa: S608
    return [(int(here), int(people)) for here, people in found.fetchall()]


def failed_against(counted: Sequence[tuple[int, int]], k_map: int | None, presence: tuple[float, float] | None) -> list[str]:
    """What does not hold of classes against a population, in words."""
    few = sum(people < (k_map or 0) for _, people in counted)
    words = [f"{few:,} classes have fewer than {k_map} people of the population"] if few else []
    least, most = presence or (0.0, 1.0)
    out = sum(not least - 1e-6 <= here / max(people, 1e-9) <= most + 1e-6 for here, people in counted) if presence else 0
    return words + ([f"{out:,} classes have not between {least:g} and {most:g} of their population in the release"] if out else [])


def safe_delta(k: int, share: float, epsilon: float) -> float:
    """The delta that k gives, by its definition: the largest chance, over numbers n of equal people, that more than gamma n of them are drawn.

    Summed term by term, up to where Chernoff's bound is under what was found. Source: Li, Qardaji and Su (2012), theorem 5.
    """
    gamma = 1 - (1 - share) * math.exp(-epsilon)
    rate = gamma * math.log(gamma / share) + (1 - gamma) * math.log((1 - gamma) / (1 - share))
    n, most = max(math.ceil(k / gamma - 1), 1), 0.0
    while math.exp(-rate * n) > max(most, 1e-300):
        j = math.floor(gamma * n + 1e-9) + 1
        term = (
            math.exp(math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) + j * math.log(share) + (n - j) * math.log1p(-share))
            if j <= n
            else 0.0
        )
        total = 0.0
        while j <= n and term > total * 1e-17:
            total += term
            term *= (n - j) / (j + 1) * share / (1 - share)
            j += 1
        most, n = max(most, total), n + 1
    return most


def combinations_fail(about: Rows, events: Sequence[Rows], m: int, wanted: Wanted) -> list[str]:
    """What does not hold of the subject table's sensitive values among all who share what `about` says of them and up to m of their events."""
    duck = _known_of_subjects(about, events)
    columns = dict.fromkeys(column for column, *_ in (*wanted.diversity, *wanted.closeness, *wanted.likeness))
    failed: Counter[str] = Counter()
    for column in columns:
        duck.execute(
            f"CREATE OR REPLACE TABLE valued AS SELECT __subject AS who, {_quoted(column)}::VARCHAR AS value "  # noqa: S608
            "FROM data0 POSITIONAL JOIN whose0"
        )
        tests = _tests(column, wanted)
        for size in range(1, m + 1):
            joins = "".join(f" JOIN known k{i} ON k{i}.who = k0.who AND k{i}.item > k{i - 1}.item" for i in range(1, size))
            keys = ", ".join(["k0.class", *(f"k{i}.item" for i in range(size))])
            source = f"known k0{joins} JOIN valued ON valued.who = k0.who"
            query = f"SELECT {keys}, value, count(DISTINCT k0.who) FROM {source} GROUP BY ALL ORDER BY {keys}"  # noqa: S608
            for counts in _by_key(duck.execute(query)):
                failed.update(words for words, holds in tests if not holds(counts))
    return [f"{number:,} combinations of {m} events at most {words}" for words, number in failed.items()]


def _tests(column: str, wanted: Wanted) -> list[tuple[str, Callable[[Counter[str | None]], bool]]]:
    """What is asked of a column's values, in words, and as a test of a class's counts."""
    tests: list[tuple[str, Callable[[Counter[str | None]], bool]]] = []
    for name, variant, numbers in wanted.diversity:
        if name == column:
            words = f"are not {variant} {'-'.join(f'{n:g}' for n in numbers)}-diverse in {column}"
            tests.append((words, partial(_diverse, variant, numbers)))
    for name, distance, t in wanted.closeness:
        if name == column:
            apart = _Distance(distance, column, wanted)
            tests.append((f"are farther than t = {t:g} ({distance}) from the table in {column}", partial(_near, apart, t)))
    for name, variant, beta in wanted.likeness:
        if name == column:
            whole = (wanted.whole or {})[column]
            words = f"are not {variant} {beta:g}-like the table in {column}"
            tests.append((words, lambda counts, v=variant, b=beta, w=whole: _alike(v, b, counts, w)))  # type: ignore[misc]
    return tests


def _near(apart: _Distance, t: float, counts: Counter[str | None]) -> bool:
    return apart(counts) <= t + 1e-6


def _listed(files: Path | Sequence[Path] | None) -> list[Path]:
    return [] if files is None else [files] if isinstance(files, Path) else list(files)


def _open(files: list[Path], subjects: list[Path], delimiter: str) -> duckdb.DuckDBPyConnection:
    scratch = files[0].parent / f".{files[0].name}.scratch"
    duck = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(scratch)})
    duck.execute("SET enable_progress_bar = false")
    if _is_parquet(files[0]):
        duck.read_parquet([str(file) for file in files]).create_view("written")
    else:
        _csv(duck, files[0], delimiter).create_view("written")
    if not subjects:
        duck.execute("CREATE VIEW t AS FROM written")
    else:
        duck.read_parquet([str(file) for file in subjects]).create_view("whose")
        duck.execute("CREATE VIEW t AS SELECT * FROM written POSITIONAL JOIN whose")
    return duck


def _csv(duck: duckdb.DuckDBPyConnection, file: Path, delimiter: str) -> duckdb.DuckDBPyRelation:
    return duck.read_csv(str(file), sep=delimiter, header=True, all_varchar=True, quotechar='"', escapechar='"')


def _source(duck: duckdb.DuckDBPyConnection, file: Path, delimiter: str) -> str:
    (duck.read_parquet(str(file)) if _is_parquet(file) else _csv(duck, file, delimiter)).create_view("crowd")
    return "crowd"


def _delimiter(file: Path) -> str:
    if _is_parquet(file):
        return ","
    with file.open(encoding="utf-8-sig") as lines:
        return max(",;\t|", key=lines.readline().count)


def _is_parquet(file: Path) -> bool:
    try:
        pq.read_metadata(file)
    except Exception:  # what pyarrow raises for another format is not one type
        return False
    return True


def _histograms(duck: duckdb.DuckDBPyConnection, keys: str, column: str, subjects: bool) -> Iterator[Counter[str | None]]:
    """How often each class holds each value: subjects where they are known, else rows."""
    name = _quoted(column)
    many = "count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL)" if subjects else "count(*)"
    cursor = duck.execute(f"SELECT {keys}, {name}::VARCHAR, {many} FROM t GROUP BY ALL ORDER BY {keys}")  # noqa: S608
    yield from _by_key(cursor)


def _by_key(cursor: duckdb.DuckDBPyConnection) -> Iterator[Counter[str | None]]:
    """The counts of values of each class. cursor: rows of a key, a value and its number, ordered by the key."""
    last, counts = None, Counter[str | None]()
    while rows := cursor.fetchmany(10_000):
        for *key, value, number in rows:
            if key != last and counts:
                yield counts
                counts = Counter()
            last = key
            counts[value] += number
    if counts:
        yield counts


def _diverse(variant: str, numbers: tuple[float, ...], counts: Counter[str | None]) -> bool:
    total = counts.total()
    if variant == "distinct":
        return len(counts) >= numbers[0]
    if variant == "entropy":
        return -sum(n / total * math.log(n / total) for n in counts.values()) >= math.log(numbers[0]) - 1e-6
    c, l = numbers  # noqa: E741
    ranked = sorted(counts.values(), reverse=True)
    return ranked[0] < c * sum(ranked[int(l) - 1 :])


def _alike(variant: str, beta: float, counts: Counter[str | None], whole: Mapping[str | None, int]) -> bool:
    """beta-likeness as its definition has it: no value gains more, over its share in the table, than beta (or -ln of that share)."""
    total, everyone = counts.total(), sum(whole.values())
    for value, number in counts.items():
        before, here = whole[value] / everyone, number / total
        most = beta if variant == "basic" else min(beta, -math.log(before))
        if here > before and here / before - 1 > most + 1e-6:
            return False
    return True


class _Distance:
    """The earth mover's distance of a class's values from the whole table's, by its definition."""

    def __init__(self, distance: str, column: str, wanted: Wanted) -> None:
        self.distance = distance
        self.whole = (wanted.whole or {})[column]
        self.ranks = (wanted.ranks or {}).get(column, ())
        self.paths = (wanted.paths or {}).get(column, {})

    def __call__(self, counts: Counter[str | None]) -> float:
        total, everyone = counts.total(), sum(self.whole.values())
        apart = {value: counts[value] / total - number / everyone for value, number in self.whole.items()}
        if self.distance == "ordered":
            moved, carried = 0.0, 0.0
            for value in self.ranks:
                carried += apart[value]
                moved += abs(carried)
            return moved / max(len(self.ranks) - 1, 1)
        if self.distance == "hierarchical":
            return self._through(apart)
        return sum(abs(difference) for difference in apart.values()) / 2

    def _through(self, apart: dict[str | None, float]) -> float:
        height = len(next(iter(self.paths.values()))) - 1
        total = 0.0
        for level in range(1, height + 1):
            over: dict[str | None, float] = defaultdict(float)
            under: dict[str | None, float] = defaultdict(float)
            children: dict[tuple[str | None, str | None], float] = defaultdict(float)
            for value, difference in apart.items():
                children[self.paths[value][level], self.paths[value][level - 1]] += difference
            for (parent, _), extra in children.items():
                (over if extra > 0 else under)[parent] += abs(extra)
            total += level / height * sum(min(over[parent], under[parent]) for parent in over)
        return total


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
