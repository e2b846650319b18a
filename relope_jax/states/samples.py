"""The sample table of one part; its values are checked against the part before use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Shaped

from relope_jax.errors import ReLopeError
from relope_jax.io.inside import shown_name
from relope_jax.states.layout import SPLITS
from relope_jax.states.manifest import Part

ALWAYS = ("sample_id", "split", "n_tokens")
# Columns that may be null, since some samples or variants lack them.
MAY_LACK = {"caption", "image_start", "image_tokens", "grid_height", "grid_width"}
SPANS = ("image_tokens", "grid_height", "grid_width")


def require_samples(table: pa.Table, part: Part) -> None:
    """Raise ValueError if the values of a part's sample table are not valid."""
    if len(table) != part.n_samples:
        raise ValueError(f"its table has {len(table)} samples instead of {part.n_samples}")
    for name in ALWAYS:
        if table[name].null_count:
            raise ValueError(f"{name} is missing for {table[name].null_count} samples")
    for name in set(table["split"].unique().to_pylist()) - set(SPLITS):
        raise ValueError(f"split is {shown_name(name)}; it can be {', '.join(SPLITS)}")
    _require_between(table, "label", 0, 1)
    _require_between(table, "n_tokens", 1, part.n_tokens)
    tokens = table["n_tokens"].to_numpy().astype(np.int64)
    if tokens.sum() != part.n_tokens:
        raise ValueError(f"its prompts have {tokens.sum()} tokens instead of {part.n_tokens}")
    _require_between(table, "image_start", -1, part.n_tokens)
    for name in SPANS:
        _require_between(table, name, 0, part.n_tokens)
    logprobs = pc.list_flatten(table["token_logprobs"])
    if logprobs.null_count or not _are_finite(logprobs) or not _are_finite(table["first_token_entropy"]):
        raise ValueError("token_logprobs or first_token_entropy is not finite")


def _require_between(table: pa.Table, name: str, low: int, high: int) -> None:
    """Raise ValueError if a value that is not null is outside [low, high]."""
    bounds = pc.min_max(table[name]).as_py()
    for value in (bounds["min"], bounds["max"]):
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} is {value}; it must be from {low} to {high}")


def _are_finite(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_finite(column), min_count=0).as_py())


def column_of(samples: pa.Table, name: str, path: str | Path) -> Shaped[np.ndarray, "samples"]:
    """A column of a sample table as numpy.

    Raises:
      ReLopeError: a column that results depend on has nulls.
    """
    column = samples[name]
    if column.null_count and name not in MAY_LACK:
        raise ReLopeError(
            f"{column.null_count} samples of {path} have no {name}: delete the store and extract it again"
        )
    return column.to_numpy()


def require_unique(samples: pa.Table, path: str | Path) -> None:
    """Raise ReLopeError if two samples of a store have the same id."""
    if (n := len(samples) - len(samples["sample_id"].unique())) > 0:
        raise ReLopeError(f"{n} samples of {path} have the id of another sample: delete the store and extract it again")
