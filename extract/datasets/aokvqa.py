"""A-OKVQA: questions with four choices about COCO photographs that require world knowledge."""

from __future__ import annotations

from pathlib import Path

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published, spellings
from extract.datasets.reading.rows import Row
from extract.grading import choices as grading
from extract.sample import Sample

PUBLISHED = Published(
    "aokvqa",
    hub="HuggingFaceM4/A-OKVQA",
    split="validation",
    tables=("aokvqa_v1p0_{split}.json",),
    needs_image=True,
    neighbours=("../coco",),
)
CHOICE = "{letter}. {choice}"
PROMPT = "{question}\n{choices}\nAnswer with the option's letter from the given choices directly."
COCO = ("{split}2017", "coco/{split}2017", "../coco/{split}2017", "coco", "images")  # where COCO's images may be


def parse(row: Row) -> Sample:
    """A sample from a row of the repository's JSON, which gives the number of a COCO image, or of the hub's tables."""
    choices = row.texts("choices")
    if not row.has("correct_choice_idx"):
        raise row.unanswered(PUBLISHED.split)
    return Sample(
        sample_id=row.text("question_id"),
        group="",
        question=row.text("question"),
        answer=row.letter("correct_choice_idx", choices),
        images=row.image("image") or _coco(row),
        choices=choices,
    )


def _coco(row: Row) -> tuple[Path, ...]:
    """The COCO image with the number in the row; empty for a row from the hub, whose image is null."""
    short = spellings(row.optional_text("split") or row.split)[-1]
    folders = [folder.format(split=short) for folder in COCO]
    if "image" in row.fields and (not row.has("image_id") or row.root(*folders) is None):
        return ()
    number = row.integer("image_id", "the number of a COCO image")
    return (row.find(f"{number:012d}.jpg", *folders),)


def prompt(sample: Sample) -> str:
    """The usual prompt for answering with a letter."""
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
