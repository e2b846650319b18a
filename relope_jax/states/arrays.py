"""zarr3 arrays through TensorStore: sharded, checksummed, one shard per array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

CHUNK_BYTES = 2**17  # a prompt shares its first and last chunk with others: larger ones are read for nothing


def write_array(path: Path, values: np.ndarray) -> None:
    """Write `values` `[rows, columns]` as one zarr3 shard of chunks of about 128 KiB, with crc32c."""
    rows, columns = values.shape
    chunk = min(rows, max(1, CHUNK_BYTES // (columns * values.dtype.itemsize)))
    shard = -(-rows // chunk) * chunk
    checked = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    spec = {
        "driver": "zarr3",
        # Nobody else writes here, and `files.publish` flushes: some disks refuse to lock or to sync.
        "kvstore": {
            "driver": "file",
            "path": f"{path}/",
            "file_io_locking": {"mode": "none"},
            "file_io_sync": False,
        },
        # Otherwise all-zero chunks are not written and cannot be told from lost ones.
        "store_data_equal_to_fill_value": True,
        "metadata": {
            "shape": [rows, columns],
            "data_type": str(values.dtype),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard, columns]}},
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [chunk, columns],
                        "codecs": checked,
                        "index_codecs": checked,
                    },
                }
            ],
        },
    }
    ts.open(spec, create=True).result().write(values).result()


def open_array(kvstore: dict[str, Any]) -> ts.Future:
    """Start opening an array for reading; reading what is missing or fails its checksum raises ValueError."""
    spec = {
        "driver": "zarr3",
        "kvstore": kvstore,
        "fill_missing_data_reads": False,  # otherwise a lost file would be read as zeros
        "recheck_cached_data": False,  # a published array never changes
        "recheck_cached_metadata": False,
    }
    return ts.open(spec, open=True, read=True)
