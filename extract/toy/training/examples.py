"""Training data of the toy MLLMs: questions about material that no registered dataset uses."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import easy_vqa
from PIL import Image

from extract.datasets.suite.charts import CHARTS
from extract.datasets.suite.digits import DIGITS
from extract.datasets.suite.places import PLACES
from extract.datasets.suite.plots import PLOTS
from extract.datasets.suite.scene import SceneQuestion, Task, ask
from extract.imaging.images import read_image

SUITE = {"easy_vqa": 0.15, "vega_charts": 0.2, "digit_sums": 0.3, "us_places": 0.2, "vega_plots": 0.15}  # shares
TASKS: dict[str, Task] = {task.name: task for task in (CHARTS, DIGITS, PLACES, PLOTS)}
ANSWER_KIND = {
    **dict.fromkeys(("yes", "no"), "yes/no"),
    **dict.fromkeys(("circle", "rectangle", "triangle"), "shape"),
}  # all other answers are colours
KIND_SHARE = {"yes/no": 0.5, "colour": 0.3, "shape": 0.2}


class Example(NamedTuple):
    """One training example. Text-only questions have no image. `words`: those of the scene's cells."""

    image: Image.Image | None
    prompt: str
    answer: str
    words: tuple[str, ...] = ()


def examples(shares: dict[str, float], rng: random.Random) -> Iterator[Example]:
    """An endless sequence of examples from the tasks in `shares`."""
    draws = {name: _draws(name, rng) for name in shares}
    names, weights = list(shares), list(shares.values())
    while True:
        yield draws[rng.choices(names, weights)[0]]()


def _draws(name: str, rng: random.Random) -> Callable[[], Example]:
    if name == "easy_vqa":
        return _easy_vqa(rng)
    scene = TASKS[name].training_scenes(rng)

    def draw() -> Example:
        drawn = scene()
        question: SceneQuestion = rng.choice(drawn.questions)
        return Example(drawn.image, ask(question.text, question.choices), question.answer, drawn.words)

    return draw


def _easy_vqa(rng: random.Random) -> Callable[[], Example]:
    """The package's training questions, with a smaller share of yes/no questions than the data's three in four."""
    kinds = collections.defaultdict(list)
    for row in zip(*easy_vqa.get_train_questions(), strict=True):
        kinds[ANSWER_KIND.get(row[1], "colour")].append(row)
    paths, names, shares = easy_vqa.get_train_image_paths(), list(KIND_SHARE), list(KIND_SHARE.values())

    def draw() -> Example:
        question, answer, image = rng.choice(kinds[rng.choices(names, shares)[0]])
        return Example(read_image(Path(paths[image])), question, answer)

    return draw
