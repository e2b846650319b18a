"""Plots of a sweep, one PNG per axis: test AUC against the values of the axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogFormatter, NullFormatter, NullLocator

from experiments.report.drawing import STYLE, make_figure, write_png
from experiments.report.palette import colour
from experiments.sweeps.grid import SEED, Axis, show
from relope_jax.methods import METHODS

MOST_LINES = 8
LOG_SPREAD = 20.0  # ratio of values above which the scale is logarithmic
MOST_TICKS = 12
MARKERS = "osD^vPX*"
GREY = "#666666"
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a plot: the test AUCs of every seed at every value; a method without the axis has value None."""

    method: str
    label: str
    auc: dict[Any, list[float]]


def write_plots(folder: Path, axes: Sequence[Axis], rows: Sequence[Row]) -> list[Path]:
    """`<axis>.png` for every swept axis except the seed; `seed.png` if only seeds are swept."""
    swept = [axis for axis in axes if axis.field != SEED]
    with matplotlib.rc_context({**STYLE, "font.size": 10, "axes.axisbelow": True}):
        if not swept:
            return [write_png(folder / "seed.png", seed_plot(rows))]
        return [write_png(folder / f"{axis.field}.png", axis_plot(axis, swept, rows)) for axis in swept]


def axis_plot(axis: Axis, swept: Sequence[Axis], rows: Sequence[Row]) -> Figure:
    """One line per method and setting of the other axes; methods without the axis are dashed."""
    others = [other.field for other in swept if other is not axis]
    lines, title = make_lines(axis, others, rows), _seeds_note(rows)
    if len(lines) > MOST_LINES:
        lines, title = make_lines(axis, [], rows), f"{title}; averaged over {', '.join(others)}"
    figure, panel = make_figure(7.0, 4.2)
    place = _set_scale(panel, axis)
    shades = _shades(lines)
    for i, line in enumerate(lines):
        if None in line.auc:
            _reference(panel, line, shades[i])
        else:
            _line(panel, line, place, shades[i], MARKERS[i % len(MARKERS)])
    panel.set(xlabel=axis.field, ylabel="test AUC")
    panel.set_title(title, fontsize=9, loc="left", color=GREY)
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, handlelength=2.4, fontsize=9)
    return figure


def make_lines(axis: Axis, others: Sequence[str], rows: Sequence[Row]) -> list[Line]:
    """The AUCs of `rows` by method and setting of the fields `others`, averaged over all other fields per seed."""
    found: dict[tuple, dict[Any, dict[int, list[float]]]] = {}
    for row in rows:
        setting = tuple((field, row[field]) for field in others if field in row)
        line = found.setdefault((row["method"], setting), {})
        line.setdefault(row.get(axis.field), {}).setdefault(row["seed"], []).append(row["auc"])
    return [
        Line(
            method,
            _label(method, setting),
            {value: [float(np.mean(auc)) for auc in seeds.values()] for value, seeds in line.items()},
        )
        for (method, setting), line in found.items()
    ]


def seed_plot(rows: Sequence[Row]) -> Figure:
    """Every method's seeds as points around their mean."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, panel = make_figure(1.6 + 1.5 * len(methods), 4.2)
    for x, method in enumerate(methods):
        auc = np.array([row["auc"] for row in rows if row["method"] == method])
        offsets = 0.28 * (np.arange(len(auc)) / max(len(auc) - 1, 1) - 0.5) * (len(auc) > 1)
        shade = colour(method)
        panel.fill_between([x - 0.3, x + 0.3], auc.min(), auc.max(), color=shade, alpha=0.12, linewidth=0)
        panel.plot([x - 0.3, x + 0.3], [auc.mean()] * 2, color=shade, linewidth=2)
        panel.plot(x + offsets, auc, "o", color=shade, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
        panel.annotate(f"{auc.mean():.3f}", (x + 0.34, auc.mean()), va="center", fontsize=9, color=shade)
    panel.set_xticks(range(len(methods)), [METHODS[method].title for method in methods])
    panel.set(xlim=(-0.6, len(methods) - 0.2), ylabel="test AUC")
    panel.grid(axis="x", visible=False)
    panel.set_title(_seeds_note(rows), fontsize=9, loc="left", color=GREY)
    return figure


def scale_of(values: Sequence[Any]) -> str:
    """ "linear" or "log" for numbers; "even" (equal steps) for everything else and for a wide range that includes 0."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return "even"
    positive = [value for value in values if value > 0]
    if not positive or max(positive) <= LOG_SPREAD * min(positive):
        return "linear"
    return "log" if len(positive) == len(values) else "even"


