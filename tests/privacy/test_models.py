"""Each model against its definition, written out slowly, and the search under it against every node of the lattice."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from anonymize.errors import AnonymizeError
from anonymize.hierarchies.tables import CsvHierarchy
from anonymize.judging.recount import Crowd, _alike, against, safe_delta
from anonymize.policy.model import Privacy
from anonymize.privacy import SearchSettings, recode_locally, search
from anonymize.privacy.lattice import POPULATION, values_in_order
from anonymize.privacy.models import (
    BetaLikeness,
    CloseT,
    DeltaPresence,
    DistinctL,
    EntropyL,
    KMap,
    Model,
    PopulationModel,
    RecursiveL,
    fitted,
    parse_beta,
    parse_l,
    parse_t,
    safe_sampling_delta,
    safe_sampling_k,
)
from tests.privacy.test_search import HIERARCHIES, ROWS, Row, at

ILLNESSES = ["asthma", "copd", "flu", "gout"]
TREE = CsvHierarchy(
    {"asthma": ("asthma", "lungs", "*"), "copd": ("copd", "lungs", "*"), "flu": ("flu", "acute", "*"), "gout": ("gout", "joints", "*")}, 3, "t"
)
Counts = dict[str, int]


def transport(p: list[float], q: list[float], far: Callable[[int, int], float]) -> float:
    """The least work of turning p into q, by the network simplex's own way: augmenting along the cheapest path, in small whole units."""
    unit = 5040 * 12
    supply, demand = [round(x * unit) for x in p], [round(x * unit) for x in q]
    moved: dict[tuple[int, int], int] = defaultdict(int)
    while any(s > 0 for s in supply) and any(d > 0 for d in demand):
        # Bellman-Ford over sources and sinks: forward edges cost far, backward edges give it back.
        best = {("s", i): (0.0, None) for i, s in enumerate(supply) if s > 0}
        for _ in range(2 * len(p) + 1):
            for i, j in itertools.product(range(len(p)), repeat=2):
                if ("s", i) in best and best["s", i][0] + far(i, j) < best.get(("d", j), (math.inf, None))[0] - 1e-12:
                    best["d", j] = (best["s", i][0] + far(i, j), ("s", i))  # type: ignore[assignment]
                if ("d", j) in best and moved[i, j] > 0 and best["d", j][0] - far(i, j) < best.get(("s", i), (math.inf, None))[0] - 1e-12:
                    best["s", i] = (best["d", j][0] - far(i, j), ("d", j))  # type: ignore[assignment]
        j = min((j for j, d in enumerate(demand) if d > 0), key=lambda j: best["d", j][0])
        path = [("d", j)]
        while best[path[-1]][1] is not None:
            path.append(best[path[-1]][1])  # type: ignore[arg-type]
        path.reverse()
        room = min(supply[path[0][1]], demand[j], *(moved[b[1], a[1]] for a, b in itertools.pairwise(path) if a[0] == "d"), 10**9)
        for a, b in itertools.pairwise(path):
            if a[0] == "s":
                moved[a[1], b[1]] += room
            else:
                moved[b[1], a[1]] -= room
        supply[path[0][1]] -= room
        demand[j] -= room
    return sum(amount * far(i, j) for (i, j), amount in moved.items()) / unit


def level_of_meeting(i: int, j: int) -> float:
    paths = [TREE.rows[ILLNESSES[i]], TREE.rows[ILLNESSES[j]]]
    return next(level for level in range(3) if paths[0][level] == paths[1][level]) / 2


FAR: dict[str, Callable[[int, int], float]] = {
    "equal": lambda i, j: float(i != j),
    "ordered": lambda i, j: abs(i - j) / (len(ILLNESSES) - 1),
    "hierarchical": level_of_meeting,
}


def shares(counts: Counts) -> list[float]:
    return [counts.get(v, 0) / sum(counts.values()) for v in ILLNESSES]


def distinct(counts: Counts, whole: Counts) -> bool:
    return sum(n > 0 for n in counts.values()) >= 2


def entropy(counts: Counts, whole: Counts) -> bool:
    return -sum(p * math.log(p) for p in shares(counts) if p) >= math.log(1.7) - 1e-9


def recursive(counts: Counts, whole: Counts) -> bool:
    ranked = sorted(counts.values(), reverse=True)
    return ranked[0] < 1.5 * sum(ranked[1:])


def closeness(distance: str) -> Callable[[Counts, Counts], bool]:
    return lambda counts, whole: transport(shares(counts), shares(whole), FAR[distance]) <= 0.3 + 1e-4


def beta(counts: Counts, whole: Counts) -> bool:
    return all(q <= p or (q - p) / p <= min(1.0, -math.log(p)) + 1e-9 for p, q in zip(shares(whole), shares(counts), strict=True) if p)


