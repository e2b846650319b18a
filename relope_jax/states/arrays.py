"""zarr3 arrays through TensorStore: one checksummed shard per array, without compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import tensorstore as ts
from jaxtyping import Num

from relope_jax.io.files import parse_json

CHUNK_BYTES = 2**17  # a prompt shares its first and last chunk with others: larger chunks waste reads
CHECKSUM, INDEX_ENTRY = 4, 16  # bytes of a crc32c, and of a chunk's entry in the index at the shard's end
DTYPES = {dtype.name: dtype for dtype in map(np.dtype, (ml_dtypes.bfloat16, np.float32, np.int32))}


class Layout(NamedTuple):
    """An array `[rows, columns]` in chunks of `chunk` whole rows; the last one is padded."""

    rows: int
    columns: int
    dtype: np.dtype[Any]
    chunk: int

    @property
    def _chunks(self) -> int:
        return -(-self.rows // self.chunk)

    @property
    def nbytes(self) -> int:
        """Size of its shard on disk in bytes. Without compression, this bounds the memory it needs."""
        chunk_bytes = self.chunk * self.columns * self.dtype.itemsize
        return self._chunks * (chunk_bytes + CHECKSUM + INDEX_ENTRY) + CHECKSUM

    def metadata(self) -> dict[str, Any]:
        """The contents of zarr.json."""
        checked = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        inner = {"chunk_shape": [self.chunk, self.columns], "codecs": checked, "index_codecs": checked}
        shard = [self._chunks * self.chunk, self.columns]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.rows, self.columns],
            "data_type": self.dtype.name,
            "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "sharding_indexed", "configuration": inner}],
        }


def parse_layout(data: bytes, what: object) -> Layout:
    """Parse a zarr.json; `what` names it in messages.

    Raises:
      ValueError: its codecs, dtype, chunks or axes are not those of `write_array`.
    """
    record = parse_json(data, what)
    try:
        rows, columns = record["shape"]
        chunk, _ = record["codecs"][0]["configuration"]["chunk_shape"]
        layout = Layout(rows, columns, DTYPES[record["data_type"]], chunk)
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ValueError("it does not describe an array of a store") from None
    counts = rows, columns, chunk
    if not all(type(n) is int and 0 < n < 2**63 for n in counts) or chunk > rows or layout.metadata() != record:
        raise ValueError("it does not describe an array of a store")
    return layout


def write_array(path: Path, values: Num[np.ndarray, "rows columns"]) -> None:
    """Write `values` as one zarr3 shard with chunks of about 128 KiB and crc32c checksums."""
    rows, columns = values.shape
    chunk = min(rows, max(1, CHUNK_BYTES // (columns * values.dtype.itemsize)))
    spec = {
        "driver": "zarr3",
        # Some disks do not support locks or sync. There is no other writer, and `files.publish` flushes.
        "kvstore": {
            "driver": "file",
            "path": f"{path}/",
            "file_io_locking": {"mode": "none"},
            "file_io_sync": False,
        },
        # Otherwise all-zero chunks are not written and look like missing ones.
        "store_data_equal_to_fill_value": True,
        "metadata": Layout(rows, columns, values.dtype, chunk).metadata(),
    }
    ts.open(spec, create=True).result().write(values).result()


def open_array(kvstore: dict[str, Any]) -> ts.Future:
    """Start opening an array for reading; missing data or a wrong checksum raises ValueError on reading."""
    spec = {
        "driver": "zarr3",
        "kvstore": kvstore,
        "fill_missing_data_reads": False,  # otherwise a missing file would be read as zeros
        "recheck_cached_data": False,  # a published array never changes
        "recheck_cached_metadata": False,
    }
    return ts.open(spec, open=True, read=True)
