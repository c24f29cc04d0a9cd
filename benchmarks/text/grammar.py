"""A small language of forms: templates with slots, held in banks, of which a third is kept for the hold-out alone.

A bank is a section of a text file under `data/`: a line `[name]`, then a form a line (`;;` begins a comment; a bank whose name begins
with `note_` holds blocks, parted by a line `---`). A form that begins with `5* ` is drawn five times as often as one without. In a form

- `{bank}` is a form of another bank, `{a|b|c}` one of some words, `{#4}` digits, `{@2}` capital letters, `{n 60 100}` a number;
- `{%B %-d}` is the current day in strftime's codes, with `%o` for 1st, 2nd, and `%E` for English words (`fourth`);
- `{role:bank}` sets whom, when or where the form speaks of, then is a form of the bank (`{pt:name_full}`, `{past:date_full}`);
- `\\n` and `\\t` are a line's end and a tab; `<LABEL|…>` marks what it holds as PHI of that label; labels inside a label are swallowed by it;
- `{para bank 3-6}` is so many lines of the bank as prose, `{list bank 3-6 -}` each on its line after the bullet; lines that hold PHI
  (`phi`) are mixed in at the note's rate;
- `{word}` is else a value of the note's people, places and numbers (`maker.py`).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
SPLITS = ("dev", "holdout", "natural")
"""`dev` never sees what is kept back; `holdout` draws every second form from it, so rare forms weigh more than hospitals write them; `natural`
draws all forms by their weight. The names of the last two are not those of the first."""
TOKEN = re.compile(r"<(?P<label>[A-Z][A-Z0-9_]*)\|(?P<inner>[^<>]*)>|\{(?P<slot>[^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a note. label: None where it is no PHI; form: the bank that its label stands in."""

    text: str
    label: str | None = None
    form: str = ""


@lru_cache(maxsize=1)
def banks() -> dict[str, tuple[str, ...]]:
    """Every bank of every file under `data/`. Raises ValueError where a bank stands twice or empty."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(DATA.glob("*.txt")):
        for name, body in re.findall(r"(?ms)^\[([a-z0-9_]+)\]\n(.*?)(?=^\[[a-z0-9_]+\]\n|\Z)", file.read_text(encoding="utf-8")):
            lines = [line for line in body.split("\n") if not line.startswith(";;")]
            forms = _blocks(lines) if name.startswith("note_") else [line for line in lines if line.strip()]
            if name in found or not forms or len(set(forms)) < len(forms):
                raise ValueError(f"{file.name}: bank [{name}] stands twice, empty or holds a form twice")
            found[name] = tuple(form.replace("\\n", "\n").replace("\\t", "\t") for form in forms)
    return found


def weighed(form: str) -> tuple[int, str]:
    """A form's weight and the form without it."""
    match = re.match(r"(\d+)\* ", form)
    return (int(match[1]), form[match.end() :]) if match else (1, form)


def _blocks(lines: list[str]) -> list[str]:
    return [block.strip("\n") for block in "\n".join(lines).split("\n---\n") if block.strip()]


def kept_back(forms: tuple[str, ...]) -> frozenset[str]:
    """The third of some forms (by their hash, none of fewer than three) that only the hold-out uses."""
    ordered = sorted(forms, key=lambda form: hashlib.sha256(weighed(form)[1].encode()).digest())
    return frozenset(ordered[: len(forms) // 3])


@cache
def _parted(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    forms = banks()[name]
    kept = kept_back(forms)
    return tuple(f for f in forms if f not in kept), tuple(f for f in forms if f in kept)


def pick(name: str, split: str, rng: random.Random) -> str:
    """A form of a bank, drawn by weight from what the split sees."""
    shared, kept = _parted(name)
    seen = {"dev": shared, "natural": shared + kept, "holdout": kept if kept and rng.random() < 0.5 else shared}[split]
    drawn = [weighed(form) for form in seen]
    return rng.choices([form for _, form in drawn], [weight for weight, _ in drawn])[0]


def pick_many(name: str, split: str, n: int, rng: random.Random) -> list[str]:
    """n different forms of a bank, or all that there are; half of the hold-out's are kept back."""
    shared, kept = _parted(name)
    if split == "natural":
        shared, kept = shared + kept, ()
    drawn = rng.sample(kept, min((n + rng.randint(0, 1)) // 2, len(kept))) if split == "holdout" else []
    drawn += rng.sample(shared, min(n - len(drawn), len(shared)))
    rng.shuffle(drawn)
    return [weighed(form)[1] for form in drawn]


def tokens(template: str) -> Iterator[tuple[str, str, str]]:
    """The parts of a template: (`text`, text, ``), (`slot`, name, ``) or (`label`, label, inner template)."""
    position = 0
    for match in TOKEN.finditer(template):
        if match.start() > position:
            yield "text", template[position : match.start()], ""
        if match["label"]:
            yield "label", match["label"], match["inner"]
        else:
            yield "slot", match["slot"], ""
        position = match.end()
    if position < len(template):
        yield "text", template[position:], ""