def basic(counts: Counts, whole: Counts) -> bool:
    return all(q <= p or (q - p) / p <= 0.5 + 1e-9 for p, q in zip(shares(whole), shares(counts), strict=True) if p)


ORDER = tuple(range(len(ILLNESSES)))
MODELS: dict[str, tuple[Model, Callable[[Counts, Counts], bool]]] = {
    "distinct": (DistinctL("illness", 2), distinct),
    "entropy": (EntropyL("illness", 1.7), entropy),
    "recursive": (RecursiveL("illness", 1.5, 2), recursive),
    "t equal": (CloseT("illness", 0.3), closeness("equal")),
    "t ordered": (CloseT("illness", 0.3, "ordered"), closeness("ordered")),
    "t hierarchical": (CloseT("illness", 0.3, "hierarchical"), closeness("hierarchical")),
    "beta": (BetaLikeness("illness", 1.0), beta),
    "beta basic": (BetaLikeness("illness", 0.5, enhanced=False), basic),
}


def fitted_to_all(model: Model) -> Model:
    return fitted(model, pa.array(ILLNESSES), TREE)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any),
    rest=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    name=st.sampled_from(list(MODELS)),
)
def test_a_class_is_judged_by_the_definition(counts: list[int], rest: list[int], name: str) -> None:
    model, definition = MODELS[name]
    whole = np.array(counts) + rest
    expected = definition(dict(zip(ILLNESSES, counts, strict=True)), dict(zip(ILLNESSES, whole.tolist(), strict=True)))
    assert fitted_to_all(model).holds(np.array([counts]), whole).tolist() == [expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any), min_size=2, max_size=2), st.sampled_from(list(FAR)))
def test_the_distance_is_the_earth_movers(pair: list[list[int]], distance: str) -> None:
    part, rest = np.array(pair[0]), np.array(pair[1])
    model = fitted_to_all(CloseT("illness", 0.1, distance))
    assert isinstance(model, CloseT)
    p, q = (one / one.sum() for one in (part, part + rest))
    assert model.distances(part[None, :], part + rest)[0] == pytest.approx(transport(p.tolist(), q.tolist(), FAR[distance]), abs=1e-4)


def all_nodes() -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(h.levels)) for h in HIERARCHIES.values())))


def brute(rows: list[Row], holds: Callable[[list[int]], bool], counted: list[int], budget: float) -> float | None:
    """The least loss over all nodes. holds: judges the positions of a class; counted: the rows that are in the release."""
    best = None
    for node in all_nodes():
        general, losses = at(rows, node)
        classes: dict[Row, list[int]] = defaultdict(list)
        for position, row in enumerate(general):
            classes[row].append(position)
        kept = {p for members in classes.values() if holds(members) for p in members}
        lost = [p for p in counted if p not in kept]
        if len(lost) <= budget * len(counted) + 1e-9:
            loss = (sum(losses[p] for p in counted if p in kept) + 3.0 * len(lost)) / len(counted) / 3
            best = loss if best is None else min(best, loss)
    return None if best is None else float(best)


def sick_tally(rows: list[tuple[Row, str]]) -> pa.Table:
    counted = Counter(rows)
    columns = list(zip(*(row for row, _ in counted), strict=True))
    named = {name: pa.array(column, pa.string()) for name, column in zip(HIERARCHIES, columns, strict=True)}
    return pa.table({**named, "illness": [illness for _, illness in counted], "subjects": pa.array(counted.values(), pa.int64())})


