"""Learns the adapter of the model that reads: `python -m benchmarks.text.adapt`, forty minutes on two cores. Needs PyTorch: `pip install torch`.

Rampart's weights stay as they are; learnt are a product of two narrow matrices beside each of its own (LoRA; Hu et al., 2021), its biases, how a
word is typed, and the outcomes: no PHI, or one of `context.KINDS`, for each part of a word. From the sets of `learn.py`, read as detection reads
them, in paragraphs and in windows across them, of several lengths. So that nothing is learnt by heart, some parts of words are hidden, names,
places and numbers change places with those of other documents or are of other letters, and some windows are typed in one case.

What a writer would see who has seen nothing: `--without written-6 --to FILE`, then
`python -m benchmarks.text.learn --score written-6 --adapter FILE`.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from anonymize.detect import adapted, rampart
from anonymize.detect.adapted import LAYERS, MATRICES, OTHERS, SCALE
from anonymize.detect.context import KINDS
from anonymize.detect.paragraphs import paragraphs
from anonymize.detect.reading import read
from anonymize.policy.model import Kind
from benchmarks.text.learn import LEARNT, kind_of, sources, typed
from benchmarks.text.score import IGNORED

ADAPTER = Path(adapted.__file__).with_name("data") / adapted.FILE
#: The narrow side of a product; how often everything is looked at, in parts of words at once.
RANK, ROUNDS, AT_ONCE = 32, 16, 2560
RATE, DECAY, SMOOTHING, PHI_WEIGHS, SEED = 6e-4, 0.01, 0.02, 1.5, 0
#: How many parts of words a window has at most, with the model's two signs; one of these each time. Windows of about a size are learnt together.
LENGTHS, SIZES = (48, 96, 160, 160), (16, 32, 64, 96, 128, 160)
#: How much of a set is looked at in a round: documents by hand wholly, made ones and others less; copies typed in one case less still.
SHARE = {"sentences": 0.7, "clin_dev": 0.4, "dev": 0.3, "asked": 0.4}
TYPED, ACROSS, HIDDEN, ONE_CASE = 0.1, 0.35, 0.04, 0.06
#: How many mentions are another document's, and how many names are of other letters; a mention of more parts than this stands nowhere else.
CHANGED, RENAMED, LONGEST = 0.35, 0.15, 14
#: The labels of the sets, and their numbers; 0 is no PHI.
_LABELS = {"": 0}


class Window(NamedTuple):
    """Parts of words: their numbers, how each is typed, and the number of its label. int64, length n each."""

    words: np.ndarray
    types: np.ndarray
    labels: np.ndarray

    def mentions(self) -> Iterator[tuple[int, slice]]:
        """The runs of parts of one label, and of none."""
        at = 0
        for label, group in groupby(self.labels.tolist()):
            end = at + len(list(group))
            yield label, slice(at, end)
            at = end


class Learner:
    """The model while its adapter is learnt."""

    def __init__(self) -> None:
        lots = torch.Generator().manual_seed(SEED)
        held = {name: torch.from_numpy(np.array(values, np.float32)) for name, values in adapted.package().items()}
        self.words, self.positions = held["words"], held["positions"]
        self.matrices = {name: held[name].to(torch.bfloat16) for name in (f"{layer}.{one}" for layer in range(LAYERS) for one in MATRICES)}
        hidden = self.words.shape[1]
        learnt = {name: held[name] for name in ("norm", "shift", *(f"{layer}.{one}" for layer in range(LAYERS) for one in OTHERS))}
        learnt["types"] = held["types"][:1].repeat(8, 1) + 0.01 * torch.randn(8, hidden, generator=lots)
        for name, matrix in self.matrices.items():
            learnt[f"{name}.down"] = torch.randn(matrix.shape[0], RANK, generator=lots) / matrix.shape[0] ** 0.5
            learnt[f"{name}.up"] = torch.zeros(RANK, matrix.shape[1])
        learnt["out"] = 0.02 * torch.randn(hidden, 1 + len(KINDS), generator=lots)
        learnt["out.bias"] = torch.zeros(1 + len(KINDS))
        self.learnt = {name: values.clone().requires_grad_() for name, values in learnt.items()}

    def outcomes(self, words: Tensor, types: Tensor, there: Tensor) -> Tensor:
        """Unnormalized outcomes: windows x parts x outcomes. there: 1 where a part is, 0 where a window has ended."""
        rows, parts = words.shape
        unseen = ((1 - there)[:, None, None, :] * -1e9).to(torch.bfloat16)
        here = self._normed(self.words[words] + self.positions[None, :parts] + self.learnt["types"][types], "norm", "shift")
        here = functional.dropout(here, 0.1)
        for layer in range(LAYERS):
            asked = (self._linear(here, f"{layer}.{name}").view(rows, parts, adapted.HEADS, -1).transpose(1, 2) for name in MATRICES[:3])
            query, key, value = asked
            seen = torch.softmax(query @ key.transpose(2, 3) * query.shape[3] ** -0.5 + unseen, 3) @ value
            attended = self._linear(seen.transpose(1, 2).reshape(rows, parts, -1), f"{layer}.attended")
            here = self._normed(here + attended, f"{layer}.first.norm", f"{layer}.first.shift")
            wide = functional.gelu(self._linear(here, f"{layer}.wide"), approximate="tanh")
            here = self._normed(here + self._linear(wide, f"{layer}.narrow"), f"{layer}.second.norm", f"{layer}.second.shift")
        return here @ self.learnt["out"] + self.learnt["out.bias"]

    def write(self, path: Path) -> None:
        """The adapter, two bytes a weight."""
        np.savez_compressed(path, **{name: values.detach().numpy().astype(np.float16) for name, values in sorted(self.learnt.items())})

    def _linear(self, given: Tensor, name: str) -> Tensor:
        down, up, bias = (self.learnt[f"{name}.{part}"].to(torch.bfloat16) for part in ("down", "up", "bias"))
        matrix = torch.addmm(self.matrices[name], down, up, alpha=SCALE)
        return torch.addmm(bias, given.to(torch.bfloat16).flatten(0, 1), matrix).view(*given.shape[:2], -1)

    def _normed(self, given: Tensor, norm: str, shift: str) -> Tensor:
        return functional.layer_norm(given, given.shape[-1:], self.learnt[norm], self.learnt[shift], 1e-12)


def encoded(text: str, marks: list[str]) -> Window:
    """A text in parts of words; marks: each character's label, empty where it is no PHI."""
    tokens = rampart.tokenizer().encode(text, add_special_tokens=False)
    numbers = []
    for start, end in tokens.offsets:
        labels = [label for label in marks[start:end] if label and label not in IGNORED]
        most = max(sorted(set(labels)), key=labels.count) if 2 * len(labels) >= end - start > 0 else ""
        numbers.append(_LABELS.setdefault(most, len(_LABELS)))
    return Window(np.array(tokens.ids, np.int64), np.array(rampart.typed(text, tokens.offsets), np.int64), np.array(numbers, np.int64))


