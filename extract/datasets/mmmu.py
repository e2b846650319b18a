"""MMMU: college-level questions in 30 subjects, with up to seven images each, in the question or in the choices."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published
from extract.datasets.tables import Row
from extract.grading import mmmu
from extract.sample import Sample

PUBLISHED = Published("mmmu", hub="MMMU/MMMU", split="validation")
CHOICE = "({letter}) {choice}"
CHOICE_PROMPT = "{question}\n\n{choices}\n\nAnswer with the option's letter from the given choices directly."
OPEN_PROMPT = "{question}\n\nAnswer the question using a single word or phrase."
IMAGES = [f"image_{k}" for k in range(1, 8)]


def parse(row: Row) -> Sample:
    """A row of the hub's tables, which hold lists as Python source."""
    several = row.text("question_type") == "multiple-choice"
    choices = (_listed(row.get("options")) or ()) if several else ()
    answers = _listed(row.get("answer")) or (row.text("answer"),)
    if answers[0] in ("", "?"):
        raise row.unanswered(PUBLISHED.split)
    if several and not {*answers} <= {chr(ord("A") + i) for i in range(len(choices))}:
        raise row.bad(f"the answer {answers[0]!r} is the letter of none of its {len(choices)} choices")
    return Sample(
        sample_id=row.text("id"),
        group="",
        question=row.text("question"),
        answer=answers[0],
        images=_images(row),
        choices=choices,
        accepted=answers[1:],
    )


def _listed(value: Any) -> tuple[str, ...] | None:
    """A list of texts, or the Python source of one; None for anything else, such as the interval "[1, 2]"."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return None
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _images(row: Row) -> tuple[Path, ...]:
    """All images; `<image k>` counts from the first, so that none may be missing in between."""
    found = [row.image(name) for name in IMAGES]
    count = sum(map(len, found))
    if not all(found[:count]):
        raise row.bad(f"it has {count} images, but not as {', '.join(IMAGES[:count])}")
    return tuple(image for images in found for image in images)


def prompt(sample: Sample) -> str:
    """The prompts of the benchmark's own evaluation."""
    if not sample.choices:
        return OPEN_PROMPT.format(question=sample.question)
    return CHOICE_PROMPT.format(question=sample.question, choices=lettered(sample.choices, CHOICE))


MMMU = Dataset(
    name="mmmu",
    load=lambda spec: PUBLISHED.load(spec, parse),
    prompt=prompt,
    grade=mmmu.grade,
    final_answer=mmmu.final_answer,
    prompt_template="|".join((CHOICE_PROMPT, CHOICE, OPEN_PROMPT)),
    published=PUBLISHED,
)
