"""The style of all figures, and their export as SVG, PNG and PDF."""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from experiments.report.entries import Table, all_notes
from experiments.report.tables import text_rows
from relope_jax.io.files import write_bytes

INK = "#010203"  # placeholder for black; replaced by the page's text colour, which depends on dark mode
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#8b949e",
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "relope",  # makes the file reproducible
    "pdf.fonttype": 42,  # searchable text
    "text.parse_math": False,  # names of models and datasets may have a dollar sign
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def make_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """A figure (size in inches) with its panels; unlike pyplot's figures, it is freed with its last reference."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**subplots)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator for a function that draws a figure; applies `STYLE`."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element with a transparent background and text in the page's colour."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata=NO_METADATA)
    svg = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace("#000000", "currentColor")
    own = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8] + "-"  # unique ids, since several figures share one page
    svg = re.sub(r'(?<= id=")', own, svg)
    return re.sub(r'(?<=url\(#)|(?<=href="#)', own, svg)


def write_png(path: Path, figure: Figure) -> Path:
    """Write the figure as a PNG, in the current style."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    write_bytes(path, buffer.getvalue())
    return path


def write_pdf(path: Path, tables: Sequence[Table], figures: Sequence[Figure], texts: Sequence[str] = ()) -> Path:
    """Write one PDF: a page with the paragraphs `texts`, each table on separate pages, then one page per figure."""
    buffer = io.BytesIO()
    sheets = [text_sheet(texts)] * bool(texts) + [sheet for table in tables for sheet in table_sheets(table)]
    with matplotlib.rc_context(STYLE), PdfPages(buffer, metadata={"CreationDate": None}) as pdf:
        for figure in (*sheets, *figures):
            pdf.savefig(figure, bbox_inches="tight", pad_inches=0.4)
    write_bytes(path, buffer.getvalue())
    return path


MOST_ROWS = 40
SIZE, LINE, GAP, INCH = 9.0, 17.0, 16.0, 72.0  # points


def table_sheets(table: Table) -> list[Figure]:
    """The table as figures as wide as the table; a long table continues on the next figure."""
    head, *rows = text_rows(table)
    notes = all_notes(table, "†")
    widths = [max(_width(row[i], bold=k == 0) for k, row in enumerate([head, *rows])) for i in range(len(head))]
    sheets = []
    for first in range(0, max(len(rows), 1), MOST_ROWS):
        part = rows[first : first + MOST_ROWS]
        breaks = [i - first for i in table.breaks if first <= i < first + len(part)]
        last = first + MOST_ROWS >= len(rows)
        sheets.append(_sheet(table.title, head, part, breaks, widths, notes if last else []))
    return sheets


def _sheet(
    title: str, head: list[str], rows: list[list[str]], breaks: list[int], widths: list[float], notes: list[str]
) -> Figure:
    """Draw title, rules, rows and notes at positions in points."""
    width = max(sum(widths) + GAP * (len(widths) - 1), 6 * INCH)
    notes = [line for note in notes for line in _wrapped(note, width)]
    titles = _wrapped(title, width * SIZE / (SIZE + 2))
    height = LINE * (len(titles) + len(rows) + len(notes) + 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / INCH, height / INCH))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        y = LINE * 0.5
        for line in titles:
            axes.text(0, y, line, fontsize=SIZE + 2, fontweight="bold", va="center", parse_math=False)
            y += LINE
        _rule(axes, y - LINE * 0.5, width, 1.2)
        for i, row in enumerate([head, *rows]):
            if i == 0 or i - 1 in breaks:
                _rule(axes, y + LINE * (0.5 if i == 0 else -0.5), width, 0.7)
            _row(axes, y, row, widths, bold=i == 0)
            y += LINE
        _rule(axes, y - LINE * 0.5, width, 1.2)
        for line in notes:
            axes.text(0, y, line, fontsize=SIZE - 1, va="center", parse_math=False)
            y += LINE
    return figure


def text_sheet(texts: Sequence[str]) -> Figure:
    """A page of paragraphs; the first is the title."""
    width = 6.5 * INCH
    lines = [(line, i == 0) for i, text in enumerate(texts) for line in (*_wrapped(text, width), "")]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / INCH, LINE * len(lines) / INCH))
        for i, (line, bold) in enumerate(lines):
            y, weight = 1 - (i + 0.5) / len(lines), "bold" if bold else "normal"
            figure.text(0, y, line, fontsize=SIZE, fontweight=weight, va="center", parse_math=False)
    return figure


def _row(axes: Axes, y: float, row: list[str], widths: list[float], *, bold: bool) -> None:
    weight, right = "bold" if bold else "normal", 0.0
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        right += width
        x, side = (0.0, "left") if i == 0 else (right, "right")
        axes.text(x, y, cell, fontsize=SIZE, fontweight=weight, ha=side, va="center", parse_math=False)
        right += GAP


def _rule(axes: Axes, y: float, width: float, thickness: float) -> None:
    axes.plot([0, width], [y, y], color=INK, linewidth=thickness, clip_on=False)


@functools.lru_cache(maxsize=10_000)
def _width(text: str, *, bold: bool = False) -> float:
    """Width of a line of text in points."""
    font = FontProperties(weight="bold" if bold else "normal", size=SIZE)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def _wrapped(text: str, width: float) -> list[str]:
    """The text wrapped into lines of at most `width` points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
