"""Schemas of a run's JSON files and Parquet tables: readers get these types and ranges, whatever their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.inside import shown_name
from relope_jax.io.typed import listing, mapping, maybe, number, one_of, record, text, whole
from relope_jax.methods import METHODS, TrainedMethod
from relope_jax.metrics.intervals import Units
from relope_jax.metrics.paired import PairedDifference
from relope_jax.metrics.routing.cost import Tokens

MOST_SEEDS = 1024
SPLITS = ("train", "validation", "test")
method = one_of(METHODS)
trained = one_of([name for name, found in METHODS.items() if isinstance(found, TrainedMethod)])
seed = whole(0, 2**32 - 1)
share, metric, count = number(0, 1), number(nan=True), whole(0, 2**40)
anything = record({})

_GROUPS = ("dataset", "inputs", "large", "costs")
_CONFIG = record(
    {
        "name": text,
        "methods": listing(method, 1, len(METHODS)),
        "seeds": listing(seed, 1, MOST_SEEDS),
        "train": record({"epochs": whole(1, 10**7)}),
        "extract": record({"layer": whole(0, 10_000)}),
        "model": record({"name": text, "adapter": text}),
        **dict.fromkeys(_GROUPS, anything),
    },
    {name: record({"learning_rate": number()}) for name in METHODS},
)
_STORE = record(
    {"path": text, "manifest_sha256": text, "digests": listing(text, 1), "source": text, "dataset": anything},
    {"from_run": text},  # absent if the two share no folder
)
CONFIG = record({"config": _CONFIG, "store": _STORE, "versions": anything})

ROW = record(
    {
        "method": method,
        "seed": seed,
        "model": text,
        "dataset": text,
        "layer": whole(0, 10_000),
        "n_test": count,
        "n_train": count,
        "base_rate": share,
    }
)
RESULTS = listing(ROW, 1)

# Metrics that are always present (NaN if undefined), and those that are null if unknown.
_ALWAYS = ("auc", "auc_low", "auc_high", "accuracy")
_WHERE_KNOWN = (
    "auc_error",
    "auc_seed_range",
    "ece",
    "brier",
    "prr",
    "apgr",
    "cpt_50",
    "cpt_80",
    "audc",
    "caught_10",
    "caught_20",
    "caught_30",
)
_METHOD = record(
    {
        **dict.fromkeys(_ALWAYS, metric),
        **dict.fromkeys(_WHERE_KNOWN, maybe(metric)),
        "n_seeds": whole(1, MOST_SEEDS),
    }
)
_DIFFERENCE = {"first": method, "second": method} | dict.fromkeys(("difference", "low", "high", "p", "p_holm"), metric)


def paired_difference(value: Any) -> PairedDifference:
    """Check a paired difference and convert it."""
    found = record(_DIFFERENCE)(value)
    return PairedDifference(**{name: found[name] for name in _DIFFERENCE})


SUMMARY = record(
    {
        "methods": mapping(method, _METHOD, 1),
        "differences": listing(paired_difference, most=len(METHODS) ** 2),
        "large": maybe(record({"model": text, "accuracy": share})),
        "units": record(dict.fromkeys(Units._fields, count)),
    },
)
EPOCH = record(
    {"method": method, "seed": seed, "epoch": whole(0, 10**7), "loss": metric, "validation_auc": metric},
    {"kl_per_dimension": maybe(metric)},  # only for ReLope
)

Column = Callable[[pa.ChunkedArray], pa.ChunkedArray]


def texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of strings without nulls."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)) or values.null_count:
        raise ValueError("is not a string column")
    return values.cast(pa.string())


def among(*allowed: str) -> Column:
    """A column that holds only these strings."""

    def check(values: pa.ChunkedArray) -> pa.ChunkedArray:
        values = texts(values)
        for value in pc.unique(values).to_pylist():
            if value not in allowed:
                raise ValueError(f"has {shown_name(value)}, not one of {', '.join(allowed)}")
        return values

    return check


def integers(low: int, high: int, *, nulls: bool = False) -> Column:
    """A column of integers from `low` to `high`; keeps its integer type."""

    def check(values: pa.ChunkedArray) -> pa.ChunkedArray:
        empty = pa.types.is_null(values.type) and nulls
        if not (pa.types.is_integer(values.type) or empty) or (values.null_count and not nulls):
            raise ValueError("is not an integer column" + ("" if nulls else " without nulls"))
        values = values.cast(pa.int64())
        ends = pc.min_max(values).as_py()
        if ends["min"] is not None and not low <= ends["min"] <= ends["max"] <= high:
            raise ValueError(f"ranges from {ends['min']} to {ends['max']}, outside {low} to {high}")
        return values

    return check


def numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of floats, NaN if unknown."""
    if not pa.types.is_floating(values.type) or values.null_count:
        raise ValueError("is not a float column")
    values = values.cast(pa.float64())
    if np.isinf(values.to_numpy()).any():
        raise ValueError("has infinite values")
    return values


_LABEL, _MAYBE_COUNT = integers(0, 1), integers(0, 2**31 - 1, nulls=True)
TOKEN_COUNTS = {field.name: f"{field.name}_tokens" for field in dataclasses.fields(Tokens)}  # of samples.parquet
SCORES_TABLE: Mapping[str, Column] = {
    "sample_id": texts,
    "split": among(*SPLITS),
    "method": among(*METHODS),
    "seed": integers(0, 2**32 - 1),
    "score": numbers,
    "label": _LABEL,
}
SAMPLES_TABLE: Mapping[str, Column] = {
    "sample_id": texts,
    "group": texts,
    "split": among(*SPLITS),
    "label": _LABEL,
    "large_label": integers(0, 1, nulls=True),
    **dict.fromkeys(TOKEN_COUNTS.values(), _MAYBE_COUNT),
}


def checked_table(table: pa.Table, columns: Mapping[str, Column], where: object) -> pa.Table:
    """The checked columns of a table; other columns are dropped.

    Raises:
      ReLopeError: a column is missing, of another type, or out of its range.
    """
    kept: dict[str, Any] = {}
    name = ""
    try:
        table.validate(full=True)
        for name, check in columns.items():
            if table.column_names.count(name) != 1:
                raise ValueError("is missing or duplicated")
            kept[name] = check(table[name])
    except (pa.ArrowException, ValueError, OverflowError) as error:
        said = f"its column {shown_name(name)} {first_line(error)}" if name else first_line(error)
        raise ReLopeError(f"{where} is damaged ({said}): restore it, or create it again") from error
    return pa.table(kept)
