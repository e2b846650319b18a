"""Parquet tables from bytes, wherever a store lives, and what older ones lack."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def parse_table(data: bytes) -> pa.Table:
    """The table of a Parquet file's bytes."""
    # Not pq.read_table: its I/O threads may still hold the buffer, which is Python's, when Python ends, and abort.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return file.read(use_threads=False)


def stack_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables back to back; a column that older ones lack is null there."""
    return pa.concat_tables(tables, promote_options="default")


def prompts_of(samples: pa.Table) -> list[str]:
    """What the small model was asked, in words; older stores kept the bare question, without its choices, alone."""
    if "prompt" not in samples.column_names:
        return samples["question"].to_pylist()
    return pc.coalesce(samples["prompt"], samples["question"]).to_pylist()