def _set_scale(panel: Axes, axis: Axis) -> dict[Any, float]:
    """Set the scale of the x axis, with ticks at the values; returns the position of each value."""
    scale = scale_of(axis.values)
    place = {value: float(i if scale == "even" else value) for i, value in enumerate(axis.values)}
    if scale == "log":
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(LogFormatter())  # plain text: STYLE disables math text
        panel.xaxis.set_minor_formatter(NullFormatter())
    if scale == "even" or len(place) <= MOST_TICKS:
        panel.xaxis.set_major_locator(FixedLocator(list(place.values())))
        panel.set_xticklabels([show(value) for value in place])
        panel.xaxis.set_minor_locator(NullLocator())
    if scale == "even":
        panel.set_xlim(-0.4, len(place) - 0.6)
    if max(len(show(value)) for value in place) > 60 / len(place):
        for text in panel.get_xticklabels():
            text.set(rotation=30, ha="right", rotation_mode="anchor")
    return place


def _line(panel: Axes, line: Line, place: dict[Any, float], shade: tuple, marker: str) -> None:
    values = sorted(line.auc, key=place.__getitem__)
    x = np.array([place[value] for value in values])
    seeds = [np.array(line.auc[value]) for value in values]
    mean = [auc.mean() for auc in seeds]
    if max(map(len, seeds)) > 1:
        low, high = [auc.min() for auc in seeds], [auc.max() for auc in seeds]
        panel.fill_between(x, low, high, color=shade, alpha=0.13, linewidth=0)
        points = np.repeat(x, [len(auc) for auc in seeds])
        panel.plot(points, np.concatenate(seeds), ".", color=shade, alpha=0.45, markersize=7, markeredgewidth=0)
    panel.plot(
        x,
        mean,
        "-",
        marker=marker,
        color=shade,
        linewidth=1.8,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=line.label,
    )


def _reference(panel: Axes, line: Line, shade: tuple) -> None:
    auc = line.auc[None]
    panel.axhline(float(np.mean(auc)), linestyle="--", color=shade, linewidth=1.5, label=line.label)
    if len(auc) > 1:
        panel.axhspan(min(auc), max(auc), color=shade, alpha=0.07, linewidth=0)


def _shades(lines: Sequence[Line]) -> list[tuple]:
    """The colour of each line: its method's colour, from dark to light if a method has several lines."""
    shades = []
    for line in lines:
        mine = [other for other in lines if other.method == line.method]
        light = np.linspace(-0.5, 0.4, len(mine))[mine.index(line)] if len(mine) > 1 else 0.0
        own, end = np.array(to_rgb(colour(line.method))), float(light > 0)
        shades.append(tuple((1 - abs(light)) * own + abs(light) * end))
    return shades


def _seeds_note(rows: Sequence[Row]) -> str:
    seeds = len({row["seed"] for row in rows})
    return f"{seeds} seeds: mean and range" if seeds > 1 else "1 seed"


def _label(method: str, setting: Sequence[tuple[str, Any]]) -> str:
    values = ", ".join(f"{field.split('.', 1)[1]} {show(value)}" for field, value in setting)
    return f"{METHODS[method].title}\n  {values}" if values else METHODS[method].title
