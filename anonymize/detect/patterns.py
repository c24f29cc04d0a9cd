"""The rules with cues: `data/rules/*.yaml` say what is looked for, and `data/rules/README.md` how a rule is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import regex
from ruamel.yaml import YAML

from anonymize.detect.base import Finding
from anonymize.detect.checksums import CHECKS
from anonymize.detect.sieve import Sieve
from anonymize.detect.word_checks import WORD_CHECKS
from anonymize.policy.model import Kind

#: How far a rule may look back for what speaks for or against it. In characters of the same line.
LOOK_BACK = 40

_PARTICLE = r"(?:van|von|de|der|den|la|le|el|al|bin|da|dos|del|di|du|ten|ter)"
_PART = rf"(?:\p{{Lu}}\.(?=[ \p{{Lu}}])|\(\p{{Lu}}[\p{{L}}'’-]+\)|(?:{_PARTICLE}[ ])*\p{{Lu}}[\p{{L}}\p{{M}}'’-]*)"
_WRITTEN = rf"(?:{_PARTICLE}[ ])*\p{{Lu}}[\p{{Ll}}'’][\p{{L}}\p{{M}}'’-]*"
#: What `<Word>`, `<Person>` and `<Written>` mean in a rule's expression.
_MACROS = {
    "<Word>": r"(?:(?:St|Mt|Ft)\.|\p{Lu}[\p{L}\p{M}\d'’&-]*(?:\.(?=[\p{L}\d]))?[\p{L}\p{M}\d'’&-]*)",
    "<Person>": rf"{_PART}(?:,?[ ]{_PART}){{0,3}}",
    "<Written>": rf"{_WRITTEN}(?:[ ](?:\p{{Lu}}\.[ ])?{_WRITTEN}){{0,2}}",
}


@dataclass(frozen=True)
class Pattern:
    """One rule: its name, what it finds, how sure it is, its expression, and what must or must not stand around it."""

    name: str
    kind: Kind
    score: float
    regex: regex.Pattern[str]
    before: regex.Pattern[str] | None = None
    not_before: regex.Pattern[str] | None = None
    not_after: regex.Pattern[str] | None = None
    check: Callable[[str], bool] | None = None


@cache
def patterns() -> tuple[Pattern, ...]:
    """The rules, compiled once a process, in the order of their files."""
    folder = files("anonymize.detect") / "data" / "rules"
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir(), key=lambda f: f.name) if file.name.endswith(".yaml")]
    return tuple(_compiled(entry) for text in texts for entry in YAML(typ="safe").load(text))


def find_patterns(text: str) -> list[Finding]:
    """What the rules describe. Where a rule has a group `phi` (or `phi2`, `phi3` of another branch), that group is the finding."""
    rules = patterns()
    return [
        Finding(pattern.kind, start, end, pattern.score, "patterns", pattern.name)
        for number, match in _sieve().matches(text)
        for pattern in [rules[number]]
        for start, end in [_span(match)]
        if start < end and _holds(pattern, text, start, end)
    ]


@cache
def _sieve() -> Sieve:
    return Sieve([pattern.regex for pattern in patterns()])


def _compiled(entry: dict[str, Any]) -> Pattern:
    def expression(field: str, suffix: str = "") -> regex.Pattern[str] | None:
        return regex.compile(f"(?:{entry[field]}){suffix}", regex.VERSION0 | regex.IGNORECASE) if field in entry else None

    source = entry["regex"].replace(r"\#", "#")
    for macro, meaning in _MACROS.items():
        source = source.replace(macro, meaning)
    flags = regex.VERSION0 | (regex.IGNORECASE if entry.get("ignore-case") else 0)
    return Pattern(
        entry["name"],
        Kind(entry["kind"]),
        float(entry["score"]),
        regex.compile(source, flags),
        expression("before", r"[^\n]*\Z"),
        expression("not-before", r"[^\n]*\Z"),
        expression("not-after"),
        (CHECKS | WORD_CHECKS)[entry["check"]] if "check" in entry else None,
    )


def _holds(pattern: Pattern, text: str, start: int, end: int) -> bool:
    if pattern.before is not None or pattern.not_before is not None:
        line = max(text.rfind("\n", 0, start) + 1, start - LOOK_BACK)
        back = text[line:start]
        if pattern.before is not None and pattern.before.search(back) is None:
            return False
        if pattern.not_before is not None and pattern.not_before.search(back) is not None:
            return False
    if pattern.not_after is not None and pattern.not_after.match(text, end) is not None:
        return False
    return pattern.check is None or pattern.check(text[start:end])


def _span(match: regex.Match[str]) -> tuple[int, int]:
    for name in ("phi", "phi2", "phi3"):
        if name in match.re.groupindex and match.group(name) is not None:
            return match.span(name)
    return match.span()