SICK = ROWS.flatmap(
    lambda rows: st.lists(st.sampled_from(ILLNESSES), min_size=len(rows), max_size=len(rows)).map(lambda i: list(zip(rows, i, strict=True)))
)


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=15, deadline=None)
@given(rows=SICK, k=st.integers(1, 3), budget=st.sampled_from([0.0, 0.2, 1.0]))
def test_the_optimum_under_a_model_is_that_of_brute_force(name: str, rows: list[tuple[Row, str]], k: int, budget: float) -> None:
    model, definition = MODELS[name]
    table = sick_tally(rows)
    present = values_in_order(table["illness"])
    if isinstance(model, CloseT) and model.distance == "ordered" and len(present) < len(ILLNESSES):
        return  # a rank that nobody has does not stand between two others: the oracle's ranks are those of all four
    model = fitted(model, present, TREE)
    whole = Counter(illness for _, illness in rows)

    def holds(members: list[int]) -> bool:
        return len(members) >= k and definition(Counter(rows[p][1] for p in members), whole)

    expected = brute([row for row, _ in rows], holds, list(range(len(rows))), budget)
    wanted = SearchSettings(k=k, suppression=budget, models=(model,))
    if expected is None:
        with pytest.raises(AnonymizeError, match="cannot be reached"):
            search(table, HIERARCHIES, wanted)
        return
    assert search(table, HIERARCHIES, wanted).loss == pytest.approx(expected)


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=15, deadline=None)
@given(rows=SICK, k=st.integers(1, 3))
def test_no_class_of_local_recoding_breaks_a_model(name: str, rows: list[tuple[Row, str]], k: int) -> None:
    model, definition = MODELS[name]
    table = sick_tally(rows)
    present = values_in_order(table["illness"])
    if isinstance(model, CloseT) and model.distance == "ordered" and len(present) < len(ILLNESSES):
        return
    solution = recode_locally(table, HIERARCHIES, SearchSettings(k=k, suppression=1.0, models=(fitted(model, present, TREE),)))
    columns = [pa.array(values, pa.string()) for values in zip(*(row for row, _ in rows), strict=True)]
    out = solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()
    classes: dict[Row, list[str]] = defaultdict(list)
    for published, (_, illness) in zip(out, rows, strict=True):
        if not published["__suppressed"]:
            classes[tuple(published[name] for name in HIERARCHIES)].append(illness)
    whole = Counter(illness for _, illness in rows)
    assert all(len(members) >= k and definition(Counter(members), whole) for members in classes.values())


POPULATIONS: dict[str, tuple[PopulationModel, Callable[[int, int], bool]]] = {
    "k-map": (KMap(4), lambda released, people: people >= 4),
    "delta-presence": (DeltaPresence(0.2, 0.7), lambda released, people: 0.2 - 1e-9 <= released / people <= 0.7 + 1e-9),
}


def crowd_tally(people: list[Row], released: list[int]) -> pa.Table:
    population, sample = Counter(people), Counter(people[p] for p in released)
    columns = list(zip(*population, strict=True))
    named = {column: pa.array(values, pa.string()) for column, values in zip(HIERARCHIES, columns, strict=True)}
    return pa.table({**named, "subjects": pa.array([sample[row] for row in population]), POPULATION: pa.array(population.values())})


