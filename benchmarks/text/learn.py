"""Learns the network of the `context` detector from marked texts: `python -m benchmarks.text.learn`, two minutes.

It learns from the sets that rules may be tuned on alone: `clin_dev`, made notes and questions of `dev`, the documents of `written`, `written-2`,
`written-3`, `written-5`, `written-6`, `written-7` and `written-8`, these too as if typed in capitals and in small letters, and the sentences of
`sentences.txt`. A network of one small layer (scikit-learn, Adam) tells whether a word is PHI and of which kind. A feature counts where
enough documents hold it.

What a writer would see who has seen nothing: `--score written-5` learns without that set, measures on it and writes nothing. What the rules
themselves owe to a set stays; so does what the model that reads owes to it, unless one adapted without it is given (`adapt.py`).
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from anonymize.detect import adapted, context, network, rampart
from anonymize.detect.context import KINDS, Weighed
from anonymize.detect.network import Network
from anonymize.detect.paragraphs import paragraphs
from anonymize.detect.reading import read
from anonymize.detect.registry import LANGUAGES
from benchmarks.text.maker import make
from benchmarks.text.score import IGNORED, figures, intervals, score
from benchmarks.text.sets import SETS, Documents, read_jsonl
from benchmarks.text.systems import BY_NAME
from benchmarks.text.written import SENTENCES, written

WEIGHTS = Path(__file__).parents[2] / "anonymize" / "detect" / "data" / network.FILE
#: What is learnt from, and how much a word of it weighs: documents written by hand show more than made ones.
LEARNT = {
    "written-8": 4.0, "written-7": 4.0, "written-6": 4.0, "written-5": 4.0, "written-3": 4.0, "written-2": 4.0, "written": 3.0,
    "sentences": 4.0, "clin_dev": 0.5, "dev": 0.3, "asked": 0.6,
}  # fmt: skip
#: Documents by hand are learnt from in capitals and in small letters as well, where a word weighs so much of what it does as it was written.
COPIED = 0.25
#: A feature must stand in so many documents.
LEAST = 3
#: How many numbers a word becomes, how often it is looked at, how many at once, and how the learner begins.
UNITS, ROUNDS, BATCH, SEED = 16, 2, 256, 0
_KINDS = {
    "NAME": "name",
    "HOSPITAL": "facility",
    "ROOM": "facility",
    "ORG": "organization",
    "PROFESSION": "organization",
    "LOCATION": "address",
    "CITY": "address",
    "COUNTY": "address",
    "STATE": "address",
    "STREET": "address",
    "ADDRESS": "address",
    "ZIP": "address",
    "DATE": "date",
}
Row = tuple[list[str], int, int, float, str]
"""Features, whether it is PHI, the number of its kind, its weight, its document."""


def typed(documents: Documents) -> Iterator[Documents]:
    """The documents as if they had been typed in capitals, and in small letters: but those that are, or whose letters would be more."""
    for case in (str.upper, str.lower):
        copies = [{**document, "text": case(document["text"])} for document in documents]
        pairs = zip(documents, copies, strict=True)
        yield [copy for one, copy in pairs if copy["text"] != one["text"] and len(copy["text"]) == len(one["text"])]


def rows(documents: Iterable[dict[str, Any]], weight: float, name: str) -> Iterable[Row]:
    """The words of documents that could be PHI."""
    batches = [make() for key, (make, on) in LANGUAGES["en"].items() if on and key not in ("context", "rampart")]
    for document in documents:
        reading = read(document["text"])
        marks = [""] * (len(document["text"]) + 1)
        for span in document["spans"]:
            marks[span["start"] : span["end"]] = [span["label"]] * (span["end"] - span["start"])
        for offset, paragraph in paragraphs(reading.cased):
            votes: list[Any] = []
            for batch in batches:
                votes += batch([paragraph], [votes])[0]
            weighed = Weighed(paragraph, votes)
            for index in weighed.candidates():
                start, end = (offset + place for place in weighed.tokens[index])
                if reading.back is not None:
                    start, end = reading.back[start], reading.back[end]
                label = Counter(marks[start:end]).most_common(1)[0][0]
                phi = bool(label) and label not in IGNORED
                number = kind_of(label) if phi else -1
                yield weighed.features(index), int(phi), number, weight, f"{name} {document['id']}"


def kind_of(label: str) -> int:
    """The place in KINDS of what a set calls so."""
    kind = _KINDS.get(label, "id")
    return next(place for place, one in enumerate(KINDS) if one.value == kind)


def learn(learnt: list[Row]) -> Network:
    """A network whose outcomes are: no PHI, then each kind."""
    holders: dict[str, set[str]] = defaultdict(set)
    for features, _, _, _, document in learnt:
        for feature in features:
            if len(holders[feature]) < LEAST:
                holders[feature].add(document)
    names = sorted(feature for feature, documents in holders.items() if len(documents) >= LEAST)
    place = {name: number for number, name in enumerate(names)}
    outcomes = np.array([row[2] + 1 for row in learnt])
    weights = np.array([row[3] for row in learnt])
    learner = MLPClassifier((UNITS,), max_iter=ROUNDS, batch_size=BATCH, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more rounds learn the documents by heart
        learner.fit(_matrix([row[0] for row in learnt], place), outcomes, sample_weight=weights / weights.mean())
    into, out = (layer.astype(np.float32) for layer in learner.coefs_)
    bias, out_bias = (layer.astype(np.float32) for layer in learner.intercepts_)
    return Network.made(names, into, bias, out, out_bias)


def _matrix(rows_of: list[list[str]], place: dict[str, int]) -> Any:
    ends, columns = [0], []
    for features in rows_of:
        columns += sorted({place[feature] for feature in features if feature in place})
        ends.append(len(columns))
    return csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows_of), len(place)))


def gathered(without: Iterable[str], notes: int, seed: int) -> list[Row]:
    """The words of all that is learnt from, but of the sets left out."""
    learnt: list[Row] = []
    for name, weight in LEARNT.items():
        if name not in without:
            documents = sources(name, notes, seed)
            learnt += rows(documents, weight, name)
            for copies in typed(documents) if name.startswith("written") else ():
                learnt += rows(copies, weight * COPIED, name)
    return learnt


def sources(name: str, notes: int, seed: int) -> Documents:
    """The documents of what is learnt from."""
    if name == "sentences":
        return written(SENTENCES)
    return make("dev", notes, seed, ("question",)) if name == "asked" else SETS[name].read(notes, seed)


def judged(name: str, learnt: Network) -> str:
    """How well all detectors, with this network, find the PHI of a set, with the subjects' records and without."""
    context.use(learnt)
    documents, told = SETS[name].read(200, 1), []
    for system in ("ours+record", "ours"):
        run = BY_NAME[system].make()
        scored = score(documents, [run(document["text"], document.get("record"))[0] for document in documents], SETS[name].ignored)
        means, bounds = figures(scored.documents), intervals(scored.documents)
        told += [f"{system}, {figure}: {means[figure]:.3f} ({bounds[figure][0]:.3f}-{bounds[figure][1]:.3f})" for figure in SHOWN]
    return "\n".join(told)


SHOWN = ("char_recall", "char_precision", "entity_recall", "leak_free")


def main() -> None:
    """Learns and writes; `--also FILE` adds documents as JSON lines, `--without SET` leaves a set out, `--score SET` judges on one left out
    (with `--adapter FILE`: by a model that was adapted without it)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--also", action="append", default=[], metavar="FILE")
    parser.add_argument("--without", action="append", default=[], metavar="SET")
    parser.add_argument("--score", choices=SETS, metavar="SET")
    parser.add_argument("--adapter", type=Path, metavar="FILE")
    parser.add_argument("--notes", type=int, default=250)
    parser.add_argument("--seed", type=int, default=777)
    chosen = parser.parse_args()
    learnt = gathered([*chosen.without, chosen.score], chosen.notes, chosen.seed)
    for path in chosen.also:
        learnt += rows(read_jsonl(Path(path)), LEARNT["written-2"], path)
    made = learn(learnt)
    if chosen.score:
        if chosen.adapter:
            rampart.use(adapted.read(chosen.adapter))
        print(judged(chosen.score, made))
    else:
        made.write(WEIGHTS)
        print(f"{len(learnt)} words, {len(made.places)} features: {WEIGHTS}")


if __name__ == "__main__":
    main()
