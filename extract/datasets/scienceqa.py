"""ScienceQA: multiple-choice school science questions, half of them about an image, some with a text as context."""

from __future__ import annotations

from pathlib import Path

from extract.datasets.base import Dataset, lettered
from extract.datasets.published import Published, spellings
from extract.datasets.reading.rows import Row
from extract.grading import choices as grading
from extract.sample import Sample

PUBLISHED = Published(
    "scienceqa",
    hub="derek-thomas/ScienceQA",
    split="test",
    tables=("problems.json", "scienceqa/problems.json", "data/scienceqa/problems.json"),
    index="pid_splits.json",
)
CHOICE = "{letter}. {choice}"
CONTEXT = "Context: {hint}\n{question}"
PROMPT = "{question}\n{choices}\nAnswer with the option's letter from the given choices directly."


def parse(row: Row) -> Sample:
    """A sample from a row of the repository's problems.json, or of the hub's tables, which have no ids."""
    choices = row.texts("choices")
    question, hint = row.text("question"), row.optional_text("hint")
    return Sample(
        sample_id=row.text("id") if row.has("id") else f"{row.split}-{row.number:05d}",
        group="",
        question=CONTEXT.format(hint=hint, question=question) if hint else question,
        answer=row.letter("answer", choices),
        images=_images(row),
        choices=choices,
    )


def _images(row: Row) -> tuple[Path, ...]:
    """Empty for a text-only question. In the repository, a file in the folder of its split and its id."""
    if row.table != "problems" or not (name := row.image_path("image")):
        return row.image("image")
    split = spellings(row.optional_text("split") or row.split)[-1]  # "minitest" is stored under "test"
    return (row.find(f"{row.text('id')}/{name}", f"images/{split}", split),)


def prompt(sample: Sample) -> str:
    """The usual prompt for answering with a letter. The context is part of the question."""
    return PROMPT.format(question=sample.question, choices=lettered(sample.choices, CHOICE))


SCIENCEQA = Dataset(
    name="scienceqa",
    load=lambda spec: PUBLISHED.load(spec, parse),
    prompt=prompt,
    grade=grading.grade,
    final_answer=grading.final_answer,
    prompt_template="|".join((PROMPT, CHOICE, CONTEXT)),
    published=PUBLISHED,
)
