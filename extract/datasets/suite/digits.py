"""Arithmetic over two handwritten digits, in the role of MathVision."""

from __future__ import annotations

import functools
import random
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from extract.datasets.suite.canvas import CELLS, SIDE, Canvas
from extract.datasets.suite.scene import Scene, SceneQuestion, Task, dataset

SIZE = 40  # pixels of a digit; scikit-learn's have 8


class DigitPair(NamedTuple):
    """Rows of two digits in scikit-learn's table."""

    left: int
    right: int


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.images * 255 / 16).astype(np.uint8), data.target


def material() -> list[DigitPair]:
    """Pairs of digits from the table; every digit is in one pair only."""
    rows = list(range(len(_digits()[1])))
    random.Random("digit pairs").shuffle(rows)
    return [DigitPair(*rows[i : i + 2]) for i in range(0, len(rows) - 1, 2)]


def draw(pair: DigitPair, rng: random.Random) -> Scene:
    """Two digits side by side and three questions about them."""
    images, values = _digits()
    canvas = Canvas(background=(0, 0, 0))
    for column, row in enumerate(pair):
        left = 4 + column * SIDE / 2 + rng.uniform(-3, 3)
        canvas.paste(Image.fromarray(images[row]).resize((SIZE, SIZE)), left, (SIDE - SIZE) / 2 + rng.uniform(-12, 12))
    left, right = (int(values[row]) for row in pair)
    kinds = rng.sample((_sum, _difference, _one, _larger, _order, _carry), 3)
    words = (str(left), "and", str(right)) * CELLS
    return Scene(canvas.image(), tuple(kind(left, right, rng) for kind in kinds), words=words)


def _sum(left: int, right: int, rng: random.Random) -> SceneQuestion:
    return SceneQuestion("What is the sum of the two digits?", str(left + right))


def _difference(left: int, right: int, rng: random.Random) -> SceneQuestion:
    return SceneQuestion("What is the difference between the two digits?", str(abs(left - right)))


def _one(left: int, right: int, rng: random.Random) -> SceneQuestion:
    side = rng.choice(("left", "right"))
    return SceneQuestion(f"What is the {side} digit?", str(left if side == "left" else right))


def _larger(left: int, right: int, rng: random.Random) -> SceneQuestion:
    return SceneQuestion("What is the larger digit?", str(max(left, right)))


def _order(left: int, right: int, rng: random.Random) -> SceneQuestion:
    return SceneQuestion("Is the left digit larger than the right digit?", "yes" if left > right else "no")


def _carry(left: int, right: int, rng: random.Random) -> SceneQuestion:
    return SceneQuestion("Is the sum of the two digits more than nine?", "yes" if left + right > 9 else "no")


DIGITS = Task("digit_sums", 1, material, draw)
DIGIT_SUMS = dataset(DIGITS)
