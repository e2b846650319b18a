"""Datasets from strangers: loading any table costs at most one error line and opens no file outside."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.datasets import get_dataset
from extract.imaging.images import LeftOut, read_image
from extract.spec import DatasetSpec
from relope_jax.io.inside import leads_inside
from tests.extract.datasets.tables import aokvqa_row, chartqa_row, mathvision_row, picture
from tests.fuzz.mutations import empty, json_bytes, mutate_file, mutate_json
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.subjects import refusable
from tests.fuzz.watch import make_canary, watched

JSONL = [
    {"id": "1", "question": "What? <image 1>", "answer": "a", "image": "images/1.png", "group": "g"},
    {"id": "2", "question": "What?", "answer": ["a", "b"], "image": ["images/1.png", "images/2.png"]},
    {"id": "3", "question": "What?", "answer": "A", "choices": ["x", "y"]},
    {"id": "4", "question": "What?", "answer": 7, "image": base64.b64encode(picture(9)).decode()},
]
ROWS: dict[str, list[dict]] = {
    "chartqa": [chartqa_row(), chartqa_row(query="And?")],
    "mathvision": [mathvision_row(), mathvision_row(id="8")],
    "aokvqa": [aokvqa_row(), aokvqa_row(question_id="b")],
}


def write_jsonl(folder: Path) -> Path:
    for shade in (1, 2):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{shade}.png").write_bytes(picture(shade))
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in JSONL))
    return path


def write_parquet(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "table.parquet"
        pq.write_table(pa.Table.from_pylist(ROWS[name]), path)
        return path

    return write


WRITERS = {"jsonl": write_jsonl} | {name: write_parquet(name) for name in ROWS}


def load(name: str, path: Path) -> list:
    samples = get_dataset(name).load(DatasetSpec(name=name, path=str(path), image_cache=str(path.parent / "cache")))
    for sample in samples:
        for image in sample.images:
            try:
                read_image(image)
            except LeftOut:
                continue
    return samples


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_table_costs_a_line(name, tmp_path, examples, capsys):
    outside = make_canary(tmp_path)
    folder = tmp_path / "inside" / "data" / "set"
    assert load(name, WRITERS[name](folder))

    def attempt(rng: random.Random) -> None:
        empty(folder)
        path = WRITERS[name](folder)
        if path.suffix == ".jsonl" and rng.random() < 0.5:
            rows = [mutate_json(json.loads(line), rng, outside) for line in path.read_text().splitlines()]
            path.write_bytes(b"\n".join(map(json_bytes, rows)))
        else:
            mutate_file(rng.choice(sorted(file for file in folder.rglob("*") if file.is_file())), rng, outside)
        if not leads_inside(tmp_path / "inside", path):
            return  # the user gives the table, which may be a link
        with watched(outside):
            refusable(lambda: load(name, path))

    repeated(attempt, examples)
