"""What all parts of a policy have in common: they are frozen, closed to unknown words, and take a number for a number."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

#: Numbers as numbers: `k: true` is not 1, and `k: "5"` not 5.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]


class Checked(BaseModel):
    """Frozen, and closed to words it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
