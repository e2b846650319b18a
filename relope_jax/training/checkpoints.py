"""Trained routers on disk: orbax arrays, and a JSON file for rebuilding the modules."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from relope_jax import run_schema
from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import read_json, write_json
from relope_jax.io.inside import inside
from relope_jax.io.typed import checked, listing, number, record, spec_of, whole
from relope_jax.machine.mesh import is_primary
from relope_jax.methods import TrainedMethod, get_trained
from relope_jax.models.probes import Parts, Statistics
from relope_jax.models.spec import ProbeSpec
from relope_jax.states.statistics import Moments, TokenStatistics
from relope_jax.training.arrays import load_arrays, publishing_together, require_arrays, save_arrays
from relope_jax.training.assembly import build, build_all, member, stack
from relope_jax.training.fit import Fitted
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec

ROUTER = "router.json"
BEST = ("best_epoch", "best_validation_auc", "beta_at_best")
MOST_MEMBERS = 4096
_ANY_NUMBER = number(-np.inf, np.inf, nan=True)  # the initial best AUC is minus infinity
RECORD = record(
    {
        "method": run_schema.trained,
        "members": listing(record({"seed": run_schema.seed, "spec": record({}), "train": record({})}), 1, MOST_MEMBERS),
        "best_epoch": listing(whole()),
        "best_validation_auc": listing(_ANY_NUMBER),
        "beta_at_best": listing(_ANY_NUMBER),
    }
)


@dataclasses.dataclass(frozen=True)
class Restored:
    """A router ready to score: one member of a trained ensemble (arrays without a member axis)."""

    method: TrainedMethod
    member: Member
    parts: Parts


def save_router(folder: Path, method: TrainedMethod, members: Sequence[Member], fitted: Fitted) -> None:
    """Publish `folder` with `params/...` (leading member axis) and `statistics/...` arrays; every process calls it."""
    written = {
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
            write_json(scratch / ROUTER, written)


def read_record(folder: Path) -> dict[str, Any]:
    """The JSON file of a checkpoint; raises ReLopeError if it is missing or damaged."""
    path = inside(folder, ROUTER)
    try:
        return checked(read_json(path), RECORD, path)
    except FileNotFoundError as error:
        have = sorted(p.name for p in folder.parent.glob("[!.]*"))
        raise ReLopeError(
            f"no checkpoint of '{folder.name}' in {folder.parent.parent}; it has: {', '.join(have) or 'none'}"
        ) from error


def spec_from_dict(method: TrainedMethod, raw: dict[str, Any]) -> ProbeSpec:
    """Rebuild a method's spec from JSON or a config; raises ReLopeError if it is not valid."""
    return spec_of(method.spec, raw, f"'{method.name}'")


def load_ensemble(folder: Path, block: Block) -> tuple[TrainedMethod, list[Member], Fitted]:
    """Load all members of one method, as returned by `fit`."""
    method, members, singles = _singles(folder, block)
    parts = _stored(folder, stack(singles))
    found = read_record(folder)
    kept = [np.array(found[name]) for name in BEST]
    if any(len(values) != len(members) for values in kept):
        raise ReLopeError(f"{folder / ROUTER} is damaged: the numbers of members and best epochs differ")
    return method, members, Fitted(parts, *kept)


def load_member(folder: Path, block: Block, seed: int) -> Restored:
    """Load the member with this seed; in a checkpoint of a sweep, the first one."""
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
    found = read_record(folder)
    method = get_trained(found["method"])
    members = [
        Member(
            spec_of(method.spec, m["spec"], folder / ROUTER), spec_of(TrainSpec, m["train"], folder / ROUTER), m["seed"]
        )
        for m in found["members"]
    ]
    if len({m.program for m in members}) > 1:
        raise ReLopeError(f"{folder / ROUTER} is damaged: its members cannot have been trained together")
    require_arrays(inside(folder, "arrays"), _expected(folder, method, members, block))  # before allocating memory
    return method, members, build_all(method, members, block, _unset(block))


def _unset(block: Block) -> TokenStatistics:
    """Placeholder statistics, replaced by the checkpoint's."""
    d = block.spec.hidden_size
    moments = Moments(np.zeros(d, np.float32), np.ones(d, np.float32))
    return TokenStatistics(moments, moments)


def _expected(folder: Path, method: TrainedMethod, members: Sequence[Member], block: Block) -> dict[str, Any]:
    """Shapes and dtypes of the arrays in a checkpoint of these members, without computing anything."""
    try:
        each = [
            jax.eval_shape(lambda spec=spec: _arrays(build(method, spec, block, _unset(block), 0)))
            for spec in dict.fromkeys(m.spec for m in members)
        ]
        params = jax.tree.map(functools.partial(_together, len(members)), *[arrays["params"] for arrays in each])
    except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
        raise ReLopeError(f"{folder / ROUTER} describes an impossible router: {first_line(error)}") from error
    return {"params": params, "statistics": each[0]["statistics"]}


def _together(n: int, *leaves: Any) -> jax.ShapeDtypeStruct:
    """The shape of `n` members' leaves, padded to the largest, as in `assembly.stack`."""
    largest = (max(sizes) for sizes in zip(*[leaf.shape for leaf in leaves], strict=True))
    return jax.ShapeDtypeStruct((n, *largest), leaves[0].dtype)


def _stored(folder: Path, parts: Parts) -> Parts:
    """`parts` with the arrays of the checkpoint."""
    arrays = load_arrays(inside(folder, "arrays"), _arrays(parts))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays)):
        raise ReLopeError(f"{folder} has values that are not finite: train it again, or restore it")
    return parts._replace(params=arrays["params"], rest=nnx.merge_state(parts.rest, arrays["statistics"]))


def _arrays(parts: Parts) -> dict[str, nnx.State]:
    return {"params": parts.params, "statistics": nnx.filter_state(parts.rest, Statistics)}
