"""Small benchmark tables as files, for tests of their readers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from extract.datasets import get_dataset
from extract.sample import Sample
from extract.spec import DatasetSpec
from tests.extract.imaging.pictures import encoded

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade: int, kind: str = "PNG") -> bytes:
    return encoded(Image.new("RGB", (4, 3), (shade, 0, 0)), kind)


def embedded(shade: int) -> dict:
    """An image as stored in the hub's tables."""
    return {"bytes": picture(shade), "path": f"{shade}.png"}


def lines(path: Path, *rows: dict | str) -> Path:
    """A JSONL file. A row that is already text is written unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict], **types: pa.DataType) -> Path:
    """A Parquet file. Types of columns missing in `types` are inferred."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
    pq.write_table(pa.table(columns), path)
    return path


def load(name: str, path: Path, **more) -> list[Sample]:
    cache = (path if path.is_dir() else path.parent) / "cache"
    return get_dataset(name).load(DatasetSpec(name=name, path=str(path), image_cache=str(cache), **more))


def chartqa_row(**more) -> dict:
    return {"query": "How many?", "label": ["14"], "human_or_machine": 0, "image": embedded(1)} | more


def mathvision_row(**more) -> dict:
    row = {"id": "7", "question": "Compare.", "options": ["1", "2"], "answer": "B", "image": "images/7.jpg"}
    return row | {"decoded_image": embedded(7)} | more


def aokvqa_row(**more) -> dict:
    row = {"question_id": "22Mex", "question": "What?", "choices": ["a", "b", "c", "d"], "correct_choice_idx": 2}
    return row | {"image": embedded(5)} | more


def scienceqa_row(**more) -> dict:
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "", "image": embedded(3)}
    return row | more


def mmmu_row(**more) -> dict:
    images = {f"image_{k}": None for k in range(1, 8)} | {"image_1": embedded(1)}
    row = {"id": "v_1", "question": "What is <image 1>?", "options": "['a', 'b']", "answer": "B"}
    return row | {"question_type": "multiple-choice", **images} | more
