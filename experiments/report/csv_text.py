"""Writes and reads CSV; cells that a spreadsheet would run as a formula become text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from relope_jax.errors import ReLopeError

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a formula begins with in Excel, LibreOffice or Google Sheets
QUOTE = "'"  # before a text, to spreadsheets: it is no formula


def to_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of numbers and texts, None as an empty cell; texts that look like a formula begin with an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([as_text(cell) for cell in row] for row in rows)
    return out.getvalue()


def as_text(cell: Any) -> Any:
    """A cell, when it is a text, so that no spreadsheet runs it."""
    return QUOTE + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def read_csv(text: str, what: object, numbers: Sequence[str], texts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a CSV text with a header; columns in `numbers` become floats, others that are not in `texts` are
    left out.

    Raises:
      ReLopeError: a column is missing, or a number is none.
    """
    try:
        found = csv.DictReader(io.StringIO(text), strict=True)
        return [{name: row[name] for name in texts} | {name: float(row[name]) for name in numbers} for row in found]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ReLopeError(f"{what} is damaged ({error}): delete it and run the same command again") from error