def documents(without: Iterable[str], notes: int, seed: int) -> Iterator[tuple[list[Window], Window, float]]:
    """Of each document its paragraphs, the whole, and how often it is looked at in a round."""
    rampart.tokenizer().no_truncation()
    for name in LEARNT:
        if name in without:
            continue
        originals = sources(name, notes, seed)
        copies = typed(originals) if name.startswith("written") else ()
        for share, document in [(SHARE.get(name, 1.0), one) for one in originals] + [(TYPED, one) for each in copies for one in each]:
            reading = read(document["text"])
            marks = [""] * (len(document["text"]) + 1)
            for span in document["spans"]:
                marks[span["start"] : span["end"]] = [span["label"]] * (span["end"] - span["start"])
            if reading.back is not None:
                marks = [marks[back] for back in reading.back]
            pieces = [encoded(piece, marks[start : start + len(piece)]) for start, piece in paragraphs(reading.cased)]
            yield pieces, encoded(reading.cased, marks), share


def round_of(given: list[tuple[list[Window], Window, float]], lots: np.random.Generator) -> Iterator[list[Window]]:
    """All that is looked at in a round, in batches, each time cut and mixed anew."""
    windows = [
        window
        for pieces, whole, share in given
        if lots.random() < share
        for piece in ([whole] if lots.random() < ACROSS else pieces)
        for window in _cut(piece, lots)
    ]
    order = sorted(range(len(windows)), key=lambda place: (_size(windows[place]), lots.random()))
    batches = []
    for size, group in groupby(order, key=lambda place: _size(windows[place])):
        places = list(group)
        many = AT_ONCE // size
        batches += [[windows[place] for place in places[first : first + many]] for first in range(0, len(places), many)]
    return (batches[place] for place in lots.permutation(len(batches)))


