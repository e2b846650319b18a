"""ChartQA: questions about charts, written by people or generated. Answers are numbers or short texts."""

from __future__ import annotations

from pathlib import Path

from extract.datasets.base import Dataset
from extract.datasets.published import Published
from extract.datasets.reading.rows import Row
from extract.grading import chartqa
from extract.sample import Sample

PUBLISHED = Published(
    "chartqa",
    hub="HuggingFaceM4/ChartQA",
    split="test",
    tables=("{split}/{split}_*.json", "ChartQA Dataset/{split}/{split}_*.json"),
    needs_image=True,
)
ASKED_BY = {"0": "human", "human": "human", "1": "augmented", "machine": "augmented"}  # 0 and 1 on the hub
PROMPT = "{question}\nAnswer the question using a single word or phrase."


def parse(row: Row) -> Sample:
    """A sample from a row of the repository's JSON, of HuggingFaceM4/ChartQA or of lmms-lab/ChartQA."""
    answers = row.answers("label", "answer")
    return Sample(
        sample_id=f"{_kind(row)}-{row.number:05d}",
        group="",
        question=row.text("query", "question"),
        answer=answers[0],
        images=row.image("image") if "image" in row.fields else _file(row),
        accepted=answers[1:],
    )


def _file(row: Row) -> tuple[Path, ...]:
    row.get("imgname")  # raises for a table that has neither column
    return row.image("imgname", "png")


def _kind(row: Row) -> str:
    """Who wrote the question, "human" or "augmented", else the split. Part of the id: results are reported per kind."""
    if row.has("human_or_machine"):
        return ASKED_BY.get(row.text("human_or_machine"), row.split)
    named = row.optional_text("type") or row.table
    return next((kind for kind in ("human", "augmented") if kind in named), row.split)


CHARTQA = Dataset(
    name="chartqa",
    load=lambda spec: PUBLISHED.load(spec, parse),
    prompt=lambda sample: PROMPT.format(question=sample.question),
    grade=chartqa.grade,
    final_answer=chartqa.final_answer,
    prompt_template=PROMPT,
    published=PUBLISHED,
)
