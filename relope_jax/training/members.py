"""Members of an ensemble: their settings, and which members can share one program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from relope_jax.block.spec import LoRASpec
from relope_jax.models.spec import ProbeSpec, ReLopeSpec
from relope_jax.training.spec import TrainSpec

# Fields that are batched in an ensemble; members that differ in any other field need separate programs.
BATCHED_SPEC = ("learning_rate", "dropout", "beta", "beta_schedule", "beta_warmup", "kl_reduction", "lora")
BATCHED_LORA = ("rank", "alpha", "rslora")
BATCHED_TRAIN = ("weight_decay", "clip_norm")


@dataclasses.dataclass(frozen=True)
class Member:
    """One training: the settings of its method and of training, and a seed."""

    spec: ProbeSpec
    train: TrainSpec
    seed: int

    @property
    def program(self) -> tuple[Any, ...]:
        """Key of the compiled program; equal for members that can train in one ensemble."""
        spec: dict[str, Any] = {k: v for k, v in vars(self.spec).items() if k not in BATCHED_SPEC}
        train = {k: v for k, v in vars(self.train).items() if k not in BATCHED_TRAIN}
        lora = _lora(self.spec)
        shared = tuple(v for k, v in vars(lora).items() if k not in BATCHED_LORA) if lora else ()
        return type(self.spec), tuple(spec.items()), shared, tuple(train.items())

    def record(self) -> dict[str, Any]:
        """The member as JSON."""
        return {
            "seed": self.seed,
            "spec": dataclasses.asdict(self.spec),
            "train": dataclasses.asdict(self.train),
        }


def ensembles(members: Sequence[Member]) -> list[list[int]]:
    """Indices of the members that can train together, in order of first appearance."""
    groups: dict[tuple, list[int]] = {}
    for i, member in enumerate(members):
        groups.setdefault(member.program, []).append(i)
    return list(groups.values())


class Hyper(NamedTuple):
    """Settings that differ between the members of one program, as arrays with a leading member axis."""

    learning_rate: Float[Array, "members"]
    weight_decay: Float[Array, "members"]
    clip_norm: Float[Array, "members"]
    beta: Float[Array, "members"]
    beta_warmup: Float[Array, "members"]  # 0: constant
    kl_sum: Bool[Array, "members"]


def hyper(members: Sequence[Member]) -> Hyper:
    """The batched settings of an ensemble."""
    beta = [m.spec.beta if isinstance(m.spec, ReLopeSpec) else 0.0 for m in members]
    return Hyper(
        learning_rate=_floats([m.spec.learning_rate for m in members]),
        weight_decay=_floats([m.train.weight_decay for m in members]),
        clip_norm=_floats([m.train.clip_norm for m in members]),
        beta=_floats(beta),
        beta_warmup=_floats([_warmup(m.spec) for m in members]),
        kl_sum=jnp.asarray([isinstance(m.spec, ReLopeSpec) and m.spec.kl_reduction == "sum" for m in members]),
    )


def scheduled_epochs(members: Sequence[Member]) -> Int[np.ndarray, "members"]:
    """Number of epochs until every member's beta reaches its final value; 0 if it is constant."""
    return np.array([math.ceil(_warmup(m.spec) * m.train.epochs) for m in members], np.int64)


def _warmup(spec: ProbeSpec) -> float:
    """Share of the longest possible training in which beta rises; 0 if it is constant."""
    if not isinstance(spec, ReLopeSpec) or spec.beta_schedule != "linear" or spec.beta == 0:
        return 0.0
    return spec.beta_warmup


def _floats(values: list[float]) -> Float[Array, "members"]:
    return jnp.asarray(values, jnp.float32)


def _lora(spec: ProbeSpec) -> LoRASpec | None:
    return spec.lora if isinstance(spec, ReLopeSpec) else None
