"""MathVision (MATH-V): competition problems with a figure; the answer is a letter, a number or an expression."""

from __future__ import annotations

import re
from pathlib import Path

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published
from extract.datasets.reading.rows import Row
from extract.grading import mathvision
from extract.sample import Sample

PUBLISHED = Published(
    "mathvision",
    hub="MathLLMs/MathVision",
    split="test",
    tables=("{split}.jsonl", "data/{split}.jsonl"),
    needs_image=True,
    neighbours=("../images",),
)
CHOICE = "({letter}) {choice}"
PROMPT = (
    'Please solve the problem and put your answer in one "\\boxed{{}}". If it is a multiple choice question, only one '
    'letter is allowed in the "\\boxed{{}}".\n{question}'
)


def parse(row: Row) -> Sample:
    """A sample from a row of the repository's JSONL, which names an image file, or of the hub's tables."""
    return Sample(
        sample_id=row.text("id"),
        group="",
        question=_marked(row.text("question")),
        answer=row.text("answer"),
        images=_images(row),
        choices=tuple(map(_marked, row.texts("options"))),
    )


def _marked(text: str) -> str:
    """`<image1>` in our notation. A problem with several images has one file that shows them side by side."""
    return re.sub(r"<image(\d+)>", r"<image \1>", text)


def _images(row: Row) -> tuple[Path, ...]:
    if row.has("decoded_image"):
        return row.image("decoded_image")
    row.get("image")  # raises for a table that has neither column
    if not (path := row.image_path("image").replace("\\", "/")):
        return row.image("image")
    if not path.startswith("images/"):
        return (row.find(path),)
    roots = ("images", "../images")
    if "decoded_image" in row.fields and row.root(*roots) is None:
        return ()  # a row from the hub, whose image is null
    return (row.find(path.removeprefix("images/"), *roots),)


def prompt(sample: Sample) -> str:
    """The benchmark's prompt. Choices that are drawn in the figure and only called A to E are not listed."""
    drawn = "".join(sample.choices) in ("", "ABCDE")
    choices = "" if drawn else "\n" + lettered(sample.choices, CHOICE)
    return PROMPT.format(question=sample.question + choices)


MATHVISION = Dataset(
    name="mathvision",
    load=lambda spec: PUBLISHED.load(spec, parse),
    prompt=prompt,
    grade=mathvision.grade,
    final_answer=mathvision.final_answer,
    prompt_template="|".join((PROMPT, CHOICE)),
    published=PUBLISHED,
)
