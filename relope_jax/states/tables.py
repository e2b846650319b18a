"""Parquet tables from bytes, wherever a store lives."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def parse_table(data: bytes) -> pa.Table:
    """The table of a Parquet file's bytes."""
    # Not pq.read_table: its I/O threads may still hold the buffer, which is Python's, when Python ends, and abort.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return file.read(use_threads=False)
