"""The best parameters of every member so far, by validation AUC."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from relope_jax.precision import jit


class Best(NamedTuple):
    """Parameters (leading member axis), their AUC and epoch; beta in the last step of that epoch, and its number of
    active bottleneck dimensions (infinite without a bottleneck)."""

    params: nnx.State
    auc: Float[np.ndarray, "members"]
    epoch: Int[np.ndarray, "members"]
    beta: Float[np.ndarray, "members"]
    active: Float[np.ndarray, "members"]

    @staticmethod
    def start(params: nnx.State, n_members: int) -> Best:
        """The value before the first epoch: any AUC is better."""
        never = np.full(n_members, np.inf)
        return Best(jax.tree.map(jnp.copy, params), -never, np.zeros(n_members, np.int64), np.zeros(n_members), never)

    def running(self, epoch: int, patience: int, scheduled: Int[np.ndarray, "members"]) -> Bool[np.ndarray, "members"]:
        """Which members still train in `epoch`. Patience counts from the end of a member's schedule, after `scheduled`
        epochs, because its objective changes until then."""
        return epoch - np.maximum(self.epoch, scheduled) <= patience

    def update(
        self,
        params: nnx.State,
        auc: Float[np.ndarray, "members"],
        epoch: int,
        running: Bool[np.ndarray, "members"],
        beta: Float[np.ndarray, "members"],
        active: Float[np.ndarray, "members"],
    ) -> Best:
        """Replace the members that improved in `epoch`."""
        better = running & (auc > self.auc)
        return Best(
            _chosen(self.params, params, better) if better.any() else self.params,
            np.where(better, auc, self.auc),
            np.where(better, epoch, self.epoch),
            np.where(better, beta, self.beta),
            np.where(better, active, self.active),
        )


@functools.partial(jit, donate_argnums=0)
def _chosen(old: nnx.State, new: nnx.State, better: Bool[Array, "members"]) -> nnx.State:
    def choose(old: Float[Array, "members *leaf"], new: Float[Array, "members *leaf"]) -> Float[Array, "members *leaf"]:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, old, new)
