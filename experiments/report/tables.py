"""Tables of numbers with intervals, as text, CSV, LaTeX and HTML. CSV files are safe from formula injection."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.report.entries import Entry, Table, all_notes, interval, is_known, number, paper_number
from experiments.report.latex import to_latex
from relope_jax.errors import ReLopeError
from relope_jax.io.files import write_text

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # start of a formula in Excel, LibreOffice or Google Sheets
QUOTE = "'"  # marks a cell as text in spreadsheets


def cell_text(entry: Entry, digits: int) -> str:
    """One number in plain text."""
    value = number(entry.value, digits) + ("†" if entry.is_best else "") + entry.signs
    return " ".join(filter(None, (value, interval(entry, digits), paper_number(entry, digits))))


def text_rows(table: Table) -> list[list[str]]:
    """Header and rows as plain text."""
    rows = [[name, *(cell_text(entry, table.digits) for entry in entries)] for name, entries in table.rows]
    return [[table.row_title, *table.columns], *rows]


def to_text(table: Table) -> str:
    """Fixed-width text for the terminal."""
    lines = fixed_width(text_rows(table), table.breaks)
    return "\n".join((table.title, *lines, *all_notes(table, "†"))) + "\n"


def fixed_width(rows: Sequence[Sequence[str]], breaks: Sequence[int] = ()) -> list[str]:
    """Header and rows as aligned lines, with a rule below the header and before the rows `breaks`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *numbers)).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    for place in sorted({0, *breaks}, reverse=True):
        lines.insert(1 + place, rule)
    return lines


PARTS = ("low", "high", "paper", "mark")


def to_csv(table: Table) -> str:
    """CSV with full precision; intervals, the paper's numbers and marks are additional columns after their column."""
    columns = [[entries[i] for _, entries in table.rows] for i in range(len(table.columns))]
    parts = [
        ["value", *(part for part in PARTS if any(getattr(e, part) not in (None, "") for e in column))]
        for column in columns
    ]
    names = [
        title if part == "value" else f"{title} {part}"
        for title, used in zip(table.columns, parts, strict=True)
        for part in used
    ]
    rows: list[list[Any]] = [[table.row_title, *names]]
    for name, entries in table.rows:
        values = [getattr(entry, part) for entry, used in zip(entries, parts, strict=True) for part in used]
        rows.append([name, *(None if _is_nothing(value) else value for value in values)])
    return csv_of(rows)


def _is_nothing(value: float | str | None) -> bool:
    return not isinstance(value, str) and not is_known(value)


def csv_of(rows: Iterable[Sequence[Any]]) -> str:
    """CSV of numbers and strings, with None as an empty cell; strings that look like a formula get an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([as_text(cell) for cell in row] for row in rows)
    return out.getvalue()


def as_text(cell: Any) -> Any:
    """A cell, quoted if a spreadsheet would run it as a formula."""
    return QUOTE + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def read_csv(text: str, what: object, numbers: Sequence[str], texts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a CSV text with a header. Columns in `numbers` become floats, columns in `texts` stay strings, all
    others are dropped.

    Raises:
      ReLopeError: a column is missing, or a number is not valid.
    """
    try:
        found = csv.DictReader(io.StringIO(text), strict=True)
        return [{name: row[name] for name in texts} | {name: float(row[name]) for name in numbers} for row in found]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ReLopeError(f"{what} is damaged ({error}): delete it and run the same command again") from error


def to_html(table: Table) -> str:
    """A `<figure>` with the table; a wide table scrolls horizontally. The CSS is in page.py."""
    e = html.escape
    head = "".join(f"<th scope=col>{e(title)}</th>" for title in (table.row_title, *table.columns))
    body = "".join(
        f"<tr{' class=break' if i in table.breaks else ''}><th scope=row>{e(name)}</th>"
        + "".join(f"<td>{_cell_html(entry, table.digits)}</td>" for entry in entries)
        + "</tr>\n"
        for i, (name, entries) in enumerate(table.rows)
    )
    notes = "".join(f"<p class=note>{e(note)}</p>" for note in all_notes(table, "Bold"))
    return (
        f'<figure class=table id="{e(table.name)}"><figcaption>{e(table.title)}</figcaption>\n'
        f'<div class=scroll tabindex=0 role=region aria-label="{e(table.title)}"><table><thead><tr>{head}</tr></thead>'
        f"\n<tbody>{body}</tbody></table></div>{notes}</figure>\n"
    )


def _cell_html(entry: Entry, digits: int) -> str:
    value = number(entry.value, digits)
    value = f"<b>{value}</b>" if entry.is_best else value
    signs = f"<sup>{html.escape(entry.signs)}</sup>" if entry.signs else ""
    small = (interval(entry, digits), paper_number(entry, digits))
    return " ".join((value + signs, *(f"<small>{text}</small>" for text in small if text)))


def write_tables(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """Write `NAME.csv` and `NAME.tex` for every table; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for path, text in (
            (folder / f"{table.name}.csv", to_csv(table)),
            (folder / f"{table.name}.tex", to_latex(table)),
        ):
            write_text(path, text)
            written.append(path)
    return written
