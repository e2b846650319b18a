"""Reads untrusted safetensors files: the header is checked against the file size before memory is allocated."""

from __future__ import annotations

import math
import os
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.files import open_regular, parse_json
from relope_jax.io.inside import shown_name
from relope_jax.io.typed import is_of

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
HEADER, METADATA = 8, "__metadata__"  # bytes of the length field, and the header entry that is not a tensor
MOST_AXES = 8


class _Entry(NamedTuple):
    """The location of one tensor, in bytes after the header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """An open safetensors file with a checked header: offsets, shapes and dtypes agree with the file's size.

    Attributes:
      metadata: the strings stored with the tensors.
      shapes: the shape of every tensor; together they fill the file after its header.

    Raises:
      ReLopeError: it is not a safetensors file, is damaged, has a dtype other than 16, 32 or 64 bit floats, or is
        larger than `limits.TENSORS`.
      OSError: it cannot be opened.
    """

    def __init__(self, path: str | Path):
        self.path = path
        self._file = open_regular(path)
        try:
            size = os.fstat(self._file.fileno()).st_size
            limits.TENSORS.require(size, path)
            self.metadata, self._entries, self._start = _header(self._file, size)
        except (ValueError, OverflowError) as error:
            self._file.close()
            raise ReLopeError(f"{path} is not a valid safetensors file: {first_line(error)}") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {entry.name: entry.shape for entry in self._entries}

    def read(self) -> dict[str, np.ndarray]:
        """All tensors, by name."""
        return {entry.name: self._tensor(entry) for entry in self._entries}

    def _tensor(self, entry: _Entry) -> np.ndarray:
        self._file.seek(self._start + entry.begin)
        data = bytearray(entry.end - entry.begin)  # writable, as arrays usually are
        if self._file.readinto(data) != len(data):
            raise ReLopeError(f"{self.path} was truncated while it was read")
        return np.frombuffer(data, entry.dtype.newbyteorder("<")).astype(entry.dtype, copy=False).reshape(entry.shape)


def read_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors and the metadata of a safetensors file; raises as `TensorFile` does."""
    with TensorFile(path) as file:
        return file.read(), file.metadata


def _header(file: BufferedReader, size: int) -> tuple[dict[str, str], list[_Entry], int]:
    """Metadata, tensor entries and the offset of the data; raises ValueError if the header does not match the file."""
    length = int.from_bytes(file.read(HEADER), "little")
    start = HEADER + length
    if size < HEADER or start > size:
        raise ValueError(f"its header of {length} bytes does not fit into its {size} bytes")
    limits.JSON.require(length, f"the header of {file.name}")
    header = parse_json(file.read(length), f"the header of {file.name}")
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = header.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is not an object of strings")
    entries = sorted((_entry(name, value) for name, value in header.items()), key=lambda entry: entry[3:])
    end = 0
    for entry in entries:  # contiguous: no byte is read twice
        if entry.begin != end:
            raise ValueError(f"its tensor {shown_name(entry.name)} does not start where the previous one ends")
        end = entry.end
    if start + end != size:
        raise ValueError(f"its tensors need {end} bytes, but the file has {size - start} for them")
    return metadata, entries, start


def _entry(name: str, value: Any) -> _Entry:
    title = f"its tensor {shown_name(name)}"
    if not isinstance(value, dict):
        raise ValueError(f"{title} is not described by a JSON object")
    dtype, shape, offsets = (value.get(key, ()) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{title} has dtype {shown_name(dtype)}; only {', '.join(DTYPES)} can be read")
    if not is_of(shape, list[int]) or len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise ValueError(f"{title} has no valid shape")
    if not is_of(offsets, list[int]) or len(offsets) != 2 or min(offsets) < 0:
        raise ValueError(f"{title} has no valid offsets")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{title} has a size that does not match its shape")
    return _Entry(name, DTYPES[dtype], tuple(shape), begin, end)
