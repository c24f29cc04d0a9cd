"""What a model learns from a release, beside what it learns from the source: the utility that a researcher feels.

Both models are trained to tell a chosen column from the others, on the records of the same subjects, and asked of the same other subjects: the
one sees source values, the other what is published, of the asked too. Source: LeFevre, DeWitt and Ramakrishnan (2006), Workload-aware
anonymization; the model is gradient boosting over histograms (Ke et al., 2017), as scikit-learn has it. scikit-learn is imported on use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.errors import AnonymizeError

#: Classes of a target; the rarer ones are one. Categories of a column that a model tells apart. Rows that are looked at.
CLASSES, CATEGORIES, ROWS = 10, 200, 20_000
#: Of a hundred subjects so many are asked of, and not learned from.
ASKED = 30


@dataclass(frozen=True)
class Learned:
    """How well a column is told of subjects that were not learned from. accuracy: the share that is told right; auc: the area under the ROC
    curve (of several classes: one against the rest, weighted), 0.5 is chance; rows: learned from; asked: rows."""

    accuracy: float
    auc: float
    rows: int
    asked: int


@dataclass(frozen=True)
class Task:
    """A column to be told from others. rows: the source's, m of them; target: int (m), the class of each, those of -1 being left out; asked:
    bool (m), the rows of the subjects that are asked of; classes: how many; features: the columns to tell it from."""

    rows: pa.Table
    target: np.ndarray
    asked: np.ndarray
    classes: int
    features: tuple[str, ...]

    @classmethod
    def of(cls, rows: pa.Table, target: str, features: Sequence[str], subjects: pa.Array) -> Task:
        """rows: source values; subjects: string (m), whose each row is (null: the row's own). Always the same subjects are asked of.

        Raises AnonymizeError where the column is no category, or has but one value to tell.
        """
        if target not in rows.schema.names:
            raise AnonymizeError(f"no column '{target}' to be told. Name one that leaves as it is, with --target")
        column = rows[target].combine_chunks()
        many = pc.count_distinct(column).as_py()
        if pa.types.is_floating(column.type) or pa.types.is_temporal(column.type) or (pa.types.is_integer(column.type) and many > CLASSES):
            raise AnonymizeError(f"'{target}' is a number or a date; a target is a category (a text, yes or no, a few whole numbers)")
        texts = column.cast(pa.string())
        counts = sorted(pc.value_counts(texts.drop_null()).to_pylist(), key=lambda one: (-one["counts"], one["values"]))
        common = pa.array([one["values"] for one in counts[: CLASSES - (len(counts) > CLASSES)]], pa.string())
        codes = pc.fill_null(pc.index_in(texts, common), len(common)).to_numpy(zero_copy_only=False).astype(np.int64)
        codes[pc.is_null(texts).to_numpy(zero_copy_only=False)] = -1
        asked = np.array([_asked(who if who is not None else f"row {n}") for n, who in enumerate(subjects.to_pylist())], bool)
        known = codes >= 0
        if len(np.unique(codes[known & asked])) < 2 or len(np.unique(codes[known & ~asked])) < 2:
            raise AnonymizeError(f"'{target}' has no two values to tell apart; choose another target, or more records")
        return cls(rows, codes, asked, int(codes.max()) + 1, tuple(name for name in features if name != target))

    @property
    def baseline(self) -> float:
        """The share that is right of who always says the commonest class."""
        known = self.target >= 0
        most = np.bincount(self.target[known & ~self.asked]).argmax()
        return float((self.target[known & self.asked] == most).mean())

    def source(self) -> Learned:
        """Of the source's values."""
        return self._learned(self.rows, np.zeros(len(self.target), bool))

    def release(self, published: pa.Table, suppressed: np.ndarray) -> Learned | None:
        """Of what is published. published: the rows, with some columns as published; suppressed: bool (m), the rows that do not leave: they are
        not learned from, and asked of with `*` in the columns that were made coarser. None where no two classes are left to learn."""
        same = [name for name in self.features if published[name].equals(self.rows[name])]
        coarse = {name: pc.if_else(pa.array(suppressed), "*", published[name].cast(pa.string())) for name in self.features if name not in same}
        return self._learned(pa.table({name: coarse.get(name, published[name]) for name in self.features}), suppressed)

    def _learned(self, rows: pa.Table, gone: np.ndarray) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from threadpoolctl import threadpool_limits

        known = self.target >= 0
        train, test = known & ~self.asked & ~gone, known & self.asked
        classes = np.unique(self.target[train])
        if len(classes) < 2:
            return None
        columns = [_numbers(rows[name].combine_chunks(), train) for name in self.features]
        cells = np.column_stack([column for column, _ in columns])
        model = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.15, categorical_features=[category for _, category in columns], early_stopping=False, random_state=0
        )
        chances = np.zeros((int(test.sum()), self.classes))
        # On a busy machine its threads wait on each other for longer than they work.
        with threadpool_limits(1):
            chances[:, classes] = model.fit(cells[train], self.target[train]).predict_proba(cells[test])
        truth = self.target[test]
        right = float((chances.argmax(axis=1) == truth).mean())
        told = np.unique(truth)
        areas = [roc_auc_score(truth == one, chances[:, one]) for one in told] if len(told) > 1 else [0.5]
        area = np.average(areas, weights=[(truth == one).sum() for one in told]) if len(told) > 1 else 0.5
        return Learned(right, float(area), int(train.sum()), int(test.sum()))


def _asked(who: str) -> bool:
    """Whether a subject is asked of, by a hash of its pseudonym: the same in every run."""
    return int.from_bytes(hashlib.sha256(who.encode()).digest()[:4], "big") % 100 < ASKED


def _numbers(column: pa.Array, train: np.ndarray) -> tuple[np.ndarray, bool]:
    """float64 (m): a number as it is, a date as its day, and of anything else its place among the commonest of the training rows (NaN: missing,
    or not among them); and whether it is such a category."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(float), False
    texts = column.cast(pa.string())
    counted = pc.value_counts(texts.filter(pa.array(train)).drop_null()).to_pylist()
    common = sorted(counted, key=lambda one: (-one["counts"], one["values"]))[:CATEGORIES]
    places = pc.index_in(texts, pa.array([one["values"] for one in common], pa.string()))
    places = pc.if_else(pc.is_null(texts), pa.scalar(None, pa.int32()), places)
    return places.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(float), True
