"""Rows of a Parquet file as a stream, within stated sizes: a few kilobytes of one may stand for terabytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extract.text import is_lfs_pointer, shortened
from relope_jax import limits
from relope_jax.errors import ReLopeError, first_line
from relope_jax.states.files import open_regular

BATCH, BATCH_BYTES = 1024, 2**23  # rows that are read at a time, and how much they take usually: images may be large
WORST = 2**29  # bytes of a batch at worst: when every row holds the largest value that its row group can have
BUFFER = 2**20  # bytes read at a time
VALUE = 32  # bytes that a value takes at least, as a Python object


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows, by column.

    Raises:
      ReLopeError: it is not readable, has two columns of one name, or takes more than `limits.TABLE` decoded, or one of
        its rows more than `limits.IMAGE`.
    """
    try:
        with open_regular(path) as file:
            _require_short_footer(file, path)
            # Without pre_buffer and buffer_size pyarrow keeps every row group that it has passed.
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER) as table:
                yield from _rows(table, path)
    except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as error:  # also of dates and texts
        problem = "it is a Git LFS pointer" if _is_pointer(path) else shortened(first_line(error), 150)
        raise ReLopeError(f"{path} is not readable as Parquet: {problem}; download it again") from error


def _rows(table: pq.ParquetFile, path: Path) -> Iterator[dict[str, Any]]:
    names = table.schema_arrow.names
    if len({*names}) < len(names):
        raise ReLopeError(f"{path} has several columns of one name: {shortened(', '.join(names), 150)}")
    groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    values = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    sizes = [sum(group.column(i).total_uncompressed_size for i in range(group.num_columns)) for group in groups]
    limits.TABLE.require(max(sum(sizes), VALUE * values), f"{path}, decoded,")
    usual, largest = sum(sizes) // max(1, table.metadata.num_rows), max(sizes, default=0)
    rows = max(1, min(BATCH, BATCH_BYTES // max(1, usual), WORST // max(1, largest)))
    decoded = 0
    for number, batch in enumerate(table.iter_batches(batch_size=rows)):
        decoded += _require_small_rows(batch, f"{path}, row", number * rows + 1)
        limits.TABLE.require(decoded, f"{path}, decoded,")
        yield from batch.to_pylist()


def _require_small_rows(batch: pa.RecordBatch, what: str, first: int) -> int:
    """Bytes that a batch takes; raises ReLopeError when one of its rows takes more than `limits.IMAGE`."""
    size = sum(map(_decoded_size, batch.columns))
    if size > limits.IMAGE.bytes:
        for i in range(batch.num_rows):
            row = sum(map(_decoded_size, batch.slice(i, 1).columns))
            limits.IMAGE.require(row, f"{what} {first + i},")
    return size


def _decoded_size(array: pa.Array) -> int:
    """Bytes that an array takes once its dictionaries are written out."""
    match array:
        case pa.DictionaryArray():
            lengths = pc.binary_length(array.dictionary)
            return VALUE * len(array) + (pc.sum(lengths.take(array.indices)).as_py() or 0)
        case pa.ListArray() | pa.LargeListArray() | pa.FixedSizeListArray():
            return VALUE * len(array) + _decoded_size(array.flatten())
        case pa.StructArray():
            return VALUE * len(array) + sum(map(_decoded_size, array.flatten()))
    return max(VALUE * len(array), array.nbytes)


def _require_short_footer(file: BufferedReader, path: Path) -> None:
    """Raise ReLopeError when what describes the table is longer than `limits.JSON`."""
    size = os.fstat(file.fileno()).st_size
    if size >= 12:
        file.seek(size - 8)
        length, mark = int.from_bytes(file.read(4), "little"), file.read(4)
        limits.JSON.require(length if mark == b"PAR1" else 0, f"the footer of {path}")
    file.seek(0)


def _is_pointer(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return is_lfs_pointer(file.read(64))
    except OSError:
        return False
