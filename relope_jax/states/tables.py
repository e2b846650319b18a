"""Parquet tables from bytes, wherever a store lives."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def parse_table(data: bytes) -> pa.Table:
    """The table of a Parquet file's bytes."""
    # In this thread alone: another may still hold the buffer, which is Python's, when Python has ended.
    return pq.read_table(pa.BufferReader(data), use_threads=False, pre_buffer=False)
