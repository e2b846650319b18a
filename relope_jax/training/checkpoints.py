"""Trained routers on disk: orbax arrays beside a JSON file that says how to rebuild the module."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from flax import nnx

from relope_jax.errors import ReLopeError, first_line
from relope_jax.methods import TrainedMethod, get_method
from relope_jax.models.block_spec import Block
from relope_jax.models.probes import Statistics, split_module
from relope_jax.models.spec import LoRASpec, ProbeSpec
from relope_jax.states.files import publishing, write_json
from relope_jax.states.statistics import Moments, TokenStatistics
from relope_jax.training.fit import Fitted

ROUTER = "router.json"


@dataclasses.dataclass(frozen=True)
class Restored:
    """A router ready to score: one member of a trained ensemble (arrays without a seed axis)."""

    method: TrainedMethod
    graphdef: nnx.GraphDef
    params: nnx.State
    rest: nnx.State


def save_router(folder: Path, method: TrainedMethod, spec: ProbeSpec, seeds: tuple[int, ...], fitted: Fitted) -> None:
    """Publish `folder` with `params/...` (leading seed axis) and `statistics/...` arrays."""
    statistics = nnx.filter_state(fitted.rest, Statistics)
    arrays = _flatten("params", fitted.params) | _flatten("statistics", statistics)
    record = {
        "method": method.name,
        "seeds": list(seeds),
        "best_epoch": fitted.best_epoch.tolist(),
        "best_validation_auc": fitted.best_auc.tolist(),
        "spec": dataclasses.asdict(spec),
    }
    with publishing(folder) as scratch:
        ocp.save((scratch / "arrays").absolute(), arrays)
        write_json(scratch / ROUTER, record)


def read_record(folder: Path) -> dict[str, Any]:
    """The JSON beside a checkpoint; raises ReLopeError when there is none."""
    try:
        return json.loads((folder / ROUTER).read_text())
    except FileNotFoundError as error:
        have = sorted(p.name for p in folder.parent.glob("[!.]*"))
        raise ReLopeError(
            f"no checkpoint of '{folder.name}' in {folder.parent.parent}; it has: {', '.join(have) or 'none'}"
        ) from error


def spec_from_dict(method: TrainedMethod, raw: dict[str, Any]) -> ProbeSpec:
    """Rebuild a method's spec from JSON or a config."""
    raw = dict(raw)
    if "lora" in raw:
        raw["lora"] = LoRASpec(**{**raw["lora"], "targets": tuple(raw["lora"]["targets"])})
    raw["widths"] = tuple(raw["widths"])
    return method.spec(**raw)


def load_ensemble(folder: Path, block: Block) -> tuple[TrainedMethod, tuple[int, ...], Fitted]:
    """All seeds of one method, as `fit` returned them."""
    record = read_record(folder)
    method = get_method(record["method"])
    assert isinstance(method, TrainedMethod)
    spec = spec_from_dict(method, record["spec"])
    d = block.spec.hidden_size
    unset = Moments(np.zeros(d, np.float32), np.ones(d, np.float32))
    module = method.module(spec, block, TokenStatistics(unset, unset), rngs=nnx.Rngs(params=0))
    graphdef, params, rest = split_module(module)
    members = len(record["seeds"])
    stacked = jax.tree.map(lambda x: jnp.broadcast_to(x, (members, *x.shape)), params)
    statistics = nnx.filter_state(rest, Statistics)
    template = _flatten("params", stacked) | _flatten("statistics", statistics)
    arrays = _load_arrays(folder / "arrays", template)
    params, statistics = _unflatten("params", stacked, arrays), _unflatten("statistics", statistics, arrays)
    rest = nnx.merge_state(rest, statistics)
    best_epoch, best_auc = np.array(record["best_epoch"]), np.array(record["best_validation_auc"])
    return method, tuple(record["seeds"]), Fitted(graphdef, params, rest, best_epoch, best_auc)


def load_member(folder: Path, block: Block, seed: int) -> Restored:
    """One seed of one method."""
    method, seeds, fitted = load_ensemble(folder, block)
    if seed not in seeds:
        raise ReLopeError(f"{folder} has no seed {seed}; it has: {', '.join(map(str, seeds))}")
    member = seeds.index(seed)
    params = jax.tree.map(lambda x: x[member], fitted.params)
    return Restored(method, fitted.graphdef, params, fitted.rest)


def _flatten(prefix: str, state: nnx.State) -> dict[str, jax.Array]:
    """`{"params/mlp/layers/0/kernel": array}`: readable names, and no integer keys for orbax to change."""
    return {_name(prefix, path): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def _load_arrays(folder: Path, template: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The stored arrays; every name and shape must be the template's."""
    try:
        return ocp.load(folder.absolute(), template)
    except (ValueError, OSError) as error:
        raise ReLopeError(f"{folder} does not hold this router's arrays: {first_line(error)}") from error


def _unflatten(prefix: str, template: nnx.State, arrays: dict[str, jax.Array]) -> nnx.State:
    """`template` filled with the stored arrays."""
    flat = [(path, leaf.replace(arrays[_name(prefix, path)])) for path, leaf in nnx.to_flat_state(template)]
    return nnx.from_flat_state(flat)


def _name(prefix: str, path: tuple) -> str:
    return "/".join([prefix, *map(str, path)])
