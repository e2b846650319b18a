"""Plots from three subjects, in the role of MMMU: weather, employment and iris flowers, all multiple choice."""

from __future__ import annotations

import functools
import random
from typing import NamedTuple

from extract.datasets.suite.canvas import CELLS, COLOURS, SIDE, Canvas, Point, cell_of, colour_words, scaled
from extract.datasets.suite.scene import Scene, SceneQuestion, Task, dataset, shuffled
from extract.datasets.suite.vega import vega_table

SPECIES = {"setosa": "blue", "versicolor": "green", "virginica": "yellow"}
THIRDS = ("left", "middle", "right")
FLAT = 0.1  # of the range: a line whose end is this close to its start stayed about the same
CLEAR = 0.03  # of the range: a third whose extreme is this close to the global one could be mistaken for it
LOW, HIGH = SIDE - 10, 10  # y of the smallest and of the largest value


class PlotData(NamedTuple):
    """A segment of a subject's line, or the row of a flower."""

    subject: str
    line: tuple[float, ...] = ()
    flower: int = -1


def material() -> list[PlotData]:
    """Temperatures over 29 hours, so that no third is always the warmest; years of employment; flowers."""
    return [*_lines("weather", _temperatures(), 29), *_employment(), *_flowers()]


def _lines(subject: str, values: list[float], length: int) -> list[PlotData]:
    starts = range(0, len(values) - length + 1, length)
    lines = [tuple(values[start : start + length]) for start in starts]
    return [PlotData(subject, line) for line in lines if max(line) > min(line)]


def _temperatures() -> list[float]:
    """Hourly temperatures of Seattle and of San Francisco."""
    return [float(row["temp"]) for table in ("seattle-temps.csv", "sf-temps.csv") for row in vega_table(table)]


def _employment() -> list[PlotData]:
    rows = vega_table("us-employment.csv")
    sectors = [name for name in rows[0] if name not in ("month", "nonfarm_change")]
    return [piece for sector in sectors for piece in _lines("employment", [float(row[sector]) for row in rows], 12)]


def _flowers() -> list[PlotData]:
    return [PlotData("iris", flower=row) for row in range(len(_iris()))]


@functools.cache
def _iris() -> list[dict[str, float | str]]:
    return vega_table("iris.json")


def draw(piece: PlotData, rng: random.Random) -> Scene:
    """One plot and one or two questions about it."""
    if piece.subject == "iris":
        return _draw_flower(piece.flower, rng)
    canvas = Canvas()
    canvas.line([(5, 4), (5, SIDE - 6), (SIDE - 3, SIDE - 6)], (90, 90, 90), width=1)
    xs = scaled(range(len(piece.line)), 9, SIDE - 6)
    colour = rng.choice(("red", "blue", "green", "black"))
    points = list(zip(xs, scaled(piece.line, LOW, HIGH), strict=True))
    canvas.line(points, COLOURS[colour], width=2.5)
    return Scene(canvas.image(), (_peak(piece, rng), _trend(piece, rng)), words=_line_words(points))


def _line_words(points: list[Point]) -> tuple[str, ...]:
    """Words for where the line is, begins, ends and has its extremes, per cell."""
    words = ["empty"] * CELLS**2
    for point in points:
        words[cell_of(point)] = "line"
    words[cell_of(points[0])], words[cell_of(points[-1])] = "start", "end"
    words[cell_of(min(points, key=lambda point: point[1]))] = "highest"
    words[cell_of(max(points, key=lambda point: point[1]))] = "lowest"
    return tuple(words)


def _peak(piece: PlotData, rng: random.Random) -> SceneQuestion:
    if rng.random() < 0.5:
        text, value = "Where is the highest point?", max(piece.line)
    else:
        text, value = "Where is the lowest point?", min(piece.line)
    third = _third(piece, piece.line.index(value))
    near = CLEAR * (max(piece.line) - min(piece.line))
    rivals = (i for i, other in enumerate(piece.line) if abs(other - value) <= near)
    return SceneQuestion(text, THIRDS[third], THIRDS, asked=all(_third(piece, i) == third for i in rivals))


def _third(piece: PlotData, i: int) -> int:
    return i * 3 // len(piece.line)


def _trend(piece: PlotData, rng: random.Random) -> SceneQuestion:
    del rng
    change = (piece.line[-1] - piece.line[0]) / (max(piece.line) - min(piece.line))
    answer = "similar" if abs(change) < FLAT else "higher" if change > 0 else "lower"
    what = "temperature" if piece.subject == "weather" else "employment"
    return SceneQuestion(f"Compared to its start, how is {what} at the end?", answer, ("higher", "lower", "similar"))


def _draw_flower(row: int, rng: random.Random) -> Scene:
    """All flowers by two of their measurements, coloured by species; one is a large black dot."""
    flowers = _iris()
    x_name, y_name = rng.choice((("petalLength", "petalWidth"), ("sepalLength", "sepalWidth")))
    xs = scaled([float(flower[x_name]) for flower in flowers], 10, SIDE - 8)
    ys = scaled([float(flower[y_name]) for flower in flowers], LOW, HIGH)
    canvas = Canvas()
    for flower, point in zip(flowers, zip(xs, ys, strict=True), strict=True):
        canvas.dot(point, 1.8, COLOURS[SPECIES[str(flower["species"])]])
    canvas.dot((xs[row], ys[row]), 4.5, COLOURS["black"])
    question = "Blue is setosa, green versicolor, yellow virginica. Which species is the black dot?"
    image, species = canvas.image(), str(flowers[row]["species"])
    words = list(colour_words(image, least=0.03))
    words[cell_of((xs[row], ys[row]))] = species
    asked = SceneQuestion(question, species, tuple(SPECIES), asked=_is_alone(row, x_name, y_name))
    return Scene(image, (asked,), words=tuple(words))


def _is_alone(row: int, x_name: str, y_name: str) -> bool:
    """Whether only the flower's own species is at its point, and no flower in the toys' training data is."""
    flower = _iris()[row]
    here = [i for i, other in enumerate(_iris()) if all(other[name] == flower[name] for name in (x_name, y_name))]
    return all(_iris()[i]["species"] == flower["species"] and i not in _trained_on() for i in here)


@functools.cache
def _trained_on() -> frozenset[int]:
    return frozenset(piece.flower for piece in shuffled(PLOTS, "training"))


PLOTS = Task("vega_plots", 2, material, draw)
VEGA_PLOTS = dataset(PLOTS)
