"""File names of a store, and the dtypes of its states. Names found in a store are checked against these."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

MANIFEST = "manifest.json"
IDENTITY = "identity.json"
PART = "part.json"
SAMPLES = "samples.parquet"
REGRADING = "regrading"  # holds new tables of labels until they are moved, and the new manifest, written last
ARRAY = ("zarr.json", "c/0/0")  # files of one array: its metadata and its only shard
POSITIONS, OUTPUT_EMBEDDING = "positions", "output_embedding"
STATE_DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
MODEL_DTYPES = ("float32", "bfloat16", "float16")
SPLITS = ("train", "validation", "test")


def block_name(layer: int) -> str:
    """File of the frozen decoder block `layer`."""
    return f"block-{layer}.safetensors"


def part_title(index: int) -> str:
    """Name of a part."""
    return f"{index:05d}"


def part_name(index: int) -> str:
    """Folder of a part."""
    return f"parts/{part_title(index)}"


def hidden_name(layer: int) -> str:
    """Array of Z^(l-1) in a part."""
    return f"layer-{layer}/hidden"


def last_hidden_name(layer: int) -> str:
    """Array of z_n^(l) in a part."""
    return f"layer-{layer}/last_hidden"


def part_files(layers: Sequence[int], n_samples: int) -> tuple[set[str], set[str]]:
    """The required and the allowed files of a part with `n_samples` samples, without its record."""
    if not n_samples:
        return {SAMPLES}, {SAMPLES}
    arrays = [name(layer) for layer in layers for name in (hidden_name, last_hidden_name)]
    needed = {SAMPLES, *_files([*arrays, POSITIONS])}
    return needed, needed | _files([OUTPUT_EMBEDDING])


def _files(arrays: Sequence[str]) -> set[str]:
    return {f"{array}/{file}" for array in arrays for file in ARRAY}
