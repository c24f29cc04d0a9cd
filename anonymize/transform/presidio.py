"""What stands in the place of a finding as Presidio's operators: what others may put into an AnonymizerEngine of their own.

Apart from `text.py`, since Presidio takes seconds to import, and every worker process would.
"""

from __future__ import annotations

from typing import Any

from presidio_anonymizer.operators import Operator, OperatorType

from anonymize.transform.text import Surrogate, Tag


class TagOperator(Tag, Operator):
    """`Tag` behind Presidio's interface, by the name `anonymize_tag`; its parameters are those of `Tag.operate`."""

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Raises ValueError where no kind is given."""
        if "kind" not in (params or {}):
            raise ValueError("give the finding's kind (policy.model.Kind)")

    def operator_name(self) -> str:
        return "anonymize_tag"

    def operator_type(self) -> OperatorType:
        return OperatorType.Anonymize


class SurrogateOperator(TagOperator, Surrogate):
    """`Surrogate` behind Presidio's interface, by the name `anonymize_surrogate`."""

    def operator_name(self) -> str:
        return "anonymize_surrogate"
