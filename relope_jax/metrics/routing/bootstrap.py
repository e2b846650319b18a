"""Paired bootstrap of areas under deferral curves: intervals and p-values of differences between methods."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real, Shaped

from relope_jax.metrics.auc import require_finite
from relope_jax.metrics.bootstrap import CHUNK, FEWEST, TAILS, draw
from relope_jax.metrics.paired import PairedDifference
from relope_jax.metrics.routing.pgr import apgr, audc, deferral_curve
from relope_jax.metrics.summary import weights_of
from relope_jax.precision import jit

ROUNDING = 1e-12  # areas that differ by less count as equal: summation order


class Resampled(NamedTuple):
    """A metric of M score vectors, and its values in the same R resamples; undefined resamples are left out."""

    value: Float[np.ndarray, "m"]
    resamples: Float[np.ndarray, "m r"]
    left_out: int

    def difference(self, methods: list[str], first: str, second: str) -> PairedDifference:
        """Mean of `first` over its seeds minus that of `second`, paired by resample, with a percentile interval.

        p is two-sided: twice the share of resamples on the other side of 0. The original sample counts as one of them,
        so p is at least 2 / (r + 1). Draw more resamples if many tests are to be corrected.

        Args:
          methods: the method of every row.
        """
        weights = weights_of(methods, first) - weights_of(methods, second)
        value, drawn = float(weights @ self.value), weights @ self.resamples
        low, high = map(float, np.quantile(drawn, TAILS)) if drawn.size else (np.nan, np.nan)
        tail = min(np.sum(drawn <= ROUNDING), np.sum(drawn >= -ROUNDING))
        p = float(min(1.0, 2 * (1 + tail) / (1 + drawn.size)))
        return PairedDifference(first, second, value, low, high, p, p)


class RoutingBootstrap(NamedTuple):
    """Both areas in the same resamples. APGR is undefined if both models are equally good and unstable if they nearly
    are; AUDC is always defined."""

    apgr: Resampled
    audc: Resampled


def bootstrap_routing(
    scores: Real[np.ndarray, "m n"],
    small: Int[np.ndarray, "n"],
    large: Int[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> RoutingBootstrap:
    """APGR and AUDC in the same resamples of the N samples as `bootstrap` draws for the AUC.

    Args:
      small, large: whether each model is right.
      groups: the group of every sample (several questions about one image); whole groups are drawn.

    Raises:
      ValueError: a score is not finite.
    """
    require_finite(scores)
    units, unit = np.unique(np.arange(len(small)) if groups is None else groups, return_inverse=True)
    ranks = [_ties(row) for row in scores]
    order, starts, ends = (np.stack(column) for column in zip(*ranks, strict=True))
    gain = np.asarray(large, np.float64) - np.asarray(small, np.float64)
    with jax.enable_x64(True):
        gained, base, gap = map(
            np.asarray,
            _resampled(
                seed,
                unit,
                np.asarray(small, np.float64),
                gain,
                order,
                starts,
                ends,
                n_units=len(units),
                n_resamples=n_resamples,
            ),
        )
    curve = deferral_curve(scores, small, large)
    defined = np.abs(gap) > ROUNDING
    recovered = gained[:, defined] / gap[defined]
    return RoutingBootstrap(
        Resampled(apgr(curve), recovered, int(np.sum(~defined))), Resampled(audc(curve), base + gained, 0)
    )


def _ties(
    scores: Real[np.ndarray, "n"],
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """The ascending order, and the start and end of every ranked sample's group of ties."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    return order, np.searchsorted(ranked, ranked, "left"), np.searchsorted(ranked, ranked, "right")


@functools.partial(jit, static_argnames=("n_units", "n_resamples"))
def _resampled(
    seed: int | Int[Array, ""],
    unit: Int[Array, "n"],
    small: Float[Array, "n"],
    gain: Float[Array, "n"],
    order: Int[Array, "m n"],
    starts: Int[Array, "m n"],
    ends: Int[Array, "m n"],
    *,
    n_units: int,
    n_resamples: int,
) -> tuple[Float[Array, "m r"], Float[Array, "r"], Float[Array, "r"]]:
    """For every resample: AUDC - a_small of each router; a_small; a_large - a_small."""
    chunk = min(n_resamples, max(FEWEST, CHUNK // len(unit)))

    def some(
        resamples: Int[Array, "chunk"],
    ) -> tuple[Float[Array, "m chunk"], Float[Array, "chunk"], Float[Array, "chunk"]]:
        weights = draw(seed, resamples, n_units)[unit]
        size = jnp.sum(weights, axis=0).astype(jnp.float64)
        times = weights.astype(jnp.float64)

        def one(member: tuple[Int[Array, "n"], Int[Array, "n"], Int[Array, "n"]]) -> Float[Array, "chunk"]:
            """A sample's gain counts for the share of the curve after it; tied samples share their group's
            positions."""
            order, starts, ends = member
            before = jnp.cumsum(weights[order], axis=0, dtype=jnp.int32)
            before = jnp.concatenate([jnp.zeros((1, chunk), jnp.int32), before])
            middle = (before[starts] + before[ends]).astype(jnp.float64) / (2.0 * size[None])
            return jnp.sum(times[order] * gain[order][:, None] * (1.0 - middle), axis=0) / size

        gained = jax.lax.map(one, (order, starts, ends))
        return gained, small @ times / size, gain @ times / size

    chunks = -(-n_resamples // chunk)
    gained, base, gap = jax.lax.map(some, jnp.arange(chunks * chunk).reshape(chunks, chunk))
    gained = gained.transpose(1, 0, 2).reshape(len(order), -1)
    return gained[:, :n_resamples], base.reshape(-1)[:n_resamples], gap.reshape(-1)[:n_resamples]
