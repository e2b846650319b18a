"""Tables of numbers and the formatting of their entries."""

from __future__ import annotations

import dataclasses
import math

BEST = "b"  # marks the best number of a column
UNKNOWN = "-"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number of a table.

    `value`: None or NaN if undefined or unknown. `low`, `high`: 95% interval. `paper`: the paper's number for this
    cell, for another model and other data. `mark`: signs explained in the table's notes, such as "*"; "b" is the best
    of its column.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    mark: str = ""

    @property
    def is_best(self) -> bool:
        return BEST in self.mark

    @property
    def signs(self) -> str:
        """The marks printed after the number."""
        return self.mark.replace(BEST, "")

    @property
    def has_interval(self) -> bool:
        return is_known(self.value) and is_known(self.low) and is_known(self.high)


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers in rows and columns. `name` is the file name, `columns` excludes the row header, and `breaks` are the
    rows with a rule above them."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    row_title: str = "method"
    notes: tuple[str, ...] = ()
    digits: int = 3
    breaks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, entries in self.rows:
            if len(entries) != len(self.columns):
                raise ValueError(f"table {self.name}: row '{name}' has {len(entries)} of {len(self.columns)} columns")

    @property
    def entries(self) -> list[Entry]:
        """All entries of the table."""
        return [entry for _, entries in self.rows for entry in entries]


def is_known(value: float | None) -> bool:
    """Whether `value` is a number, possibly infinite."""
    return value is not None and not math.isnan(value)


def number(value: float | None, digits: int) -> str:
    """A formatted number; "-0.00" becomes "0.00"."""
    if value is None or math.isnan(value):
        return UNKNOWN
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(entry: Entry, digits: int) -> str:
    """`[low, high]`, or an empty string."""
    return f"[{number(entry.low, digits)}, {number(entry.high, digits)}]" if entry.has_interval else ""


def paper_number(entry: Entry, digits: int) -> str:
    """`(paper 0.750)`, or an empty string."""
    return f"(paper {number(entry.paper, digits)})" if is_known(entry.paper) else ""


def all_notes(table: Table, best: str) -> list[str]:
    """The table's notes and the legend of its marks; `best` describes how the best number of a column is shown."""
    notes = list(table.notes)
    if any(entry.has_interval for entry in table.entries):
        notes.append("In brackets: 95% interval.")
    if any(entry.is_best for entry in table.entries):
        notes.append(f"{best}: best of its column{', above the line' if table.breaks else ''}.")
    if any(is_known(entry.paper) for entry in table.entries):
        notes.append("(paper ...): the paper's number, for another model and other data.")
    return notes
