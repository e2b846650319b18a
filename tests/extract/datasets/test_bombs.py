"""Tables that would take too much memory or time are refused first, in one line."""

from __future__ import annotations

import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.datasets.mmmu import LONGEST_LIST
from relope_jax.errors import ReLopeError
from relope_jax.io.parquet import read_footer
from tests.extract.datasets.tables import IMAGE, chartqa_row, lines, load, mmmu_row, parquet
from tests.fuzz.watch import make_canary, watched

ASKED = {"question": "q", "answer": "a"}


@pytest.fixture(autouse=True)
def bounded(tmp_path):
    with watched(make_canary(tmp_path / "canary")):
        yield


def test_a_text_that_is_stored_once_and_stands_in_every_row(tmp_path, monkeypatch):
    """400 GB in a file of a few kilobytes."""
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "256")
    n = 200_000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 2_000_000]))
    path = tmp_path / "t.parquet"
    table = pa.table({"query": text, "label": ["1"] * n, "image": pa.nulls(n, IMAGE)})
    pq.write_table(table, path, store_schema=False, compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ReLopeError, match=r"t\.parquet.* above the limit .* RELOPE_MAX_TABLE_MB"):
        load("chartqa", path)


def test_rows_without_end(tmp_path, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "20")
    path = tmp_path / "t.parquet"
    n = 3_000_000
    pq.write_table(pa.table({"query": ["q"] * n, "label": ["1"] * n, "image": pa.nulls(n, IMAGE)}), path)
    with pytest.raises(ReLopeError, match="above the limit of 20"):
        load("chartqa", path)


def test_a_table_within_the_limit_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "1")
    path = parquet(tmp_path / "t.parquet", [chartqa_row(query=f"q{i}") for i in range(200)], image=IMAGE)
    assert len(load("chartqa", path)) == 200


def test_long_lines_and_large_files_of_json(tmp_path, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_JSON_MB", "1")
    data = tmp_path / "data.jsonl"
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2 .* RELOPE_MAX_JSON_MB"):
        load("jsonl", lines(data, ASKED, ASKED | {"group": "x" * 2_000_000}))
    with pytest.raises(ReLopeError, match=r"t\.json .* RELOPE_MAX_JSON_MB"):
        load("chartqa", lines(tmp_path / "t.json", [chartqa_row(image="x" * 2_000_000)]))
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "1")
    with pytest.raises(ReLopeError, match=r"data\.jsonl .* RELOPE_MAX_TABLE_MB"):
        load("jsonl", data)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"question": ' + "[" * 900 + "]" * 900 + ', "answer": "a"}',
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        '{"question": "q", "answer": ' + "9" * 100_000 + "}",
        '{"question": "q", "answer": NaN}',
        '{"question": "q", "answer": [' + "null," * 1_000_000 + "null]}",
        '{"question": "q", "answer": "a", "image": [' + '"",' * 100_000 + '""]}',
    ],
    ids=["deep list", "deep field", "deep object", "long number", "NaN", "nulls", "images"],
)
def test_odd_json_costs_a_line(tmp_path, line):
    for name, path in (("jsonl", tmp_path / "data.jsonl"), ("chartqa", tmp_path / "t.json")):
        path.write_text(line)
        with pytest.raises(ReLopeError) as caught:
            load(name, path)
        assert len(str(caught.value)) < 1000


LISTS = ["[" * 100_000, "[" + "'a'," * (LONGEST_LIST // 4) + "]", "['a'" + "+'a'" * 20_000 + "]"]


@pytest.mark.parametrize("options", LISTS, ids=["deep", "long", "sum"])
def test_lists_as_python_source_are_bounded(tmp_path, options):
    row = {name: value for name, value in mmmu_row(options=options).items() if not name.startswith("image")}
    with pytest.raises(ReLopeError, match=r":1: "):
        load("mmmu", lines(tmp_path / "t.jsonl", row))


def test_a_damaged_footer_costs_a_line(tmp_path):
    """Some of these crash pyarrow's own metadata reader."""
    path = parquet(tmp_path / "t.parquet", [chartqa_row(query=f"q{i}") for i in range(3)], image=IMAGE)
    data, rng = path.read_bytes(), random.Random(0)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    read, line = 0, ""
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 6])):
            changed[rng.randrange(start, len(data))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            load("chartqa", path)
            read += 1
        except ReLopeError as error:
            line = str(error)
        assert "\n" not in line
    assert read < 250


def test_a_footer_counts_what_pyarrow_counts(tmp_path):
    path = parquet(tmp_path / "t.parquet", [chartqa_row(query="q" * 1000 * i) for i in range(1, 5)], image=IMAGE)
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    size = sum(column.total_uncompressed_size for column in columns)
    with path.open("rb") as file:
        assert read_footer(file, 2**20) == (4, sum(column.num_values for column in columns), size, size)


def test_a_pipe_is_no_table(tmp_path):
    for name, dataset in (("data.jsonl", "jsonl"), ("t.json", "chartqa"), ("t.parquet", "chartqa")):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ReLopeError, match=name):
            load(dataset, tmp_path / name)