@pytest.mark.parametrize("name", list(POPULATIONS))
@settings(max_examples=25, deadline=None)
@given(people=ROWS, data=st.data(), budget=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_optimum_against_a_population_is_that_of_brute_force(name: str, people: list[Row], data: st.DataObject, budget: float) -> None:
    model, definition = POPULATIONS[name]
    released = data.draw(st.lists(st.integers(0, len(people) - 1), unique=True, min_size=1))
    table = crowd_tally(people, released)

    def holds(members: list[int]) -> bool:
        return definition(len(set(members) & set(released)), len(members))

    expected = brute(people, holds, sorted(released), budget)
    wanted = SearchSettings(k=0, suppression=budget, population=(model,))
    if expected is None:
        with pytest.raises(AnonymizeError, match="cannot be reached"):
            search(table, HIERARCHIES, wanted)
        return
    assert search(table, HIERARCHIES, wanted).loss == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(people=ROWS, data=st.data(), k=st.integers(1, 2))
def test_each_class_of_local_recoding_stands_for_k_people(people: list[Row], data: st.DataObject, k: int) -> None:
    released = data.draw(st.lists(st.integers(0, len(people) - 1), unique=True, min_size=1))
    solution = recode_locally(crowd_tally(people, released), HIERARCHIES, SearchSettings(k=k, suppression=1.0, population=(KMap(4),)))
    columns = [pa.array(values, pa.string()) for values in zip(*(people[p] for p in released), strict=True)]
    out = solution.apply(pa.RecordBatch.from_arrays(columns, names=list(HIERARCHIES))).to_pylist()
    every = [{at([row], node)[0][0] for node in all_nodes()} for row in people]
    classes = Counter(tuple(row[name] for name in HIERARCHIES) for row in out if not row["__suppressed"])
    for published, number in classes.items():
        assert number >= k
        assert sum(published in ways for ways in every) >= 4


@settings(max_examples=25, deadline=None)
@given(people=ROWS, data=st.data())
def test_the_gate_counts_people_as_they_are(people: list[Row], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Classes of mixed levels, some overlapping, counted against the population one person at a time."""
    folder = tmp_path_factory.mktemp("gate")
    nodes = data.draw(st.lists(st.sampled_from(all_nodes()), min_size=1, max_size=6))
    written = [at([data.draw(st.sampled_from(people))], node)[0][0] for node in nodes]
    names = list(HIERARCHIES)
    for name, rows in (("release", written), ("people", people)):
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table({c: pa.array(v, pa.string()) for c, v in zip(names, columns, strict=True)}), folder / f"{name}.parquet")
    ladders = {
        name: [
            (v, h.generalize(pa.array([v], pa.string()), level)[0].as_py()) for v in {row[c] for row in people} for level in range(len(h.levels))
        ]
        for c, (name, h) in enumerate(HIERARCHIES.items())
    }
    crowd = Crowd(folder / "people.parquet", {name: name for name in names}, None, None, ladders)
    every = [{at([row], node)[0][0] for node in all_nodes()} for row in people]
    expected = sorted((number, sum(published in ways for ways in every)) for published, number in Counter(written).items())
    assert sorted(against(folder / "release.parquet", crowd)) == expected


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any),
    rest=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    name=st.sampled_from(["beta", "beta basic"]),
)
def test_the_gate_judges_likeness_by_the_definition(counts: list[int], rest: list[int], name: str) -> None:
    model, definition = MODELS[name]
    assert isinstance(model, BetaLikeness)
    whole = {value: a + b for value, a, b in zip(ILLNESSES, counts, rest, strict=True)}
    here = Counter({value: n for value, n in zip(ILLNESSES, counts, strict=True) if n})
    judged = _alike("enhanced" if model.enhanced else "basic", model.beta, here, whole)
    assert judged == definition(dict(here), whole)


def test_the_gate_and_the_search_agree_on_safe_samples() -> None:
    for k, drawn, epsilon in ((5, 0.1, 1.0), (20, 0.1, 0.5), (10, 0.3, 2.0), (40, 0.02, 0.05)):
        assert safe_delta(k, drawn, epsilon) == pytest.approx(safe_sampling_delta(k, drawn, epsilon), rel=1e-6)
    with pytest.raises(ValueError, match="at least -ln"):
        safe_sampling_delta(5, 0.5, 0.1)


def test_safe_sampling_by_its_definition() -> None:
    """delta is the largest chance, over all numbers n of equal people, that so many of them are drawn that one more or less shows."""
    for k, drawn, epsilon in ((5, 0.1, 1.0), (20, 0.1, 0.5), (10, 0.3, 2.0)):
        gamma = (math.exp(epsilon) - 1 + drawn) / math.exp(epsilon)
        most = 0.0
        for n in range(math.ceil(k / gamma - 1), 400):
            chance = sum(math.comb(n, j) * drawn**j * (1 - drawn) ** (n - j) for j in range(n + 1) if j > gamma * n and j >= 0)
            most = max(most, chance)
        assert safe_sampling_delta(k, drawn, epsilon) == pytest.approx(most, rel=1e-6)
    k = safe_sampling_k(1e-6, 0.1, 1.0)
    assert safe_sampling_delta(k, 0.1, 1.0) <= 1e-6 < safe_sampling_delta(k - 1, 0.1, 1.0)


@pytest.mark.parametrize(("words", "k"), [(5, 5), ("cms", 11), ("ema-0070", 12), ("risk 0.09", 12), ("risk 0.2", 5)])
def test_thresholds_by_name(words: object, k: int) -> None:
    assert Privacy.model_validate({"k": words}).k == k


@pytest.mark.parametrize("words", ["cma", "risk", "risk 2", "risk x", 1])
def test_what_is_no_threshold(words: object) -> None:
    with pytest.raises(ValidationError):
        Privacy.model_validate({"k": words})


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("a:3", DistinctL("a", 3)),
        ("a:distinct:3", DistinctL("a", 3)),
        ("a:entropy:2.5", EntropyL("a", 2.5)),
        ("a:recursive:4:3", RecursiveL("a", 4, 3)),
    ],
)
def test_l_as_it_is_written(text: str, model: Model) -> None:
    assert parse_l(text) == model


def test_t_as_it_is_written() -> None:
    assert parse_t("a:0.2") == CloseT("a", 0.2)
    assert parse_t("a:ordered:0.2") == CloseT("a", 0.2, "ordered")


def test_beta_as_it_is_written() -> None:
    assert parse_beta("a:2") == parse_beta("a:enhanced:2") == BetaLikeness("a", 2.0)
    assert parse_beta("a:basic:0.5") == BetaLikeness("a", 0.5, enhanced=False)
    for text in ("a", "a:0", "a:near:1", "a:inf", ":1"):
        with pytest.raises(ValueError, match="no beta-likeness"):
            parse_beta(text)


@pytest.mark.parametrize("text", ["a", "a:1", "a:entropy", "a:entropy:1", "a:recursive:3", "a:b:c:d", ""])
def test_what_is_no_l(text: str) -> None:
    with pytest.raises(ValueError, match="no l-diversity"):
        parse_l(text)


@pytest.mark.parametrize("text", ["a", "a:2", "a:near:0.2", "a:-1"])
def test_what_is_no_t(text: str) -> None:
    with pytest.raises(ValueError, match="no t-closeness"):
        parse_t(text)
