"""A small network over named features: what each feature says is added up, bent once (ReLU), and told as chances (softmax).

Evidence comes again and again: the places of its features are remembered as bytes, which are joined without a loop and added up for a whole
paragraph at once. The weights stand in `data/context-weights.txt.gz`: a line of JSON, then a feature a line with its weights as bytes in
hexadecimal digits.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

FILE = "context-weights.txt.gz"


@dataclass(frozen=True)
class Network:
    """places: feature -> its row; weights: float32, features x units, and a last row of zeros; bias: units; out: units x outcomes; out_bias:
    outcomes."""

    places: dict[str, int]
    weights: np.ndarray
    bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray

    def seen(self, features: Iterable[str]) -> bytes:
        """The rows of these features: int32. Features that were not learnt say nothing."""
        return array("i", [row for row in map(self.places.get, features) if row is not None]).tobytes()

    def chances(self, words: Sequence[Sequence[bytes]]) -> np.ndarray:
        """For each word, given as rows of its features, the chance of each outcome: float32, words x outcomes."""
        none = array("i", [len(self.places)]).tobytes()  # so that no word is without a row
        joined = [b"".join([none, *rows]) for rows in words]
        ends = np.cumsum([len(one) // 4 for one in joined])
        said = self.weights.take(np.frombuffer(b"".join(joined), np.int32), axis=0)
        hidden = np.maximum(np.add.reduceat(said, np.concatenate([[0], ends[:-1]]), axis=0) + self.bias, 0)
        told = hidden @ self.out + self.out_bias
        weights = np.exp(told - told.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    @classmethod
    def read(cls) -> Network:
        """The network that is shipped."""
        lines = gzip.decompress((files("anonymize.detect") / "data" / FILE).read_bytes()).decode("utf-8").splitlines()
        head = json.loads(lines[0])
        parted = [line.rpartition("\t") for line in lines[1:]]
        packed = np.frombuffer(bytes.fromhex("".join(digits for _, _, digits in parted)), np.int8)
        scale, *others = (np.array(head[name], np.float32) for name in ("scale", "bias", "out", "out_bias"))
        return cls({name: place for place, (name, _, _) in enumerate(parted)}, _ended(packed.reshape(len(parted), -1) * scale), *others)

    @classmethod
    def made(cls, names: Sequence[str], weights: np.ndarray, *others: np.ndarray) -> Network:
        """Of features in the order of their weights, rounded as `write` packs them: a byte a weight."""
        return cls({name: place for place, name in enumerate(names)}, _ended(weights), *others).rounded()

    def rounded(self) -> Network:
        """The network as it will be read."""
        scale, packed = self._packed()
        return Network(self.places, packed * scale, self.bias, self.out, self.out_bias)

    def write(self, path: Path) -> None:
        """The same network writes the same bytes."""
        scale, packed = self._packed()
        numbers = {"scale": scale, "bias": self.bias, "out": self.out, "out_bias": self.out_bias}
        head = json.dumps({name: values.astype(float).tolist() for name, values in numbers.items()})
        body = "\n".join([head, *(f"{name}\t{row.tobytes().hex()}" for name, row in zip(self.places, packed[:-1], strict=True))])
        path.write_bytes(gzip.compress((body + "\n").encode(), mtime=0))

    def _packed(self) -> tuple[np.ndarray, np.ndarray]:
        """The step of each unit, and its weights in steps: int8."""
        scale = (np.abs(self.weights).max(axis=0) / 127).astype(np.float32)
        return scale, np.rint(self.weights / scale).astype(np.int8)


def _ended(weights: np.ndarray) -> np.ndarray:
    return np.vstack([weights, np.zeros_like(weights[:1])])
