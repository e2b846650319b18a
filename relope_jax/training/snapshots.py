"""A training in progress on disk: the complete state for its next step."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from relope_jax.errors import ReLopeError
from relope_jax.io.files import read_json, write_json
from relope_jax.io.inside import inside
from relope_jax.io.typed import checked, listing, record, whole, wrong
from relope_jax.machine.mesh import from_primary, is_primary
from relope_jax.training.arrays import load_arrays, publishing_together, save_arrays
from relope_jax.training.best import Best
from relope_jax.training.step import TrainState

STATE, PREFIX = "state.json", "epoch-"
_NAME = re.compile(f"{PREFIX}[0-9]{{6,9}}")


class Snapshot(NamedTuple):
    """A training after `epoch`. The epoch and `train.order_seed` determine the sample order, so the epoch is also the
    position in the data."""

    epoch: int
    step: int
    state: TrainState
    best: Best


def save_snapshot(folder: Path, identity: dict[str, Any], snapshot: Snapshot) -> None:
    """Publish a snapshot in `folder`, then remove the previous one; every process calls it."""
    name = f"{PREFIX}{snapshot.epoch:06d}"
    state = {
        "epoch": snapshot.epoch,
        "step": snapshot.step,
        "best_epoch": snapshot.best.epoch.tolist(),
        "best_auc": _hex(snapshot.best.auc),
        "best_beta": _hex(snapshot.best.beta),
        "best_active": _hex(snapshot.best.active),
        "identity": identity,
    }
    with publishing_together(folder / name) as scratch:
        save_arrays(scratch / "arrays", (snapshot.state, snapshot.best.params))
        if is_primary():
            write_json(scratch / STATE, state)
    if is_primary():
        for old in _snapshots(folder)[:-1]:
            shutil.rmtree(old)


def saved_epoch(folder: Path) -> int:
    """The last epoch of the newest snapshot; 0 if there is none."""
    found = _snapshots(folder)
    return int(found[-1].name.removeprefix(PREFIX)) if found else 0


def load_snapshot(folder: Path, identity: dict[str, Any], start: Snapshot) -> Snapshot:
    """The newest snapshot in `folder`, or `start`, the training before its first step, if there is none.

    Raises:
      ReLopeError: the snapshot belongs to another training; the message names the fields that differ.
    """
    if from_primary(saved_epoch(folder)) != saved_epoch(folder):
        raise ReLopeError(f"{folder} is not the same for all processes: put the run on a shared disk")
    found = _snapshots(folder)
    if not found:
        return start
    path = inside(found[-1], STATE)
    saved = checked(_state(path), RECORD, path)
    require_same(saved["identity"], identity, found[-1])
    if any(len(saved[f"best_{name}"]) != len(start.best.epoch) for name in ("auc", "beta", "active", "epoch")):
        raise ReLopeError(f"{path} is damaged: the numbers of members and best epochs differ")
    state, params = load_arrays(inside(found[-1], "arrays"), (start.state, start.best.params))
    auc, beta, active = (np.array(saved[f"best_{name}"]) for name in ("auc", "beta", "active"))
    best = Best(params, auc, np.array(saved["best_epoch"]), beta, active)
    return Snapshot(saved["epoch"], saved["step"], state, best)


def _state(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise ReLopeError(f"{path} is missing: delete the folder to start again") from error


def require_same(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raise ReLopeError naming the fields that differ between two identities."""
    if different := differences(before, json.loads(json.dumps(now))):
        raise ReLopeError(
            f"{path} is a training with other settings or data ({'; '.join(different)}): delete it to start again"
        )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`["train.epochs: 6 -> 7"]`: the fields, at any depth, that differ between two JSON objects."""
    old, new = _flat(before), _flat(now)
    return [f"{k}: {old.get(k)!r} -> {new.get(k)!r}" for k in old | new if old.get(k) != new.get(k)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"members.0.spec.beta": 1.0}` of nested dicts and lists of dicts."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list) and any(isinstance(child, dict) for child in value):
        items = enumerate(value)
    else:
        return {prefix[:-1]: value}
    return {path: leaf for key, child in items for path, leaf in _flat(child, f"{prefix}{key}.").items()}


def _snapshots(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if _NAME.fullmatch(path.name))


def _hex(values: Float[np.ndarray, "members"]) -> list[str]:
    """Bit-exact text, including infinities."""
    return [float(value).hex() for value in values]


def _float(value: Any) -> float:
    """Parse the output of `_hex`; raises `Wrong` if it is not valid."""
    try:
        return float.fromhex(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong(value, "a number in hexadecimal") from None


RECORD = record(
    {
        "epoch": whole(0, 10**9),
        "step": whole(0, 2**53),
        "best_epoch": listing(whole(0, 10**9)),
        **dict.fromkeys(("best_auc", "best_beta", "best_active"), listing(_float)),
        "identity": record({}),
    }
)
