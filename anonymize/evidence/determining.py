"""What an expert's determination under 45 CFR 164.514(b)(1) rests on, in words: methods, results, residual risk, limits.

The rule asks that a person with knowledge of generally accepted statistical and scientific principles determines that the risk is very small
that an anticipated recipient could identify somebody, alone or with other reasonably available information, and documents methods and
results. This documents methods and results; the determination is the expert's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from anonymize.evidence.model import Evidence
from anonymize.evidence.wording import number, percent
from anonymize.policy.model import Method, Role
from anonymize.publish.readme import LIMITS, MADE

WHAT_THIS_IS = (
    "This report documents the methods and the results of the analysis of one release, as 45 CFR 164.514(b)(1)(ii) asks. It was written by the "
    "program that made the release, from what was counted in the files as they are published. It is evidence for a determination; the "
    "determination that the risk is very small is that of the person who signs it."
)
NOT_SAID = "not stated in the policy"


def unsigned(e: Evidence) -> str:
    """Where nobody has signed."""
    if e.policy.get("review.required") == "no":
        return "The policy asks for no review of this dataset's releases, so nobody decided on this one."
    return "Nobody has decided on this release yet."


def about(e: Evidence) -> list[tuple[str, str]]:
    """Data, recipient and purpose."""
    tables = ", ".join(f"{t.name} ({number(t.rows)} rows)" for t in e.tables)
    return [
        ("Data", f"{e.description or e.title or e.dataset} {number(e.rows)} rows about {number(e.subjects)} people: {tables}."),
        ("Recipient", e.recipient or NOT_SAID),
        ("Purpose", e.purpose or NOT_SAID),
        ("Licence or agreement", e.licence or NOT_SAID),
        ("Contact", e.contact or NOT_SAID),
    ]


def methods(e: Evidence) -> list[tuple[str, str]]:
    """What was done, and to which columns: in words -> `table.column, …`."""
    found: dict[str, list[str]] = {}
    for table in e.tables:
        for column in table.columns:
            found.setdefault(column.method, []).append(f"{table.name}.{column.name}")
    return [(MADE[method][:1].upper() + MADE[method][1:], ", ".join(columns)) for method, columns in found.items()]


def principles(e: Evidence) -> list[str]:
    """The principles that were applied, with their sources."""
    quasi = [f"{t.name}.{c.name}" for t in e.tables for c in t.columns if c.role == Role.QUASI]
    said = []
    if quasi:
        said.append(
            f"k-anonymity (Sweeney, 2002), counted in people and not in rows: each combination of {', '.join(quasi)} is shared by at least "
            f"{e.privacy.k} people. Values were made coarser along their hierarchies as little as that takes; people in combinations that stay "
            f"too rare were taken out of all tables, up to {percent(e.privacy.suppression)}."
        )
    if e.privacy.models:
        said.append(f"Beside it: {'; '.join(e.privacy.models)}.")
    said.append(
        "Risk to an attacker who knows that the person is in the release (prosecutor), who does not (journalist), and who matches everybody "
        "(marketer), by the sizes of the classes (El Emam, 2013). The people of the release were taken for the whole population, which can "
        "only overstate the journalist's and the marketer's chance."
    )
    said.append("Pseudonyms and shifts of dates are derived by HMAC-SHA256 from a secret key; no table of them exists.")
    if e.text.columns:
        said.append(
            "Personal details in free text were found by rules, lists, a model, and the person's own record, and replaced; what is left is "
            "estimated from notes drawn at random and read by a person, with Clopper and Pearson's exact interval."
        )
    said.append("Each result was counted anew, from the files as published, by code that shares nothing with the code that made them.")
    return said


def results(e: Evidence) -> list[str]:
    """What was found, in sentences."""
    said = [f"Gate {gate.gate}: {'passed' if gate.passed else 'FAILED'}; {gate.words}." for gate in e.gates]
    for one in e.risk:
        said.append(
            f"{one.table}: {number(one.subjects)} people in {number(one.classes)} classes. Chance of being found: at most {percent(one.highest)}"
            f" and {percent(one.average)} on the average for the prosecutor, at most {percent(one.journalist)} for the journalist, "
            f"{percent(one.marketer)} for the marketer; threshold {percent(one.threshold)}. Alone in their class: {percent(one.unique)}."
        )
    if e.text.audit:
        a = e.text.audit
        said.append(
            f"Free text: of {number(a.done)} notes that were read, {number(a.missed)} identifiers were left. Recall {percent(a.recall)} "
            f"(95\u00a0% interval {percent(a.recall_low)} to {percent(a.recall_high)})."
        )
    return said


def residual(e: Evidence) -> list[str]:
    """What may still happen, as far as the figures tell."""
    return [*_of_classes(e), *_of_text(e), *_always(e)]


def _of_classes(e: Evidence) -> Iterator[str]:
    for one in e.risk:
        if one.highest:
            yield (
                f"Who knows that a person is in {one.table}, and knows all quasi-identifiers, finds that person's row with a chance of at most "
                f"{percent(one.highest)}."
            )
        for column, share in one.told.items():
            if share:
                about = f"{one.table}.{column} is told of {percent(share)} of the people without finding them"
                yield f"{about}, since all of their class share one value."


def _of_text(e: Evidence) -> Iterator[str]:
    if not e.text.columns:
        return
    if e.text.audit is None:
        columns = ", ".join(e.text.columns)
        yield f"Free text ({columns}) may hold personal details that were missed. How many is not known: no sample was labelled."
    else:
        a = e.text.audit
        yield (
            f"Of the personal details in free text up to {percent(1 - a.recall_low)} may be left (95\u00a0% interval); up to "
            f"{percent(a.notes_high)} of the notes may hold one."
        )
    yield "Free text can tell of a person by what happened to them, in words that are no identifier; no detector finds that."


def _always(e: Evidence) -> Iterator[str]:
    used = {column.method for table in e.tables for column in table.columns}
    if Method.SHIFT in used:
        yield "Intervals between a person's dates are exact. Who knows several of them may recognize the pattern."
    if Method.PSEUDONYM in used:
        yield "Pseudonyms are the same in all releases of one project, so releases can be joined by them; the differences gate looks at that."
    yield "The figures are about the quasi-identifiers that the policy names. Who knows other columns of a person's record may find it by these."
    yield "Whoever holds the key can make the pseudonyms of known persons anew. The key must stay where the recipient is not."


def limits(e: Evidence) -> list[str]:
    """What users of the data must know."""
    used = {column.method for table in e.tables for column in table.columns}
    return [words for method, words in LIMITS.items() if method in used]
