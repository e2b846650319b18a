"""A small canvas, drawn at three times its size and scaled down so that thin lines stay visible at 96 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
SCALE = 3
CELLS = 3  # per side: the toy MLLMs have one image token for each of 3 x 3 cells
COLOURS = {
    "red": (214, 39, 40),
    "blue": (31, 89, 200),
    "green": (35, 150, 60),
    "yellow": (245, 200, 20),
    "black": (25, 25, 25),
}
GREY = (170, 170, 170)
Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """Draws shapes; coordinates are pixels of the final image, x to the right and y downwards."""

    def __init__(self, background: Colour = (255, 255, 255)):
        self._image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def bar(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draw a filled rectangle."""
        self._draw.rectangle([left * SCALE, top * SCALE, right * SCALE, bottom * SCALE], fill=colour)

    def dot(self, centre: Point, radius: float, colour: Colour) -> None:
        """Draw a filled circle."""
        x, y = (value * SCALE for value in centre)
        r = radius * SCALE
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 2) -> None:
        """Draw a line through the points."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * SCALE), joint="curve")

    def paste(self, image: Image.Image, left: float, top: float) -> None:
        """Paste another picture, whose size is in pixels of the final image."""
        size = (image.width * SCALE, image.height * SCALE)
        self._image.paste(image.resize(size, Image.Resampling.BICUBIC), (round(left * SCALE), round(top * SCALE)))

    def image(self) -> Image.Image:
        """The finished picture, 96 x 96."""
        return self._image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def cell_of(point: Point) -> int:
    """The number of the cell that contains the point, row by row."""
    column, row = (min(int(value * CELLS / SIDE), CELLS - 1) for value in point)
    return row * CELLS + column


def colour_words(image: Image.Image, least: float = 0.1) -> tuple[str, ...]:
    """The colour that covers most of each cell, "white" where no colour covers at least the share `least` of it."""
    pixels = np.asarray(image).astype(int)
    size, words = SIDE // CELLS, []
    for row in range(CELLS):
        for column in range(CELLS):
            cell = pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]
            shares = {name: float((np.abs(cell - rgb).sum(axis=2) < 60).mean()) for name, rgb in COLOURS.items()}
            best = max(shares, key=shares.__getitem__)
            words.append(best if shares[best] >= least else "white")
    return tuple(words)


def scaled(values: Sequence[float], low: float, high: float) -> list[float]:
    """Values mapped linearly so that the smallest is at `low` and the largest at `high`."""
    smallest, largest = min(values), max(values)
    span = (largest - smallest) or 1.0
    return [low + (value - smallest) / span * (high - low) for value in values]
