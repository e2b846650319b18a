"""Your own data: one JSON object a line with `question`, `answer` and optionally `image` (a path, relative
to the file, or a list of them), `choices` (a list; `answer` is then a letter or a choice), `id` and `group`."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

from extract.datasets.base import Dataset, lettered
from extract.datasets.tables import json_lines
from extract.grading import choice_index, exact, multiple_choice
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

FIELDS = {"id", "group", "image", "question", "choices", "answer"}
PROMPT = "{question}"
CHOICE = "{letter}. {choice}"
CHOICE_PROMPT = "{question}\n{choices}\nAnswer with the letter of the right choice."


def load(spec: DatasetSpec) -> list[Sample]:
    """Read and check every line; a bad one is a ReLopeError with its line number."""
    path = Path(spec.path)
    if not spec.path or not path.is_file():
        raise ReLopeError(f"no such file '{spec.path}': name your data with --config.dataset.path=data.jsonl")
    samples = [_parse(raw, path, line) for line, raw in json_lines(path)]
    counts = collections.Counter(sample.sample_id for sample in samples)
    if twice := [sample_id for sample_id, count in counts.items() if count > 1]:
        raise ReLopeError(f"{path}: the id '{twice[0]}' appears more than once: ids must be unique")
    return samples


def _parse(raw: Any, path: Path, line: int) -> Sample:
    _check(raw, f"{path}:{line}")
    sample_id = str(raw.get("id", f"{path.stem}-{line:06d}"))
    images = _listed(raw.get("image"))
    group = raw.get("group")
    return Sample(
        sample_id=sample_id,
        group=str(group) if group is not None else images[0] if images else sample_id,
        question=raw["question"],
        answer=str(raw["answer"]),
        images=tuple(path.parent / image for image in images),
        choices=tuple(map(str, raw.get("choices") or ())),
    )


def _listed(image: str | list[str] | None) -> list[str]:
    return image if isinstance(image, list) else [image] if image else []


def _check(raw: Any, where: str) -> None:
    """Raise ReLopeError with the line's number when a field is missing, unknown or of the wrong kind."""
    if not isinstance(raw, dict) or not {"question", "answer"} <= raw.keys():
        raise ReLopeError(f"{where} needs the fields 'question' and 'answer'")
    if unknown := sorted(raw.keys() - FIELDS):
        raise ReLopeError(f"{where} has an unknown field '{unknown[0]}'; known: {', '.join(sorted(FIELDS))}")
    for field, kind in (("question", str), ("image", str | list | None), ("choices", list | None)):
        if not isinstance(raw.get(field), kind):
            raise ReLopeError(f"{where}: '{field}' is {raw[field]!r}; see docs/datasets.md for the format")
    if not all(isinstance(image, str) for image in _listed(raw.get("image"))):
        raise ReLopeError(f"{where}: 'image' is {raw['image']!r}; it must be a path or a list of paths")
    choices = tuple(map(str, raw.get("choices") or ()))
    if choices and choice_index(str(raw["answer"]), choices) is None:
        letters = ", ".join(chr(ord("A") + i) for i in range(len(choices)))
        raise ReLopeError(f"{where}: the answer {raw['answer']!r} is neither a choice nor one of {letters}")


def prompt(sample: Sample) -> str:
    """The question, with lettered choices when there are any."""
    if not sample.choices:
        return PROMPT.format(question=sample.question)
    return CHOICE_PROMPT.format(question=sample.question, choices=lettered(sample.choices, CHOICE))


def grade(sample: Sample, response: str) -> bool:
    """Multiple choice by letter or text, else exact match after normalisation."""
    if sample.choices:
        return multiple_choice(response, sample.answer, sample.choices)
    return exact.grade(sample, response)


def final_answer(sample: Sample, response: str) -> str:
    """The letter of the choice that the response names, else its normalised text."""
    index = choice_index(response, sample.choices) if sample.choices else None
    return chr(ord("A") + index) if index is not None else exact.final_answer(sample, response)


JSONL = Dataset("jsonl", load, prompt, grade, final_answer, prompt_template="|".join((PROMPT, CHOICE_PROMPT, CHOICE)))
