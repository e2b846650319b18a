"""Streams the rows of a Parquet file within size limits: a few kilobytes may decode to terabytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extract.text import is_lfs_pointer, shortened
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.files import open_regular
from relope_jax.io.parquet import Footer, read_footer

BATCH, BATCH_BYTES = 1024, 2**23  # rows per read, and their usual size in bytes: images may be large
WORST = 2**29  # bytes of a batch in the worst case, when every row holds the largest value its row group can have
BUFFER = 2**20  # bytes read at a time
VALUE = 32  # bytes that a value takes at least as a Python object


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows, as dicts by column.

    Raises:
      ReLopeError: the file is not readable, has two columns with the same name, or decodes to more than `limits.TABLE`;
        or one of its rows is larger than `limits.IMAGE`.
    """
    try:
        with open_regular(path) as file:
            footer = read_footer(file, limits.JSON.bytes)
            limits.TABLE.require(max(footer.nbytes, VALUE * footer.values), f"{path}, decoded,")
            file.seek(0)
            # Without pre_buffer and buffer_size pyarrow keeps every row group it has read.
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER) as table:
                yield from _rows(table, footer, path)
    except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as error:  # also for dates and texts
        problem = "it is a Git LFS pointer" if _is_pointer(path) else shortened(first_line(error), 150)
        raise ReLopeError(f"{path} is not readable as Parquet: {problem}; download it again") from error


def _rows(table: pq.ParquetFile, footer: Footer, path: Path) -> Iterator[dict[str, Any]]:
    names = table.schema_arrow.names
    if len({*names}) < len(names):
        raise ReLopeError(f"{path} has several columns with the same name: {shortened(', '.join(names), 150)}")
    usual = footer.nbytes // max(1, footer.rows)
    rows = max(1, min(BATCH, BATCH_BYTES // max(1, usual), WORST // max(1, footer.largest)))
    decoded = 0
    for number, batch in enumerate(table.iter_batches(batch_size=rows)):
        decoded += _require_small_rows(batch, f"{path}, row", number * rows + 1)
        limits.TABLE.require(decoded, f"{path}, decoded,")
        yield from batch.to_pylist()


def _require_small_rows(batch: pa.RecordBatch, what: str, first: int) -> int:
    """Bytes of a batch in memory; raises ReLopeError when one of its rows takes more than `limits.IMAGE`."""
    size = sum(map(_decoded_size, batch.columns))
    if size > limits.IMAGE.bytes:
        for i in range(batch.num_rows):
            row = sum(map(_decoded_size, batch.slice(i, 1).columns))
            limits.IMAGE.require(row, f"{what} {first + i},")
    return size


def _decoded_size(array: pa.Array) -> int:
    """Bytes of an array in memory after its dictionaries are expanded."""
    match array:
        case pa.DictionaryArray():
            lengths = pc.binary_length(array.dictionary)
            return VALUE * len(array) + (pc.sum(lengths.take(array.indices)).as_py() or 0)
        case pa.ListArray() | pa.LargeListArray() | pa.FixedSizeListArray():
            return VALUE * len(array) + _decoded_size(array.flatten())
        case pa.StructArray():
            return VALUE * len(array) + sum(map(_decoded_size, array.flatten()))
    return max(VALUE * len(array), array.nbytes)


def _is_pointer(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return is_lfs_pointer(file.read(64))
    except OSError:
        return False
