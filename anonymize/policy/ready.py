"""Ready-made policies: which there are, what one says as a whole, and a file of its own for a site that takes one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from anonymize.errors import AnonymizeError
from anonymize.policy.loader import checked, load
from anonymize.policy.model import Policy
from anonymize.policy.nearest import nearest
from anonymize.policy.overlay import ready_file, ready_names, resolve
from anonymize.policy.reasons import head
from anonymize.policy.writing import flow, written

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Ready:
    """One ready-made policy. purpose: the first sentence of its head; columns: (that leave, that it names)."""

    name: str
    purpose: str
    profile: str
    tables: tuple[str, ...]
    columns: tuple[int, int]

    def __str__(self) -> str:
        leave, named = self.columns
        shown = ", ".join(self.tables)
        return f"{self.name}\n  {self.purpose}\n  {self.profile}; {leave:,} of {named:,} columns leave, of {len(self.tables)} tables: {shown}"


def ready_made() -> list[Ready]:
    """All ready-made policies, by name."""
    return [_ready(name, _policy(name)) for name in ready_names()]


def shown(name: str) -> str:
    """A policy as one text, with all that it extends and each column's reason. name: a ready-made one's, or a file."""
    return load(_file(name)).whole


class Absent(Protocol):
    """What a site's sources do not have of a policy."""

    def overlay(self) -> Iterator[str]:
        """The lines of a policy on top that takes it away."""

    def taken_from(self, tables: dict[str, Any]) -> dict[str, Any]:
        """A policy's tables without it."""


def copied(name: str, to: Path, *, whole: bool = False, fit: Callable[[Policy], Absent] | None = None) -> str:
    """Write a site's own policy: one that extends the ready-made one, or with `whole` a full copy. Returns what is to be done next.

    fit: finds what the sources do not have; it is taken away by name. Raises AnonymizeError where the file is there already, or cannot be
    written.
    """
    policy = _policy(name)
    text = policy.whole if whole else _on_top(name, policy, to)
    fitted = ""
    if fit is not None:
        absent = fit(checked_text(to, text))
        fitted = f", fitted to its sources: {absent}"
        if whole:
            document = resolve(to, text)
            document.values["tables"] = absent.taken_from(document.values["tables"])
            text = written(document.values, document.reasons, head(text))
        else:
            text += "".join(f"{line}\n" for line in absent.overlay())
        checked_text(to, text)
    write_new(to, text)
    wanted = sorted(set(_VARIABLE.findall(policy.whole)))
    asks = f"Set {', '.join(wanted)} in the environment, or write your own sources and store. " if wanted else ""
    return f"wrote {to}{fitted}. {asks}Then: anonymize check {to}"


def write_new(to: Path, text: str) -> None:
    """Write a file that is not there yet; none is ever overwritten."""
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise AnonymizeError(f"{to} exists already, and nothing is overwritten. Name another file") from None
    except OSError as error:
        raise AnonymizeError(f"{to} cannot be written: {error.strerror or 'input/output error'}") from None


def checked_text(to: Path, text: str) -> Policy:
    """The policy that a text would be in a file. Raises PolicyError like loading it."""
    return checked(resolve(to, text))


def _on_top(name: str, policy: Policy, to: Path) -> str:
    """The smallest file that takes a ready-made policy for a site's own."""
    sources = {source: settings.model_dump(mode="json", by_alias=True, exclude_unset=True) for source, settings in policy.sources.items()}
    lines = [
        f"# On top of the ready-made policy '{name}': {_purpose(policy)}",
        "# What stands here wins over what it says; docs/policy.md tells how. The whole as it is now:",
        f"#     anonymize policies show {to}",
        f"extends: {name}",
        f"dataset: {slug(to.stem)}",
        "# As they stand in it; to change one, take the sign away and write your own:",
        f"# sources: {flow(sources)}",
        f"# privacy: {flow({'k': policy.privacy.k, 'suppression': policy.privacy.suppression})}",
        "# To close a column or to leave out a table:",
        f"# tables: {flow({next(iter(policy.tables)): {'columns': {'COLUMN': 'drop'}}, 'TABLE': None})}",
        f"# release: {flow({'store': policy.release.store, 'title': policy.release.title})}",
    ]
    return "\n".join(lines) + "\n"


def _policy(name: str) -> Policy:
    file = ready_file(name)
    if file is None:
        raise AnonymizeError(f"there is no ready-made policy '{name}'.{nearest(name, ready_names())}")
    return load(file)


def _file(name: str) -> Path:
    file = ready_file(name)
    if file is None and not Path(name).is_file():
        raise AnonymizeError(f"there is no ready-made policy and no file '{name}'.{nearest(name, ready_names())}")
    return file or Path(name)


def _ready(name: str, policy: Policy) -> Ready:
    rules = [rule for table in policy.tables.values() for rule in table.columns.values()]
    leave = sum(rule.leaves for rule in rules)
    return Ready(name, _purpose(policy), policy.profile, tuple(policy.tables), (leave, len(rules)))


def _purpose(policy: Policy) -> str:
    """The first sentence of a policy's head, else its description."""
    paragraph = " ".join(head(policy.whole).split("\n\n")[0].split())
    sentence = re.match(r".*?[.!?](?=\s|$)(?<!\be\.g\.)", paragraph)
    return sentence[0] if sentence else paragraph or policy.description


def slug(stem: str) -> str:
    """A file's name as a dataset may be called."""
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:63] or "dataset"
