"""Trained routers on disk: orbax arrays beside a JSON file that says how to rebuild the modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from relope_jax.errors import ReLopeError
from relope_jax.methods import TrainedMethod, get_method
from relope_jax.models.block_spec import Block
from relope_jax.models.probes import Parts, Statistics
from relope_jax.models.spec import LoRASpec, ProbeSpec
from relope_jax.states.files import read_json, write_json
from relope_jax.states.statistics import Moments, TokenStatistics
from relope_jax.training.arrays import load_arrays, publishing_together, save_arrays
from relope_jax.training.assembly import build_all, member, stack
from relope_jax.training.fit import Fitted
from relope_jax.training.members import Member
from relope_jax.training.mesh import is_primary
from relope_jax.training.spec import TrainSpec

ROUTER = "router.json"


@dataclasses.dataclass(frozen=True)
class Restored:
    """A router ready to score: one member of a trained ensemble (arrays without a member axis)."""

    method: TrainedMethod
    member: Member
    parts: Parts


def save_router(folder: Path, method: TrainedMethod, members: Sequence[Member], fitted: Fitted) -> None:
    """Publish `folder` with `params/...` (leading member axis) and `statistics/...` arrays; every process calls it."""
    record = {
        "method": method.name,
        "seeds": [m.seed for m in members],
        "best_epoch": fitted.best_epoch.tolist(),
        "best_validation_auc": fitted.best_auc.tolist(),
        "beta_at_best": fitted.best_beta.tolist(),
        "members": [m.record() for m in members],
    }
    with publishing_together(folder) as scratch:
        save_arrays(scratch / "arrays", _arrays(fitted.parts))
        if is_primary():
            write_json(scratch / ROUTER, record)


def read_record(folder: Path) -> dict[str, Any]:
    """The JSON beside a checkpoint; raises ReLopeError when there is none."""
    try:
        return read_json(folder / ROUTER)
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


def load_ensemble(folder: Path, block: Block) -> tuple[TrainedMethod, list[Member], Fitted]:
    """All members of one method, as `fit` returned them."""
    method, members, singles = _singles(folder, block)
    parts = _stored(folder, stack(singles))
    record = read_record(folder)
    kept = (np.array(record[name]) for name in ("best_epoch", "best_validation_auc", "beta_at_best"))
    return method, members, Fitted(parts, *kept)


def load_member(folder: Path, block: Block, seed: int) -> Restored:
    """The member with one seed; the first of them, in a checkpoint of a sweep."""
    method, members, singles = _singles(folder, block)
    seeds = [m.seed for m in members]
    if seed not in seeds:
        raise ReLopeError(f"{folder} has no seed {seed}; it has: {', '.join(map(str, seeds))}")
    index = seeds.index(seed)
    stored = _stored(folder, stack(singles))
    own = member(stored, index, singles[index])
    return Restored(method, members[index], own._replace(rest=stored.rest))


def _singles(folder: Path, block: Block) -> tuple[TrainedMethod, list[Member], list[Parts]]:
    """The method and members of a checkpoint, and every member's parts before training."""
    record = read_record(folder)
    method = get_method(record["method"])
    assert isinstance(method, TrainedMethod)
    members = [Member(spec_from_dict(method, m["spec"]), TrainSpec(**m["train"]), m["seed"]) for m in record["members"]]
    d = block.spec.hidden_size
    unset = Moments(np.zeros(d, np.float32), np.ones(d, np.float32))
    return method, members, build_all(method, members, block, TokenStatistics(unset, unset))


def _stored(folder: Path, parts: Parts) -> Parts:
    """`parts` with the arrays of the checkpoint."""
    arrays = load_arrays(folder / "arrays", _arrays(parts))
    return parts._replace(params=arrays["params"], rest=nnx.merge_state(parts.rest, arrays["statistics"]))


def _arrays(parts: Parts) -> dict[str, nnx.State]:
    return {"params": parts.params, "statistics": nnx.filter_state(parts.rest, Statistics)}
