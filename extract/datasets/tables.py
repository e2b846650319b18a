"""Rows of a table in JSONL, JSON or Parquet, checked field by field; Parquet is read as a stream."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from relope_jax.errors import ReLopeError, first_line

BATCH = 16  # Parquet rows held at a time: a row may carry megabytes of images
BUFFER = 1 << 20  # bytes read at a time


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a benchmark's table.

    Attributes:
      where: names the row in messages.
      number: its position in the whole split, from 0.
      split: the published split that is being read.
      folder: that paths in the row are relative to.
      table: name of the file, without its suffix.
      fields: the columns; an image that was embedded in the table is the Path of its unpacked file.
    """

    where: str
    number: int
    split: str
    folder: Path
    table: str
    fields: Mapping[str, Any]

    def bad(self, problem: str) -> ReLopeError:
        """An error that names the row."""
        return ReLopeError(f"{self.where}: {problem}")

    def unanswered(self, labelled: str) -> ReLopeError:
        """The error for a row of a split whose answers are not published."""
        return self.bad(f"the answers of this split are not published: --config.dataset.benchmark_split={labelled}")

    def get(self, *names: str) -> Any:
        """The first of the fields `names` that the row has."""
        for name in names:
            if name in self.fields:
                return self.fields[name]
        raise self.bad(f"no field '{names[0]}'; it has {', '.join(self.fields)}")

    def text(self, *names: str) -> str:
        """A field that must be text; numbers are taken as they are written."""
        value = self.get(*names)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.bad(f"'{names[0]}' is {_short(value)}, not text")
        return str(value)

    def texts(self, *names: str) -> tuple[str, ...]:
        """A field that must be a list of texts."""
        value = self.get(*names)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.bad(f"'{names[0]}' is {_short(value)}, not a list of texts")
        return tuple(value)

    def letter(self, name: str, choices: tuple[str, ...]) -> str:
        """The letter of the choice whose index, from 0, a field holds."""
        index = self.get(name)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
            raise self.bad(f"'{name}' is {_short(index)}, no index of one of the {len(choices)} choices")
        return chr(ord("A") + index)

    def image(self, name: str, *roots: str) -> tuple[Path, ...]:
        """The image in a field: unpacked, or a path below the first folder of `roots` that exists; () for none."""
        value = self.fields.get(name)
        if isinstance(value, Path):
            return (value,)
        if value is not None and not isinstance(value, str):
            raise self.bad(f"'{name}' is {_short(value)}, no image")
        return (self.find(value, *roots),) if value else ()

    def find(self, name: str, *roots: str) -> Path:
        """The path of a file below the first folder of `roots`, relative to the table, that exists."""
        folders = [self.folder / root for root in roots or (".",)]
        found = next((folder for folder in folders if folder.is_dir()), None)
        if found is None:
            raise self.bad(f"no folder of images {' or '.join(map(str, folders))}: put the benchmark's images there")
        return found / name


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(where, fields)` of every row of a .jsonl, .json or .parquet file."""
    match path.suffix:
        case ".parquet":
            rows = ((f"{path}, row {i}", fields) for i, fields in enumerate(_parquet(path), start=1))
        case ".json":
            rows = _json(path)
        case ".jsonl":
            rows = ((f"{path}:{line}", fields) for line, fields in json_lines(path))
        case _:
            raise ReLopeError(f"{path} is no table: it must be a .jsonl, .json or .parquet file, or a folder of them")
    for where, fields in rows:
        if not isinstance(fields, dict):
            raise ReLopeError(f"{where} is no row of named fields but {_short(fields)}")
        yield where, fields


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """`(line, value)` of every line that is not empty."""
    # Not splitlines(): it would cut a text at U+2028, which JSON allows.
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise ReLopeError(f"{path}:{number} is not JSON: {error}") from error


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows of a list, or of an object of rows by id."""
    try:
        content = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise ReLopeError(f"{path} is not JSON: {error}") from error
    if isinstance(content, dict) and all(isinstance(row, dict) for row in content.values()):
        content = [{"id": key} | row for key, row in content.items()]
    if not isinstance(content, list):
        raise ReLopeError(f"{path} is neither a list of rows nor an object of rows by id")
    for number, row in enumerate(content, start=1):
        yield f"{path}, row {number}", row


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReLopeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReLopeError(f"{path} is not UTF-8 text: {error}") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        # Without these two settings pyarrow keeps every row group that it has passed.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:  # also a Git LFS pointer in place of the file
        raise ReLopeError(f"{path} is not readable as Parquet: {first_line(error)}; download it again") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
