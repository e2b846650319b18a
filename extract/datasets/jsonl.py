"""Your own data, one JSON object per line: `question` and `answer` (a text or a list of right answers). Optional:
`image` (a path relative to the file, an encoded image, or a list of those), `choices` (a list; `answer` is a letter
or a choice), `id` and `group`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from extract.datasets.base import Dataset, lettered
from extract.datasets.reading.fence import Fence
from extract.datasets.reading.images import embedded_or_path, report_missing
from extract.datasets.reading.rows import Row, read_samples
from extract.datasets.reading.tables import json_lines
from extract.datasets.reading.values import shown
from extract.grading import choice_index, exact, multiple_choice, reference_index
from extract.imaging.places import unplaced
from extract.sample import Sample
from extract.spec import DatasetSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError

FIELDS = {"id", "group", "image", "question", "choices", "answer"}
PROMPT = "{question}"
CHOICE = "{letter}. {choice}"
CHOICE_PROMPT = "{question}\n{choices}\nAnswer with the letter of the right choice."


def load(spec: DatasetSpec) -> list[Sample]:
    """Read and check every line. A bad line raises ReLopeError with its line number."""
    path = Path(spec.path)
    if not spec.path or not path.is_file():
        raise ReLopeError(f"no such file '{spec.path}': name your data with --config.dataset.path=data.jsonl")
    fence = Fence.around(path.parent, outside=spec.outside)
    samples = read_samples(_rows(path, Path(spec.image_cache) / "jsonl", fence), _parse)
    if not samples:
        raise ReLopeError(f"{path} has no lines: write one JSON object per line")
    report_missing(samples)
    return samples


def _rows(path: Path, cache: Path, fence: Fence) -> Iterator[Row]:
    folder, table = path.parent, path.stem
    for number, (where, fields) in enumerate(json_lines(path)):
        yield Row(where, fields, folder, cache, number, table=table, fence=fence)


def _parse(row: Row) -> Sample:
    if not {"question", "answer"} <= row.fields.keys():
        raise ReLopeError(f"{row.where} needs the fields 'question' and 'answer'")
    if unknown := sorted(row.fields.keys() - FIELDS):
        raise row.bad(f"unknown field '{shortened(unknown[0], 60)}'; known: {', '.join(sorted(FIELDS))}")
    line = int(row.where.rpartition(":")[2])
    sample_id = row.text("id") if row.has("id") else f"{row.table}-{line:06d}"
    question, choices, images = row.text("question"), row.choices("choices"), row.images("image")
    answers = row.answers("answer")
    for answer in answers if choices else ():
        if reference_index(answer, choices) is None:
            letters = ", ".join(chr(ord("A") + i) for i in range(len(choices)))
            raise row.bad(f"the answer {shown(row.get('answer'))} is neither a choice nor one of {letters}")
    return Sample(
        sample_id=sample_id,
        group=row.optional_text("group") or _first_image(row, images) or sample_id,
        question=question,
        answer=answers[0],
        images=images,
        choices=choices,
        accepted=answers[1:],
        missing=unplaced((question, *choices), len(images)),
    )


def _first_image(row: Row, images: tuple[Path, ...]) -> str:
    """The first image: as written in the line, or the digest of an embedded image."""
    if not images:
        return ""
    named = row.get("image")
    path = embedded_or_path(named[0] if isinstance(named, list) else named)
    return path if isinstance(path, str) else images[0].stem


def prompt(sample: Sample) -> str:
    """The question, with lettered choices when there are any."""
    if not sample.choices:
        return PROMPT.format(question=sample.question)
    return CHOICE_PROMPT.format(question=sample.question, choices=lettered(sample.choices, CHOICE))


def grade(sample: Sample, response: str) -> bool:
    """Multiple choice by letter or text, else exact match after normalisation."""
    if sample.choices:
        return any(multiple_choice(response, a, sample.choices) for a in (sample.answer, *sample.accepted))
    return exact.grade(sample, response)


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice that the response names, else the normalised text of the response."""
    index = choice_index(response, sample.choices) if sample.choices else None
    return chr(ord("A") + index) if index is not None else exact.final_answer(sample, response)


JSONL = Dataset("jsonl", load, prompt, grade, final_answer, prompt_template="|".join((PROMPT, CHOICE_PROMPT, CHOICE)))
