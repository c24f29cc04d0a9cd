"""Numbers as a country writes them (`1.234,5`), by the policy's word: decimal commas and thousands are never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.sources.base import ROW

NO_NUMBER = " (no number by the source's signs)"
"""Behind a text that a number's column holds and that is none by these signs, so that its record falls out: `1.5` is not 15."""


class Numerals:
    """Turns texts in a source's signs into texts in Arrow's. decimal: before the decimals; thousands: between thousands, or empty."""

    def __init__(self, decimal: str, thousands: str) -> None:
        self._usual = decimal == "." and not thousands
        self._decimal, self._thousands = decimal, thousands
        point, group = re.escape(decimal), re.escape(thousands)
        grouped = rf"[0-9]{{1,3}}({group}[0-9]{{3}})+|" if thousands else ""
        self._pattern = rf"^\s*[+-]?({grouped}[0-9]+)?({point}[0-9]*)?([eE][+-]?[0-9]+)?\s*$"

    def plain(self, values: Sequence[str | None]) -> Sequence[str | None]:
        """A sample's values in Arrow's signs, where all are numbers; else as they are."""
        present = [value for value in values if value]
        if self._usual or not present or not all(re.match(self._pattern, value) for value in present):
            # A number in Arrow's signs alone is no number here.
            return (
                values
                if self._usual
                else [value and (value if not re.fullmatch(r"[+-]?[0-9]*\.[0-9]+", value) else value + NO_NUMBER) for value in values]
            )
        return [value and self._swapped(value) for value in values]

    def of_batch(self, batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """A batch of texts, with those of the columns that are to be numbers in Arrow's signs."""
        if self._usual:
            return batch
        arrays = []
        for name in batch.schema.names:
            type = types.get(name)
            number = name != ROW and type is not None and (pa.types.is_integer(type) or pa.types.is_floating(type))
            arrays.append(self._column(batch[name]) if number else batch[name])
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    def _column(self, column: pa.Array) -> pa.Array:
        fine = pc.match_substring_regex(column, self._pattern)
        swapped = pc.replace_substring(column, self._thousands, "") if self._thousands else column
        swapped = pc.replace_substring(swapped, self._decimal, ".")
        return pc.if_else(fine, swapped, pc.binary_join_element_wise(column, NO_NUMBER, ""))

    def _swapped(self, value: str) -> str:
        return (value.replace(self._thousands, "") if self._thousands else value).replace(self._decimal, ".")
