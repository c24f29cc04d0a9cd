"""What people wrote leaves with the data: the policy's titles and descriptions, a steward's reason. They are searched like texts about nobody.

All else that stands in a release's documents is of our own templates, a count, a hash, or a value that k subjects and more share in a column
that the leak gate has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from anonymize.policy.model import Policy
from anonymize.validate.leak import Columns, search
from anonymize.validate.needles import Needles

_WORDS = "words"


def of_policy(policy: Policy) -> dict[str, str]:
    """Every word of a policy that stands in what is published, by its place in the policy."""
    return {place: text for place, text in _of_policy(policy) if text}


def _of_policy(policy: Policy) -> Iterator[tuple[str, str]]:
    yield "description", policy.description
    for name in ("title", "licence", "contact", "citation", "recipient", "purpose"):
        yield f"release.{name}", getattr(policy.release, name)
    for table, spec in policy.tables.items():
        yield f"tables.{table}", table
        yield f"tables.{table}.description", spec.description
        for column, rule in spec.columns.items():
            if rule.leaves:
                at = f"tables.{table}.columns.{column}"
                yield at, rule.rename or column
                yield from ((f"{at}.{name}", getattr(rule, name)) for name in ("description", "unit", "codes"))
                yield from ((f"{at}.values", value) for value in rule.values or ())


def search_words(words: Mapping[str, str], needles: Needles, *, k: int) -> list[str]:
    """The places whose words hold an identifier that is distinctive by itself, each with the identifier's kind; empty where none does.

    words: by place. Counts and places alone, never a value.
    """
    found: dict[str, None] = {}
    for place, text in words.items():
        # Each by itself, so that a number is not taken for one of many that chance explains.
        batch = pa.RecordBatch.from_arrays([pa.array([text])], names=[_WORDS])
        whose = iter([pa.nulls(1, pa.string())])
        for leak in search(iter([batch]), whose, needles, table=place, columns=Columns(text=frozenset([_WORDS])), k=k):
            found[f"{place}: the words hold a person's {leak.kind}"] = None
    return list(found)
