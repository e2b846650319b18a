"""MMMU: college-level questions in 30 subjects with up to seven images each, in the question or in the choices."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Any

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published
from extract.datasets.reading.rows import Row
from extract.datasets.reading.values import shown, text_of
from extract.grading import mmmu
from extract.imaging.places import unplaced
from extract.sample import Sample

PUBLISHED = Published("mmmu", hub="MMMU/MMMU", split="validation", one_folder=False, needs_image=True)
CHOICE = "({letter}) {choice}"
CHOICE_PROMPT = "{question}\n\n{choices}\n\nAnswer with the option's letter from the given choices directly."
OPEN_PROMPT = "{question}\n\nAnswer the question using a single word or phrase."
LONGEST_LIST = 100_000  # characters of Python source
_STRING = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_LISTED = re.compile(rf"\[\s*(?:{_STRING}\s*(?:,\s*{_STRING}\s*)*,?\s*)?\]", re.DOTALL)
IMAGES = [f"image_{k}" for k in range(1, 8)]


def parse(row: Row) -> Sample:
    """A sample from a row of the hub's tables, which hold lists as Python source."""
    several = row.text("question_type") == "multiple-choice"
    choices = (_listed(row.get("options")) or ()) if several else ()
    if row.get("answer") in ("", "?", [""], ["?"]):
        raise row.unanswered(PUBLISHED.split)
    answers = _listed(row.get("answer")) or row.answers("answer")
    if not all(answer.strip() for answer in answers):
        raise row.bad("one of its answers is empty")
    if several and not {*answers} <= {chr(ord("A") + i) for i in range(len(choices))}:
        problem = f"the answer {shown(answers[0])} is the letter of none of its {len(choices)} choices"
        raise row.bad(problem)
    question = row.text("question")
    found = [row.image(name) for name in IMAGES]
    images = tuple(image for images in found for image in images)
    return Sample(
        sample_id=row.text("id"),
        group="",
        question=question,
        answer=answers[0],
        images=images,
        choices=choices,
        accepted=answers[1:],
        missing=_numbering_problem(found) or unplaced((question, *choices), len(images)),
    )


def _listed(value: Any) -> tuple[str, ...] | None:
    """A list of texts, given as such or as Python source; None for anything else, such as the interval "[1, 2]"."""
    if isinstance(value, str):
        return _from_source(value) if len(value) <= LONGEST_LIST else None
    texts = [text_of(item) for item in value] if isinstance(value, list) else [None]
    return None if None in texts else tuple(text for text in texts if text is not None)


def _from_source(text: str) -> tuple[str, ...] | None:
    """The texts in the Python source of a list of texts; None for any other source, which is not parsed because deep
    nesting crashes Python's parser."""
    if not _LISTED.fullmatch(text):
        return None
    try:
        with warnings.catch_warnings():  # about "\\d", which is harmless
            warnings.simplefilter("ignore")
            return tuple(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError):
        return None


def _numbering_problem(found: list[tuple[Path, ...]]) -> str:
    """Why the images of a row (`found`, per field) do not match the numbering of `<image k>`; "" when they do."""
    count = sum(map(len, found))
    gap = next((name for name, image in zip(IMAGES[:count], found, strict=False) if not image), "")
    return f"its row has {count} images, but no {gap}" if gap else ""


def prompt(sample: Sample) -> str:
    """The prompts from the benchmark's own evaluation."""
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
