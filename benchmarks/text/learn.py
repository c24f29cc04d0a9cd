"""Learns the weights of the `context` detector from marked texts: `python -m benchmarks.text.learn`, a few minutes.

It learns from the sets that rules may be tuned on alone: `clin_dev`, made notes of `dev`, the documents of `written`, `written-2`,
`written-3` and `written-5`, and the sentences of `sentences.txt`. Two logistic regressions (scikit-learn, L2): whether a word is PHI, and
of which kind. A feature counts where enough documents hold it.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from anonymize.detect.context import KINDS, Weighed
from anonymize.detect.paragraphs import paragraphs
from anonymize.detect.reading import read
from anonymize.detect.registry import LANGUAGES
from benchmarks.text.score import IGNORED
from benchmarks.text.sets import SETS, read_jsonl
from benchmarks.text.written import SENTENCES, written

WEIGHTS = Path(__file__).parents[2] / "anonymize" / "detect" / "data" / "context-weights.txt.gz"
#: What is learnt from, and how much a word of it weighs: documents written by hand show more than made ones.
LEARNT = {"written-5": 4.0, "written-3": 4.0, "written-2": 4.0, "written": 3.0, "sentences": 2.0, "clin_dev": 0.5, "dev": 0.3}
#: A feature must stand in so many documents.
LEAST = 3
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


def rows(documents: Iterable[dict[str, Any]], weight: float, name: str) -> Iterable[Row]:
    """The words of documents that could be PHI."""
    batches = [make() for key, (make, on) in LANGUAGES["en"].items() if on and key != "context"]
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
                kind = _KINDS.get(label, "id")
                number = next(place for place, one in enumerate(KINDS) if one.value == kind) if phi else -1
                yield weighed.features(index), int(phi), number, weight, f"{name} {document['id']}"


def learn(learnt: list[Row], strength: float) -> dict[str, list[float]]:
    """Feature -> weights: of PHI or not, then of each kind."""
    holders: dict[str, set[str]] = defaultdict(set)
    for features, _, _, _, document in learnt:
        for feature in features:
            if len(holders[feature]) < LEAST:
                holders[feature].add(document)
    names = sorted(feature for feature, documents in holders.items() if len(documents) >= LEAST)
    place = {name: number for number, name in enumerate(names)}
    matrix = _matrix([features for features, *_ in learnt], place)
    phi = np.array([row[1] for row in learnt])
    weights = np.array([row[3] for row in learnt])
    judge = LogisticRegression(C=strength, solver="liblinear", max_iter=300, fit_intercept=False).fit(matrix, phi, sample_weight=weights)
    marked = np.flatnonzero(phi)
    kinds = np.array([row[2] for row in learnt])
    sorter = LogisticRegression(C=strength / 3, max_iter=200, fit_intercept=False)
    sorter.fit(matrix[marked], kinds[marked], sample_weight=weights[marked])
    table = np.vstack([judge.coef_, sorter.coef_]).T.round(3)
    return {name: table[number].tolist() for name, number in place.items() if abs(table[number]).max() >= 0.02}


def _matrix(rows_of: list[list[str]], place: dict[str, int]) -> Any:
    ends, columns = [0], []
    for features in rows_of:
        columns += sorted({place[feature] for feature in features if feature in place})
        ends.append(len(columns))
    return csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows_of), len(place)))


def write(weights: dict[str, list[float]], path: Path = WEIGHTS) -> None:
    """A feature a line, its weights behind it; the same bytes for the same weights."""
    head = "# feature, weight of being PHI, then of each kind: " + " ".join(kind.value for kind in KINDS)
    body = "\n".join([head, *("\t".join([name, *(f"{number:g}" for number in numbers)]) for name, numbers in sorted(weights.items()))])
    path.write_bytes(gzip.compress((body + "\n").encode(), mtime=0))


def main() -> None:
    """Learns and writes; `--also FILE` adds documents as JSON lines, `--without SET` leaves a set out (to judge on it)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--also", action="append", default=[], metavar="FILE")
    parser.add_argument("--without", action="append", default=[], metavar="SET")
    parser.add_argument("--notes", type=int, default=250)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--strength", type=float, default=0.3)
    chosen = parser.parse_args()
    learnt: list[Row] = []
    for name, weight in LEARNT.items():
        if name not in chosen.without:
            documents = written(SENTENCES) if name == "sentences" else SETS[name].read(chosen.notes, chosen.seed)
            learnt += rows(documents, weight, name)
    for path in chosen.also:
        learnt += rows(read_jsonl(Path(path)), LEARNT["written-2"], path)
    weights = learn(learnt, chosen.strength)
    write(weights)
    print(f"{len(learnt)} words, {len(weights)} features: {WEIGHTS}")


if __name__ == "__main__":
    main()
