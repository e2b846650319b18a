"""Parquet files from anywhere: one error line if they are damaged or decode to far more memory than their size."""

from __future__ import annotations

import io
import resource
import struct
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.io.tables import parse_table
from relope_jax.states.writer import SAMPLE_SCHEMA
from tests.relope_jax.states.hostile import line_of

LIMIT_MB = 64
MANY = 200_000
LONG = "x" * 10_000_000
REPEATED = pa.DictionaryArray.from_arrays(pa.array(np.zeros(MANY, np.int32)), pa.array([LONG]))
ZEROS = pa.array(np.zeros(10_000_000, np.int8))


def parquet(table: pa.Table, **how) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    return buffer.getvalue()


def one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def samples(n: int = 60) -> pa.Table:
    rows = [
        {
            "sample_id": str(i),
            "group": f"g{i % 7}",
            "split": "train",
            "question": f"what is {i % 5}?",
            "label": i % 2,
            "images": [f"{i}.png"] * (i % 3),
            "contents": [f"{i:064}", "ä"],
            "n_tokens": 3,
            "token_logprobs": [-0.5] * (i % 4),
        }
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA)


WHOLE = parquet(samples(), row_group_size=25)


@pytest.mark.parametrize("how", [{}, {"compression": "none"}, {"compression": "zstd"}, {"use_dictionary": False},
                                 {"row_group_size": 5000}, {"data_page_version": "2.0"}, {"store_schema": False},
                                 {"data_page_size": 10}, {"write_statistics": False}], ids=str)  # fmt: skip
def test_a_table_is_what_pyarrow_reads(how):
    for table in (samples(), samples(0), samples(1), samples(40_000)):
        assert parse_table(parquet(table, **how), "t", SAMPLE_SCHEMA).equals(table)


# Each is built by its own test: together they take seconds, which every worker would spend while it collects tests.
BOMBS = {
    "text": lambda: parquet(pa.table({"a": REPEATED})),
    "text without schema": lambda: parquet(pa.table({"a": REPEATED}), store_schema=False),
    "text in groups": lambda: parquet(pa.table({"a": REPEATED}), row_group_size=50_000, data_page_version="2.0"),
    "texts in a list": lambda: parquet(pa.table({"a": one_list(REPEATED)})),
    "texts in a struct": lambda: parquet(pa.table({"a": pa.StructArray.from_arrays([REPEATED], ["b"])})),
    "nulls": lambda: parquet(pa.table({"a": pa.nulls(100_000_000, pa.int8())})),
    "numbers": lambda: parquet(pa.table({f"c{i}": ZEROS for i in range(8)})),
    "numbers in lists": lambda: parquet(pa.table({f"c{i}": one_list(ZEROS) for i in range(8)})),
    "pages": lambda: parquet(
        pa.table({"a": ["x" * 10**6] * 120}), use_dictionary=False, compression="zstd", row_group_size=10
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_table_that_takes_more_memory_than_the_limit_costs_a_line(name, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", str(LIMIT_MB))
    data = BOMBS[name]()
    assert len(data) < 10e6
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert line_of(lambda: parse_table(data, "the table"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024
    assert time.monotonic() - start < 5


def test_the_limit_can_be_raised(monkeypatch):
    data = parquet(pa.table({"a": ["x" * 10**6] * 20}))
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "10")
    with pytest.raises(ReLopeError, match="RELOPE_MAX_TABLE_MB"):
        parse_table(data, "the table")
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "100")
    assert parse_table(data).nbytes > 20e6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1" + bytes(8) + b"PAR1",
        b"x" * 100,
        WHOLE[:-1],
        WHOLE[1:],
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:-8] + struct.pack("<I", 2**31) + b"PAR1",
        WHOLE[:-8] + struct.pack("<I", 0) + b"PAR1",
        WHOLE[:-8] + struct.pack("<I", len(WHOLE) - 12) + b"PAR1",
        b"PAR1" + b"\x1c" * 10**5 + struct.pack("<I", 10**5) + b"PAR1",  # nested structs
        b"PAR1" + b"\x19\xfc" + b"\xff" * 9 + b"\x01" + struct.pack("<I", 12) + b"PAR1",  # a list of 2^63 structs
        b"PAR1" + b"\x16" + b"\xff" * 100 + struct.pack("<I", 101) + b"PAR1",  # a number without end
        parquet(pa.table({"a": ["x" * 10**6] * 100}), use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"}),
        parquet(pa.table({"a": pa.array([b"xx"], pa.binary(2))})),
    ],
)
def test_a_file_that_is_no_table_of_ours_costs_a_line(data):
    assert "not a valid Parquet file" in line_of(lambda: parse_table(data, "the table"))


@settings(max_examples=400, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4), footer=st.booleans())
def test_changed_bytes_cost_a_line(changes, footer):
    """Especially in the footer, where some changes crash pyarrow's own metadata reader."""
    data, first = bytearray(WHOLE), len(WHOLE) - int.from_bytes(WHOLE[-8:-4], "little") - 8 if footer else 0
    for where, value in changes:
        data[min(len(data) - 1, first + int(where * (len(data) - first)))] = value
    line_of(lambda: parse_table(bytes(data), "the table", SAMPLE_SCHEMA))
    line_of(lambda: parse_table(bytes(data), "the table"))


@pytest.mark.parametrize("name", ["question", "contents"])
def test_bytes_that_are_no_text_cost_a_line(name):
    table = samples()
    i, kind = table.schema.get_field_index(name), pa.list_(pa.binary()) if name == "contents" else pa.binary()
    broken = pa.array([[b"\xff\xfe"] if name == "contents" else b"\xff\xfe"] * len(table), kind)
    as_text = broken.view(table.schema.field(name).type) if name == "question" else broken
    data = parquet(table.set_column(i, name, as_text))
    assert "not a valid Parquet file" in line_of(lambda: parse_table(data, "the table", SAMPLE_SCHEMA))
