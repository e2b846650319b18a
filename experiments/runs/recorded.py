"""The part of a config that config.json records, and that identifies a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from extract.spec import TOY_MODELS
from relope_jax.io.paths import absolute_if_local

NO_PART = ("answers", "engine", "stores")  # sections that do not affect results
# Fields that may name something on this machine; config.json stores absolute paths.
PATHS = (
    "dataset.path",
    "dataset.captions",
    "dataset.image_cache",
    "model.name",
    "model.adapter",
    "extract.labels_from",
    "inputs.encoder",
    "large.name",
    "runs",
    "store",
)
SCRATCH = ("runs", "dataset.image_cache", "dataset.outside")  # paths that do not affect results
# Paths of inputs that the store's digest identifies: the same contents elsewhere give the same run.
PLACES = (
    *SCRATCH,
    "dataset.path",
    "dataset.captions",
    "model.name",
    "model.adapter",
    "extract.labels_from",
    "train_on",
    "store",
)


def recorded_config(resolved: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that defines a run, with absolute paths, for config.json."""
    recorded = {name: copy.copy(value) for name, value in resolved.items() if name not in NO_PART}
    for field in PATHS:
        group, name = _owner(recorded, field)
        if isinstance(group[name], str) and not _names_no_path(field, group):
            group[name] = absolute_if_local(group[name])
    return recorded


def without_places(recorded: dict[str, Any], places: Sequence[str] = PLACES) -> dict[str, Any]:
    """A recorded config without the fields that are paths."""
    kept = copy.deepcopy(recorded)
    for field in places:
        group, name = _owner(kept, field)
        group.pop(name, None)
    return kept


def _owner(config: dict[str, Any], field: str) -> tuple[dict[str, Any], str]:
    """The group with a field, and the field's name there."""
    group, _, name = field.rpartition(".")
    return (config[group] if group else config), name


def _names_no_path(field: str, group: dict[str, Any]) -> bool:
    """Whether the field is a server's model or a toy. These are not paths, even if a folder has the same name."""
    is_model = field in ("model.name", "large.name")
    return is_model and (bool(group.get("base_url")) or group.get("name") in TOY_MODELS)


def without_prices(config: dict[str, Any]) -> dict[str, Any]:
    """The config without `costs`, because every report recomputes the cost of routing."""
    return {name: value for name, value in config.items() if name != "costs"}
