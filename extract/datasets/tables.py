"""Rows of a table in JSONL, JSON or Parquet, within limits; Parquet is read as a stream."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extract.datasets.rows import plain_fields
from extract.text import is_lfs_pointer, read_text, shortened
from relope_jax import limits
from relope_jax.errors import ReLopeError, first_line
from relope_jax.states.files import open_regular
from relope_jax.states.parquet import largest_column

BATCH = 16  # Parquet rows held at a time: a row may carry megabytes of images
ROW = 1000  # bytes that a row takes as Python objects, besides its columns
BUFFER = 1 << 20  # bytes read at a time


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(where, fields)` of every row of a .jsonl, .json or .parquet file, fields as `plain_fields` gives them.

    Raises:
      ReLopeError: the file cannot be read, or a row (the message names it) is none.
    """
    match path.suffix.lower():
        case ".parquet":
            rows = ((f"{path}, row {i}", fields) for i, fields in enumerate(_parquet(path), start=1))
        case ".json":
            rows = _json(path)
        case ".jsonl":
            return json_lines(path)
        case _:
            raise ReLopeError(f"{path} is no table: it must be a .jsonl, .json or .parquet file, or a folder of them")
    return ((where, plain_fields(where, fields)) for where, fields in rows)


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(where, fields)` of every line that is not empty; see `read_table`."""
    # Not splitlines(): it would cut a text at U+2028, which JSON allows.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, plain_fields(where, _parsed(line, where))


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows of a list, or of an object of rows by id."""
    content = _parsed(read_text(path), str(path))
    if isinstance(content, dict) and all(isinstance(row, dict) for row in content.values()):
        content = [{"id": key} | row for key, row in content.items()]
    if not isinstance(content, list):
        raise ReLopeError(f"{path} is neither a list of rows nor an object of rows by id")
    for number, row in enumerate(content, start=1):
        yield f"{path}, row {number}", row


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, its values plain; raises ReLopeError."""
    content = _parsed(read_text(path), str(path))
    if not isinstance(content, dict):
        raise ReLopeError(f"{path} is no object of ids by split")
    return plain_fields(str(path), content)


def _parsed(text: str, where: str) -> Any:
    limits.JSON.require(len(text), where)
    try:
        return _DECODER.decode(text)
    except _Twice as error:
        raise ReLopeError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ReLopeError(f"{where} is not JSON: {shortened(first_line(error), 150)}") from error


class _Twice(Exception):
    """An object with one name twice, of which Python would silently take the last."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1)
        raise _Twice(f"the field '{shortened(twice, 60)}' appears more than once")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        rows = _batch_rows(path)
        # Without these two settings pyarrow keeps every row group that it has passed.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
            names = file.schema_arrow.names
            if len({*names}) < len(names):
                raise ReLopeError(f"{path} has several columns of one name: {shortened(', '.join(names), 150)}")
            size = 0
            for batch in file.iter_batches(batch_size=rows):
                size += batch.nbytes + ROW * len(batch)
                limits.TABLE.require(size, path)
                yield from batch.to_pylist()
    except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as error:  # also of dates and texts
        problem = "it is a Git LFS pointer" if _is_pointer(path) else shortened(first_line(error), 150)
        raise ReLopeError(f"{path} is not readable as Parquet: {problem}; download it again") from error


def _batch_rows(path: Path) -> int:
    """How many rows may be held at a time: one text that is stored once may stand in all of them."""
    with open_regular(path) as file:
        largest = largest_column(file, limits.JSON.bytes)
    limits.TABLE.require(largest, path)
    return max(1, min(BATCH, limits.TABLE.bytes // max(largest, 1)))


def _is_pointer(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return is_lfs_pointer(file.read(64))
    except OSError:
        return False
