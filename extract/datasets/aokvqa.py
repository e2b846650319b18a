"""A-OKVQA: questions about COCO photographs that ask for knowledge of the world, with four choices."""

from __future__ import annotations

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published, spellings
from extract.datasets.tables import Row
from extract.grading import choices as grading
from extract.sample import Sample

PUBLISHED = Published("aokvqa", hub="HuggingFaceM4/A-OKVQA", split="validation", tables=("aokvqa_v1p0_{split}.json",))
CHOICE = "{letter}. {choice}"
PROMPT = "{question}\n{choices}\nAnswer with the option's letter from the given choices directly."
COCO = ("{split}2017", "coco/{split}2017", "../coco/{split}2017", "coco", "images")  # where COCO's images may lie


def parse(row: Row) -> Sample:
    """A row of the repository's JSON, which names a COCO image by its number, or of the hub's tables."""
    choices = row.texts("choices")
    if row.fields.get("correct_choice_idx") is None:
        raise row.unanswered(PUBLISHED.split)
    images = row.image("image")
    if not images:
        short = spellings(str(row.fields.get("split", row.split)))[-1]
        images = (row.find(f"{_number(row):012d}.jpg", *(folder.format(split=short) for folder in COCO)),)
    return Sample(
        sample_id=row.text("question_id"),
        group="",
        question=row.text("question"),
        answer=row.letter("correct_choice_idx", choices),
        images=images,
        choices=choices,
    )


def _number(row: Row) -> int:
    number = row.get("image_id")
    if not isinstance(number, int):
        raise row.bad(f"'image_id' is {number!r}, not the number of a COCO image")
    return number


def prompt(sample: Sample) -> str:
    """The usual prompt for an answer by letter."""
    return PROMPT.format(question=sample.question, choices=lettered(sample.choices, CHOICE))


AOKVQA = Dataset(
    name="aokvqa",
    load=lambda spec: PUBLISHED.load(spec, parse),
    prompt=prompt,
    grade=grading.grade,
    final_answer=grading.final_answer,
    prompt_template="|".join((PROMPT, CHOICE)),
    published=PUBLISHED,
)
