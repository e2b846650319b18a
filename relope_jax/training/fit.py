"""Trains one method with several seeds at once: vmap over seeds, scan over the steps of an epoch."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError
from relope_jax.methods import TrainedMethod
from relope_jax.metrics.auc import delong
from relope_jax.models.batch import DeviceStates, gather, padded_length, with_key_cache
from relope_jax.models.probes import split_module
from relope_jax.models.spec import ProbeSpec
from relope_jax.states.statistics import token_statistics
from relope_jax.training.losses import beta_at, objective
from relope_jax.training.scoring import ensemble_scores
from relope_jax.training.spec import TrainSpec

Log = Callable[[dict[str, Any]], None]


class Ensemble(NamedTuple):
    """State of all seeds; every leaf has a leading seed axis."""

    params: nnx.State
    optimizer: optax.OptState
    key: PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained ensemble: the best parameters of every seed by validation AUC."""

    graphdef: nnx.GraphDef
    params: nnx.State
    rest: nnx.State
    best_epoch: Int[np.ndarray, "seeds"]
    best_auc: Float[np.ndarray, "seeds"]


def fit(
    method: TrainedMethod,
    spec: ProbeSpec,
    train: TrainSpec,
    data: RouterData,
    states: DeviceStates,
    seeds: tuple[int, ...],
    log: Log,
) -> Fitted:
    """Train `method` on the training split, stopping every seed on validation AUC.

    Args:
      states: `data.states` on the device.
      log: receives one record a seed and epoch (see metrics.jsonl in WORKSPACE.md).

    Raises:
      ReLopeError: a loss is not finite; the message names step, seed and sample ids.
    """
    statistics = token_statistics(data.states.select(data.rows["train"]))

    def build(key: PRNGKeyArray) -> nnx.Module:
        return method.module(spec, data.block, statistics, rngs=nnx.Rngs(params=key))

    graphdef, _, rest = split_module(build(jax.random.key(0)))
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    params = jax.jit(jax.vmap(lambda key: split_module(build(key))[1]))(keys)
    optimizer = make_optimizer(spec, train)
    ensemble = Ensemble(params, jax.vmap(optimizer.init)(params), keys)

    if train.key_cache and method.reads_block:
        states = with_key_cache(states, data.block)
    n = padded_length(data.states)
    labels = jnp.asarray(data.labels, jnp.float32)
    validation = data.rows["validation"]
    best = Best.start(params, len(seeds))
    step = 0
    for epoch in range(1, train.epochs + 1):
        started = time.perf_counter()
        rows, weights = epoch_order(data.rows["train"], train, epoch)
        with jax.default_matmul_precision("highest"):
            ensemble, terms = run_epoch(
                ensemble, rest, states, labels, rows, weights, step,
                graphdef=graphdef, spec=spec, train=train, n=n,
            )  # fmt: skip
        terms = jax.device_get(terms)
        seconds = time.perf_counter() - started
        require_finite_loss(method, terms["loss"], rows, step, seeds, data.sample_ids)
        step += len(rows)

        scores = ensemble_scores(graphdef, ensemble.params, rest, states, validation, n)
        if not np.isfinite(scores).all():
            raise ReLopeError(
                f"{method.name}: the parameters are not finite after step {step}: "
                f"lower --config.{method.name}.learning_rate"
            )
        auc = delong(scores, data.labels[validation]).auc
        running = best.running(epoch, train.patience)
        best = best.update(ensemble.params, auc, epoch, running)
        for i, seed in enumerate(seeds):
            if running[i]:
                record = {name: float(np.mean(value[:, i])) for name, value in terms.items()}
                log({
                    "method": method.name, "seed": seed, "epoch": epoch, "step": step, **record,
                    "learning_rate": spec.learning_rate, "validation_auc": float(auc[i]),
                    "samples_per_second": len(data.rows["train"]) * len(seeds) / seconds,
                })  # fmt: skip
        if not best.running(epoch + 1, train.patience).any():
            break
    warn_if_collapsed(method, terms)
    return Fitted(graphdef, best.params, rest, best.epoch, best.auc)


def make_optimizer(spec: ProbeSpec, train: TrainSpec) -> optax.GradientTransformation:
    """AdamW after clipping to a global norm."""
    return optax.chain(
        optax.clip_by_global_norm(train.clip_norm),
        optax.adamw(spec.learning_rate, weight_decay=train.weight_decay),
    )


