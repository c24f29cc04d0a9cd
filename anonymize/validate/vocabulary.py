"""The leak gate's words: its own short lists, and the common words of language and clinic that are names as well (White, Young, Hope)."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from anonymize.errors import StepFailed


@cache
def words(name: str) -> tuple[str, ...]:
    """A list of `vocabulary.yaml`, in order."""
    return tuple(_file()[name])


@cache
def months() -> tuple[tuple[str, ...], ...]:
    """The names of the twelve months."""
    return tuple(tuple(names) for names in _file()["months"])


@cache
def _file() -> dict[str, list[str]]:
    return dict(YAML(typ="safe").load(Path(__file__).with_name("vocabulary.yaml")))


@cache
def common_words() -> tuple[str, ...]:
    """About 195,000 words that are common in clinical text and mostly no names, lower case.

    Source: Philter's `nonames` list (Norgeot et al. 2020, npj Digital Medicine 3:57), from the package philter-lite, BSD-3-Clause. The list
    is read, the package is not imported. Raises StepFailed where it is not installed: the gate does not guess.
    """
    found = importlib.util.find_spec("philter_lite")
    if found is None or found.origin is None:
        raise StepFailed("the leak gate's list of common words is not installed: pip install --no-deps -r requirements-models.txt")
    text = (Path(found.origin).parent / "filters" / "set.toml").read_bytes()
    return tuple(sorted(_of_one_line(text.decode(), "nonames") or _list(tomllib.loads(text.decode()), "nonames")))


def _of_one_line(text: str, name: str) -> set[str]:
    """A list that stands on a line of its own as JSON would have it, as the file's are: read in a fifth of the time. Empty where it does not."""
    line = next((line for line in text.splitlines() if line.startswith(f"{name} = [")), "")
    try:
        return {str(word).lower() for word in json.loads(line.partition("=")[2].replace(",]", "]")) if word}
    except ValueError:
        return set()


def _list(data: dict[str, object], name: str) -> set[str]:
    """The list of that name, wherever in the file it stands."""
    for key, value in data.items():
        if key == name and isinstance(value, list):
            return {str(word).lower() for word in value if word}
        if isinstance(value, dict) and (found := _list(value, name)):
            return found
    return set()
