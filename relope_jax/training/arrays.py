"""Pytrees of arrays on disk, written by orbax as uncompressed zarr with readable flat names.

A chunk is the raw bytes of its array. It is read directly, after comparing its size on disk with the expected size. An
untrusted checkpoint therefore needs no more memory than its files, and its metadata is not used.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

from relope_jax.block.spec import AnyArray
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import explaining, publishing, read_bytes, read_json
from relope_jax.io.inside import inside, shown_name
from relope_jax.io.locks import is_ordinary
from relope_jax.machine.mesh import barrier, is_primary, to_host
from relope_jax.machine_errors import refusal

Tree = TypeVar("Tree")


@contextlib.contextmanager
def publishing_together(folder: Path) -> Iterator[Path]:
    """`publishing` by the primary process, with all processes in the block, since orbax saves with all of them.

    The folder must be on a shared disk.
    """
    scratch = contextlib.nullcontext(folder.with_name(f".{folder.name}.tmp"))
    with publishing(folder) if is_primary() else scratch as path:
        barrier(f"{folder}: begin")
        yield path
        barrier(f"{folder}: written")
    barrier(f"{folder}: published")


def save_arrays(folder: Path, tree: object) -> None:
    """Write the arrays of `tree`, PRNG keys included, to a new folder; every process calls it."""
    arrays = {name: _on_host(_data(leaf)) for name, leaf in _named(tree)}
    if jax.process_count() > 1 or is_ordinary(folder.parent):
        _save(folder.absolute(), arrays)
        return
    with tempfile.TemporaryDirectory(prefix="relope-") as scratch:  # orbax always locks and flushes
        _save(Path(scratch) / "arrays", arrays)
        shutil.copytree(Path(scratch) / "arrays", folder)


def _save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    context = ocp.Context()
    saving = context.array.saving
    saving.use_ocdbt = saving.use_zarr3 = saving.use_compression = False
    with context, _without_remark():
        ocp.save(folder, arrays)


@contextlib.contextmanager
def _without_remark() -> Iterator[None]:
    """Suppress orbax's warning that there are no files of its other format to merge."""

    def is_shown(record: logging.LogRecord) -> bool:
        return not str(record.msg).endswith(" per-process OCDBT checkpoint subdirs found in %s, ")

    logger = logging.getLogger("absl")
    logger.addFilter(is_shown)
    try:
        yield
    finally:
        logger.removeFilter(is_shown)


def load_arrays(folder: Path, like: Tree) -> Tree:
    """Load the arrays of a folder in the structure of `like`.

    Raises:
      ReLopeError: an array of `like` is missing, or has a different shape, dtype or size.
    """
    require_arrays(folder, jax.tree.map(_data, like))
    restored = [_restored(_read(folder, name, _data(leaf)), leaf) for name, leaf in _named(like)]
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def require_arrays(folder: Path, like: object) -> None:
    """Raise ReLopeError unless the folder has the arrays of `like`, whose leaves only need a shape and a dtype. Reads
    no array."""
    try:
        root = _root(folder)
        for name, leaf in _named(like):
            path = inside(root, name)
            found, wanted = read_json(inside(path, ".zarray")), _header(leaf)
            if found != wanted:
                raise ReLopeError(f"its {name} is {shown_name(found)}, not {leaf.dtype}{list(leaf.shape)}")
            size = inside(path, _chunk(leaf)).stat().st_size
            if size != leaf.size * leaf.dtype.itemsize:
                raise ReLopeError(f"its {name} takes {size} bytes, not {leaf.size * leaf.dtype.itemsize}")
    except (OSError, ReLopeError) as error:
        if (line := refusal(error)) and not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise ReLopeError(f"cannot use {folder}: {line}") from error
        raise ReLopeError(f"{folder} does not have this router's arrays: {first_line(error)}") from error


def _root(folder: Path) -> Path:
    """Orbax's folder of the arrays, which is its only item."""
    items = sorted(folder.glob("*/_METADATA"))
    if len(items) != 1:
        raise ReLopeError(f"it has {len(items)} sets of arrays, not one")
    return inside(folder, items[0].parent.name)


def _header(leaf: Any) -> dict[str, Any]:
    """The zarr metadata of an array in one chunk of raw bytes."""
    dtype, shape = np.dtype(leaf.dtype), list(leaf.shape)
    return {
        "chunks": shape,
        "compressor": None,
        "dimension_separator": ".",
        "dtype": dtype.name if dtype.kind == "V" else dtype.str,
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": shape,
        "zarr_format": 2,
    }


def _chunk(leaf: Any) -> str:
    """The name of an array's only chunk."""
    return ".".join("0" * len(leaf.shape)) or "0"


def _read(folder: Path, name: str, like: Any) -> np.ndarray:
    with explaining(folder):
        data = bytearray(read_bytes(inside(inside(_root(folder), name), _chunk(like))))
    if len(data) != like.size * like.dtype.itemsize:
        raise ReLopeError(f"{folder} changed while it was read")
    return np.frombuffer(data, like.dtype).reshape(like.shape)


def _named(tree: object) -> list[tuple[str, Any]]:
    """`("params/mlp/layers/0/kernel", array)`: readable names, without integer keys, which orbax would change."""
    flat, _ = jax.tree.flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in flat]


def _on_host(leaf: AnyArray) -> np.ndarray:
    return to_host(leaf) if isinstance(leaf, jax.Array) else leaf


def _is_key(leaf: AnyArray) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: AnyArray) -> AnyArray:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restored(data: np.ndarray, like: AnyArray) -> AnyArray:
    return jax.random.wrap_key_data(jnp.asarray(data)) if _is_key(like) else data
