"""Rows of a table in JSONL, JSON or Parquet, within limits. JSONL and Parquet are streamed."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.datasets.reading.parquet import parquet_rows
from extract.datasets.reading.rows import plain_fields
from extract.datasets.reading.textfile import read_lines, read_text
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line

MOST_VALUES = 5_000_000  # in one JSON file or line: as Python objects they take up to 1 GB


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(where, fields)` of every row in a .jsonl, .json or .parquet file; the fields come from `plain_fields`.

    Raises:
      ReLopeError: the file cannot be read, or an entry, which the message names, is not a row.
    """
    rows: Iterator[tuple[str, Any]]
    match path.suffix.lower():
        case ".parquet":
            rows = ((f"{path}, row {i}", fields) for i, fields in enumerate(parquet_rows(path), start=1))
        case ".json":
            rows = _json(path)
        case ".jsonl":
            return json_lines(path)
        case _:
            raise ReLopeError(f"{path} is not a table: use a .jsonl, .json or .parquet file, or a folder of them")
    return ((where, plain_fields(where, fields)) for where, fields in rows)


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(where, fields)` of every non-empty line; see `read_table`."""
    for number, line in read_lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield where, plain_fields(where, _parsed(line, where))


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a list, or of an object that maps ids to rows."""
    content = _parsed(read_text(path), str(path))
    if isinstance(content, dict) and all(isinstance(row, dict) for row in content.values()):
        content = [{"id": key} | row for key, row in content.items()]
    if not isinstance(content, list):
        raise ReLopeError(f"{path} is neither a list of rows nor an object of rows by id")
    for number, row in enumerate(content, start=1):
        yield f"{path}, row {number}", row


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, as plain values; raises ReLopeError if there is none."""
    content = _parsed(read_text(path), str(path))
    if not isinstance(content, dict):
        raise ReLopeError(f"{path} is not an object of ids by split")
    return plain_fields(str(path), content)


def _parsed(text: str, where: str) -> Any:
    if sum(map(text.count, ",[{")) > MOST_VALUES:
        raise ReLopeError(f"{where} holds more than {MOST_VALUES:,} values: split it, or write it as Parquet")
    try:
        return _DECODER.decode(text)
    except _Twice as error:
        raise ReLopeError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:  # also for a number with thousands of digits
        raise ReLopeError(f"{where} is not JSON: {shortened(first_line(error), 150)}") from error


class _Twice(Exception):
    """An object with a repeated name, for which Python would silently keep the last value."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1)
        raise _Twice(f"the field '{shortened(twice, 60)}' appears more than once")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
