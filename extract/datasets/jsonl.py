"""Your own data: one JSON object a line with `question`, `answer` and optionally `image` (a path, relative
to the file), `choices` (a list; `answer` is then a letter or a choice), `id` and `group`."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

from extract.datasets.base import Dataset, Sample
from extract.grading import choice_index, exact_match, multiple_choice
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

FIELDS = {"id", "group", "image", "question", "choices", "answer"}
PROMPT = "{question}"
CHOICE_PROMPT = "{question}\n{choices}\nAnswer with the letter of the right choice."


def load(spec: DatasetSpec) -> list[Sample]:
    """Read and check every line; a bad one is a ReLopeError with its line number."""
    path = Path(spec.path)
    if not spec.path or not path.is_file():
        raise ReLopeError(f"no such file '{spec.path}': name your data with --config.dataset.path=data.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ReLopeError(f"{path} is not UTF-8 text: {error}") from error
    samples = [
        _parse(line, f"{path}:{number}", path, f"{path.stem}-{number:06d}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    counts = collections.Counter(sample.sample_id for sample in samples)
    if twice := [sample_id for sample_id, count in counts.items() if count > 1]:
        raise ReLopeError(f"{path}: the id '{twice[0]}' appears more than once: ids must be unique")
    return samples


def _parse(line: str, where: str, path: Path, default_id: str) -> Sample:
    try:
        raw: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise ReLopeError(f"{where} is not JSON: {error}") from error
    _check(raw, where)
    sample_id = str(raw.get("id", default_id))
    image = raw.get("image")
    group = raw.get("group")
    return Sample(
        sample_id=sample_id,
        group=str(group if group is not None else image or sample_id),
        question=raw["question"],
        answer=str(raw["answer"]),
        image=path.parent / image if image else None,
        choices=tuple(map(str, raw.get("choices") or ())),
    )


def _check(raw: Any, where: str) -> None:
    """Raise ReLopeError with the line's number when a field is missing, unknown or of the wrong kind."""
    if not isinstance(raw, dict) or not {"question", "answer"} <= raw.keys():
        raise ReLopeError(f"{where} needs the fields 'question' and 'answer'")
    if unknown := sorted(raw.keys() - FIELDS):
        raise ReLopeError(f"{where} has an unknown field '{unknown[0]}'; known: {', '.join(sorted(FIELDS))}")
    for field, kind in (("question", str), ("image", str | None), ("choices", list | None)):
        if not isinstance(raw.get(field), kind):
            raise ReLopeError(f"{where}: '{field}' is {raw[field]!r}; see the README for the format")
    choices = tuple(map(str, raw.get("choices") or ()))
    if choices and choice_index(str(raw["answer"]), choices) is None:
        letters = ", ".join(chr(ord("A") + i) for i in range(len(choices)))
        raise ReLopeError(f"{where}: the answer {raw['answer']!r} is neither a choice nor one of {letters}")


def prompt(sample: Sample) -> str:
    """The question, with lettered choices when there are any."""
    if not sample.choices:
        return PROMPT.format(question=sample.question)
    lines = [f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(sample.choices)]
    return CHOICE_PROMPT.format(question=sample.question, choices="\n".join(lines))


def grade(sample: Sample, response: str) -> bool:
    """Multiple choice by letter or text, else exact match after normalisation."""
    if sample.choices:
        return multiple_choice(response, sample.answer, sample.choices)
    return exact_match(response, sample.answer)


JSONL = Dataset("jsonl", load, prompt, grade, prompt_template=f"{PROMPT}|{CHOICE_PROMPT}")
