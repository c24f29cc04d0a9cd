"""README.md of a release, for the researcher who opens it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from anonymize.policy.model import Method, Role
from anonymize.publish.manifest import ColumnFact, ReleaseFacts, TableFact
from anonymize.publish.parquet import SHIFTED

#: How a column was made, in words; `generalize` says its hierarchy and level as well.
MADE: dict[str, str] = {
    Method.PSEUDONYM: "replaced by a keyed pseudonym: equal values have equal pseudonyms, in all tables and versions",
    Method.REDACT: "replaced by a tag",
    Method.SURROGATE: "replaced by a made-up value of the same kind",
    Method.GENERALIZE: "made less precise",
    Method.SHIFT: "dates were shifted: each person's by a constant of their own, so intervals within a person are exact",
    Method.YEAR: "cut to the year",
    Method.SCRUB: "free text with personal details replaced",
    Method.ROUND: "rounded",
    Method.CODE: "values at the ends put together",
    Method.KEEP: "as recorded",
}

#: What a researcher must know of a method before an analysis relies on it.
LIMITS: dict[str, str] = {
    Method.SHIFT: "Dates were shifted. Calendar time, seasons and weekdays cannot be studied, nor dates of different people compared.",
    Method.SCRUB: "Personal details in free text were found by machine. Some words were replaced that were none, and some may remain.",
    Method.GENERALIZE: "Generalized values are text, such as ranges. Rare combinations were held back, rare groups count too little.",
    Method.SURROGATE: "Made-up values stand in place of names and places. They mean nothing.",
    Method.PSEUDONYM: "Pseudonyms link the tables of this dataset. They tell nothing of the number they replace, not even its order.",
    Method.CODE: "Values at the ends of some columns were put together (see `dictionary.csv`), so extremes and means are biased.",
    Method.YEAR: "Dates that were cut to the year cannot be put in order within a year.",
}
SHIFTED_TEXTS = "Dates within free texts were shifted as well, by the same constant as the person's other dates."


def readme(facts: ReleaseFacts, *, version: str, content: str, before: str = "", documents: tuple[str, ...] = ()) -> bytes:
    """The README as Markdown, the same bytes for the same facts.

    content: the SHA-256 of the data; before: the version that CHANGES.md holds this one against; documents: files that stand beside it.
    """
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: there is nothing to escape but the table's bars.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    environment.filters["cell"] = cell
    template = environment.from_string((Path(__file__).parent / "README.md.j2").read_text())
    shifted = [column.shifted for table in facts.tables for column in table.columns if column.shifted]
    text = template.render(
        facts=facts,
        version=version,
        content=content,
        before=before,
        documents=documents,
        title=title(facts),
        started=f"{facts.started.astimezone(UTC):%Y-%m-%d}",
        first=facts.tables[0].name,
        made=made,
        limits=limits(facts),
        transformations=transformations(facts),
        shifted=SHIFTED.format(days=shifted[0]) if shifted else "",
        encrypted=[f"{table.name}.{column.name}" for table in facts.tables for column in table.columns if column.encrypted],
        citation=citation(facts, version, content),
    )
    return text.encode()


def title(facts: ReleaseFacts) -> str:
    """The dataset's title, or its name where the policy gives none."""
    return facts.title or facts.dataset


def citation(facts: ReleaseFacts, version: str, content: str) -> str:
    """How to cite a version, in one line."""
    if facts.citation:
        return f"{' '.join(facts.citation.split()).rstrip('.')}. Version {version}. Content SHA-256 {content}."
    by = f" {facts.contact}." if facts.contact else ""
    return f"{title(facts)} ({facts.dataset}), version {version} [data set].{by} Content SHA-256 {content}."


def cell(text: str) -> str:
    """A text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def made(column: ColumnFact) -> str:
    """How a column was made, in words."""
    words = MADE[column.method]
    if column.method == Method.GENERALIZE:
        words += f" ({column.hierarchy}{f', to: {column.level}' if column.level else ''})"
    elif column.precision and column.method not in (Method.KEEP, Method.YEAR, Method.SHIFT):
        words += f" ({column.precision})"
    if column.method == Method.SCRUB and column.shifted:
        words += "; dates within it were shifted"
    return words


def transformations(facts: ReleaseFacts) -> list[str]:
    """What was done to the columns, a line a way: `replaced by a tag: patient.phone, note.author`."""
    by_way: dict[str, list[str]] = {}
    for table in facts.tables:
        for column in table.columns:
            by_way.setdefault(made(column), []).append(f"{table.name}.{column.name}")
    return [f"{way}: {', '.join(columns)}" for way, columns in by_way.items()]


def limits(facts: ReleaseFacts) -> list[str]:
    """What to know before relying on the data: of each method that was used, and of what was held back."""
    used = {column.method for table in facts.tables for column in table.columns}
    known = [words for method, words in LIMITS.items() if method in used]
    if any(_shifted_text(column) for table in facts.tables for column in table.columns):
        known.append(SHIFTED_TEXTS)
    if any(_quasi(table) for table in facts.tables):
        known.append("People in combinations that too few shared are missing from all tables, and not at random: they are the rare ones.")
    if facts.privacy.suppressed:
        known.append(f"Rows of combinations that fewer than {facts.privacy.k} people shared were held back: {facts.privacy.suppressed:,}.")
    quarantined = facts.held_back.get("quarantined")
    if isinstance(quarantined, int) and quarantined:
        known.append(f"{quarantined:,} {'record' if quarantined == 1 else 'records'} could not be read at the source and left out.")
    given_up = facts.held_back.get("not de-identified")
    if isinstance(given_up, int) and given_up:
        known.append(f"{given_up:,} {'record' if given_up == 1 else 'records'} could not be de-identified and left out.")
    files = facts.held_back.get("quarantined files")
    if isinstance(files, int) and files:
        known.append(
            f"{files:,} whole {'file' if files == 1 else 'files'} could not be read at the source; how many records are missing is not known."
        )
    return known


def _shifted_text(column: ColumnFact) -> bool:
    return column.method == Method.SCRUB and column.shifted is not None


def _quasi(table: TableFact) -> bool:
    return any(column.role == Role.QUASI for column in table.columns)