def epoch_order(
    rows: Int[np.ndarray, "samples"], train: TrainSpec, epoch: int
) -> tuple[Int[np.ndarray, "steps batch"], Float[np.ndarray, "steps batch"]]:
    """Shuffled batches of one epoch; the last one is filled up with samples of weight 0."""
    order = np.random.default_rng((train.order_seed, epoch)).permutation(rows)
    batch = min(train.batch_size, len(rows))
    steps = -(-len(rows) // batch)
    weights = np.zeros(steps * batch, np.float32)
    weights[: len(rows)] = 1.0
    return np.resize(order, (steps, batch)).astype(np.int32), weights.reshape(steps, batch)


@functools.partial(jax.jit, static_argnames=("graphdef", "spec", "train", "n"), donate_argnums=0)
def run_epoch(
    ensemble: Ensemble,
    rest: nnx.State,
    states: DeviceStates,
    labels: Float[Array, "samples"],
    rows: Int[Array, "steps batch"],
    weights: Float[Array, "steps batch"],
    first_step: Int[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    spec: ProbeSpec,
    train: TrainSpec,
    n: int,
) -> tuple[Ensemble, dict[str, Float[Array, "steps seeds"]]]:
    """One epoch of AdamW for all seeds; every seed sees the same batches, read once."""
    optimizer = make_optimizer(spec, train)
    total_steps = train.epochs * rows.shape[0]

    def step(ensemble: Ensemble, inputs: tuple) -> tuple[Ensemble, dict[str, Array]]:
        index, batch_rows, weight = inputs
        batch = gather(states, batch_rows, n)
        beta = beta_at(spec, (first_step + index) / total_steps)

        def loss_fn(params: nnx.State, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
            output = nnx.merge(graphdef, params, rest)(batch, key)
            return objective(spec, output, labels[batch_rows], weight, beta)

        def one_seed(member: Ensemble) -> tuple[Ensemble, dict[str, Array]]:
            key, noise = jax.random.split(member.key)
            (loss, terms), gradients = jax.value_and_grad(loss_fn, has_aux=True)(member.params, noise)
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer step count
                updates, state = optimizer.update(gradients, member.optimizer, member.params)
            terms |= {"loss": loss, "beta": beta, "gradient_norm": optax.tree.norm(gradients)}
            return Ensemble(optax.apply_updates(member.params, updates), state, key), terms

        return jax.vmap(one_seed)(ensemble)

    index = jnp.arange(rows.shape[0], dtype=jnp.float32)
    return jax.lax.scan(step, ensemble, (index, rows, weights))


class Best(NamedTuple):
    """Best parameters of every seed so far, and when they were reached."""

    params: nnx.State
    auc: Float[np.ndarray, "seeds"]
    epoch: Int[np.ndarray, "seeds"]

    @staticmethod
    def start(params: nnx.State, n_seeds: int) -> Best:
        return Best(jax.tree.map(jnp.copy, params), np.full(n_seeds, -np.inf), np.zeros(n_seeds, np.int64))

    def running(self, epoch: int, patience: int) -> np.ndarray:
        """Which seeds still train in `epoch`."""
        return epoch - self.epoch <= patience

    def update(self, params: nnx.State, auc: np.ndarray, epoch: int, running: np.ndarray) -> Best:
        better = running & (auc > self.auc)

        def choose(old: Array, new: Array) -> Array:
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return Best(
            jax.tree.map(choose, self.params, params),
            np.where(better, auc, self.auc),
            np.where(better, epoch, self.epoch),
        )


def warn_if_collapsed(method: TrainedMethod, terms: dict[str, np.ndarray]) -> None:
    """Say so when no dimension of the bottleneck carries anything about the input any more."""
    if "active_dimensions" in terms and terms["active_dimensions"][-1].min() < 1:
        logging.warning(
            "%s: the posterior has collapsed onto the prior (no active dimension): "
            "lower --config.relope.beta or use --config.relope.kl_reduction=mean",
            method.name,
        )


def require_finite_loss(
    method: TrainedMethod,
    loss: Float[np.ndarray, "steps seeds"],
    rows: Int[np.ndarray, "steps batch"],
    first_step: int,
    seeds: tuple[int, ...],
    sample_ids: list[str],
) -> None:
    """Abort at the first non-finite loss, naming step, seed and the samples of its batch."""
    bad = np.argwhere(~np.isfinite(loss))
    if len(bad):
        step, member = bad[0]
        ids = ", ".join(sample_ids[row] for row in rows[step][:5])
        raise ReLopeError(
            f"{method.name}: the loss is not finite at step {first_step + step}, seed {seeds[member]} "
            f"(samples {ids}, ...): lower --config.{method.name}.learning_rate"
        )
