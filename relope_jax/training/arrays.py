"""Trees of arrays on disk: orbax, under readable flat names."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

from relope_jax.errors import ReLopeError, first_line
from relope_jax.states.files import publishing
from relope_jax.states.locks import is_ordinary
from relope_jax.training.mesh import barrier, is_primary, to_host

Tree = TypeVar("Tree")


@contextlib.contextmanager
def publishing_together(folder: Path) -> Iterator[Path]:
    """`publishing` by the primary process, with all processes in the block: orbax saves with all of them.

    The folder must be on a disk that they share.
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
        ocp.save(folder.absolute(), arrays)
        return
    with tempfile.TemporaryDirectory(prefix="relope-") as scratch:  # orbax locks and flushes, and cannot be told not to
        ocp.save(Path(scratch) / "arrays", arrays)
        shutil.copytree(Path(scratch) / "arrays", folder)


def load_arrays(folder: Path, like: Tree) -> Tree:
    """The arrays of a folder in the structure of `like`.

    Raises:
      ReLopeError: the folder lacks a name of `like`, or has another shape under it.
    """
    leaves = [leaf for _, leaf in _named(like)]
    template = {name: np.empty(_data(leaf).shape, _data(leaf).dtype) for name, leaf in _named(like)}
    try:
        stored = ocp.load(folder.absolute(), template)
    except (ValueError, OSError) as error:
        raise ReLopeError(f"{folder} does not hold this router's arrays: {first_line(error)}") from error
    restored = [_restored(stored[name], leaf) for name, leaf in zip(template, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def _named(tree: object) -> list[tuple[str, jax.Array]]:
    """`("params/mlp/layers/0/kernel", array)`: readable names, and no integer keys for orbax to change."""
    flat, _ = jax.tree.flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in flat]


def _on_host(leaf: jax.Array | np.ndarray) -> np.ndarray:
    return to_host(leaf) if isinstance(leaf, jax.Array) else leaf


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restored(data: Any, like: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(data) if _is_key(like) else data
