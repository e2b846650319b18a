"""Bar charts of real tables, in the role of ChartQA: which bar, how many, and what fraction of another."""

from __future__ import annotations

import itertools
import random
from typing import Any

from extract.datasets.suite.canvas import COLOURS, SIDE, Canvas, colour_words
from extract.datasets.suite.scene import Scene, SceneQuestion, Task, dataset
from extract.datasets.suite.vega import vega_table

BASE = SIDE - 8  # y of the axis
TALLEST = BASE - 8  # pixels of the largest value
CLOSEST = 0.05  # of the largest value: bars that differ by less are not shown together

CARS = ("Miles_per_Gallon", "Horsepower", "Weight_in_lbs", "Displacement", "Acceleration")

Bars = tuple[float, ...]


def material() -> list[Bars]:
    """Three to five adjacent values of a column that differ visibly; the groups do not overlap."""
    pieces: list[Bars] = []
    for values in _columns():
        start = 0
        while start + 3 <= len(values):
            count = 3 + (len(pieces) % 3)
            bars = tuple(values[start : start + count])
            if _differ(bars):
                pieces.append(bars)
                start += count
            else:
                start += 1
    return pieces


def _differ(bars: Bars) -> bool:
    ordered = sorted(bars)
    gaps = [high - low for low, high in itertools.pairwise(ordered)]
    return ordered[0] > 0 and min(gaps) > CLOSEST * ordered[-1]


def _columns() -> list[list[float]]:
    columns = [_numbers(vega_table("cars.json"), name) for name in CARS]
    columns += [_numbers(vega_table("barley.json"), "yield"), _numbers(vega_table("wheat.json"), "wheat")]
    columns += [_numbers(vega_table("seattle-weather.csv"), name) for name in ("temp_max", "wind")]
    columns += [_numbers(vega_table("stocks.csv"), "price"), _numbers(vega_table("driving.json"), "gas")]
    columns += [_numbers(vega_table("iowa-electricity.csv"), "net_generation")]
    return columns


def _numbers(rows: list[dict[str, Any]], column: str) -> list[float]:
    return [float(row[column]) for row in rows if row[column] is not None]


def draw(bars: Bars, rng: random.Random) -> Scene:
    """Bars in different colours and three questions about them."""
    colours = rng.sample(sorted(COLOURS), len(bars))
    canvas = Canvas()
    pitch = (SIDE - 12) / len(bars)
    width = pitch * rng.uniform(0.6, 0.85)
    for i, (value, colour) in enumerate(zip(bars, colours, strict=True)):
        left = 8 + i * pitch
        canvas.bar(left, BASE - TALLEST * value / max(bars), left + width, BASE, COLOURS[colour])
    canvas.line([(5, 4), (5, BASE), (SIDE - 3, BASE)], (90, 90, 90), width=1)
    kinds = rng.sample((_extreme, _compare, _taller_than, _ratio), 3)
    height = dict(zip(colours, bars, strict=True))
    image = canvas.image()
    return Scene(image, tuple(kind(height, rng) for kind in kinds), words=colour_words(image))


def _extreme(height: dict[str, float], rng: random.Random) -> SceneQuestion:
    if rng.random() < 0.5:
        return SceneQuestion("Which bar is the tallest?", max(height, key=height.__getitem__))
    return SceneQuestion("Which bar is the shortest?", min(height, key=height.__getitem__))


def _compare(height: dict[str, float], rng: random.Random) -> SceneQuestion:
    first, second = rng.sample(sorted(height), 2)
    answer = "yes" if height[first] > height[second] else "no"
    return SceneQuestion(f"Is the {first} bar taller than the {second} bar?", answer)


def _taller_than(height: dict[str, float], rng: random.Random) -> SceneQuestion:
    colour = rng.choice(sorted(height))
    taller = sum(value > height[colour] for value in height.values())
    return SceneQuestion(f"How many bars are taller than the {colour} bar?", str(taller))


def _ratio(height: dict[str, float], rng: random.Random) -> SceneQuestion:
    first, second = rng.sample(sorted(height), 2)
    answer = "yes" if height[first] > height[second] / 2 else "no"
    return SceneQuestion(f"Is the {first} bar more than half as tall as the {second} bar?", answer)


CHARTS = Task("vega_charts", 1, material, draw)
VEGA_CHARTS = dataset(CHARTS)