def _cut(piece: Window, lots: np.random.Generator) -> Iterator[Window]:
    longest = int(lots.choice(LENGTHS)) - 2
    start = -int(lots.integers(0, longest // 2)) if len(piece.words) > longest else 0
    for first in range(start, len(piece.words), longest):
        cut = slice(max(first, 0), first + longest)
        if first + longest > 0:
            yield Window(piece.words[cut], piece.types[cut], piece.labels[cut])


def _size(window: Window) -> int:
    return next(size for size in SIZES if size >= len(window.words) + 2)


class Varied:
    """Windows as they could also have been. given: the documents whose mentions may stand in each other's places."""

    def __init__(self, given: list[tuple[list[Window], Window, float]], lots: np.random.Generator) -> None:
        vocabulary = rampart.tokenizer().get_vocab()
        self.lots, self.unknown = lots, vocabulary["[UNK]"]
        self.begin, self.end = vocabulary["[CLS]"], vocabulary["[SEP]"]
        self.letters = np.array(sorted(number for word, number in vocabulary.items() if re.fullmatch(r"(##)?[a-z]{2,}", word)))
        self.outcomes = np.array([1 + kind_of(label) if label else 0 for label in _LABELS])
        self.named = {number for label, number in _LABELS.items() if label and KINDS[kind_of(label)] not in (Kind.DATE, Kind.ID)}
        self.mentions: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for _, whole, _ in given:
            for label, place in whole.mentions():
                if label and place.stop - place.start <= LONGEST:
                    self.mentions[label].append((whole.words[place], whole.types[place]))

    def __call__(self, window: Window) -> Window:
        """The window with other mentions, with some names of other letters, some parts hidden, and now and then typed in one case."""
        window = self._changed(window)
        words, types = window.words.copy(), window.types.copy()
        spelled, lot = np.isin(words, self.letters), self.lots.random()
        if lot < 2 * ONE_CASE:
            types = types // 4 * 4 + (0 if lot < ONE_CASE else 2 * spelled)
        for label, place in window.mentions():
            if label in self.named and self.lots.random() < RENAMED:
                names = place.start + np.flatnonzero(spelled[place])
                words[names] = self.lots.choice(self.letters, len(names))
        words[self.lots.random(len(words)) < HIDDEN] = self.unknown
        return Window(words, types, window.labels)

    def _changed(self, window: Window) -> Window:
        """Mentions give way to others of their label, typed as they were where that was in one case."""
        pieces = []
        for label, place in window.mentions():
            words, types = window.words[place], window.types[place]
            if label and self.mentions[label] and self.lots.random() < CHANGED:
                others = self.mentions[label]
                theirs, typed_so = others[int(self.lots.integers(len(others)))]
                cases, spelled = types[np.isin(words, self.letters)] % 4, np.isin(theirs, self.letters)
                one = len(cases) > 0 and (cases == cases[0]).all() and (cases[0] == 0 or (cases[0] == 2 and len(cases) > 1))
                typed_so = np.where(spelled, cases[0], typed_so % 4) if one else typed_so % 4
                typed_so[0] += types[0] // 4 * 4
                words, types = theirs, typed_so
            pieces.append(Window(words, types, np.full(len(words), label, np.int64)))
        return Window(*map(np.concatenate, zip(*pieces, strict=True))) if pieces else window

    def together(self, windows: list[Window]) -> tuple[Tensor, ...]:
        """Windows of a batch, varied: words, types, outcomes and whether a part is there (windows x parts); outcomes of -100 count nothing."""
        windows = [self(window) for window in windows]
        longest = max(len(window.words) for window in windows) + 2
        words, types, outcomes = (np.full((len(windows), longest), fill, np.int64) for fill in (0, 0, -100))
        there = np.zeros((len(windows), longest), np.float32)
        for row, window in enumerate(windows):
            end = len(window.words) + 1
            words[row, 0], words[row, 1:end], words[row, end] = self.begin, window.words, self.end
            types[row, 1:end], outcomes[row, 1:end], there[row, : end + 1] = window.types, self.outcomes[window.labels], 1
        return tuple(map(torch.from_numpy, (words, types, outcomes, there)))


def learn(given: list[tuple[list[Window], Window, float]]) -> Learner:
    """AdamW with a warm start and a cosine's end; what is PHI counts more."""
    torch.manual_seed(SEED)
    lots, learner = np.random.default_rng(SEED), Learner()
    varied = Varied(given, lots)
    steps = ROUNDS * sum(1 for _ in round_of(given, lots))
    heads = {"types", "out", "out.bias"}
    rates = {name: 2 * RATE if name in heads else RATE if name.endswith((".down", ".up")) else RATE / 3 for name in learner.learnt}
    groups: list[dict[str, Any]] = [{"params": [values], "lr": rates[name]} for name, values in learner.learnt.items()]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / (0.08 * steps)) * max(0.03, (1 + np.cos(np.pi * step / steps)) / 2)
    )
    weights = torch.tensor([1.0, *[PHI_WEIGHS] * len(KINDS)])
    mean, step = 0.0, 0
    while step < steps:
        for windows in round_of(given, lots):
            words, types, outcomes, there = varied.together(windows)
            told = learner.outcomes(words, types, there)
            loss = functional.cross_entropy(told.flatten(0, 1), outcomes.flatten(), weights, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(learner.learnt.values()), 1.0)
            optimizer.step()
            pace.step()
            step += 1
            mean += (loss.item() - mean) / min(step, 50)
            if step % 50 == 0:
                print(f"{step} of {steps}: {mean:.3f}", flush=True)
            if step == steps:
                break
    return learner


def main() -> None:
    """Learns and writes; `--without SET` leaves a set out, `--to FILE` writes elsewhere than into the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--without", action="append", default=[], metavar="SET")
    parser.add_argument("--to", type=Path, default=ADAPTER, metavar="FILE")
    parser.add_argument("--notes", type=int, default=250)
    parser.add_argument("--seed", type=int, default=777)
    chosen = parser.parse_args()
    given = list(documents(chosen.without, chosen.notes, chosen.seed))
    learn(given).write(chosen.to)
    print(f"{len(given)} documents: {chosen.to}")


if __name__ == "__main__":
    main()
