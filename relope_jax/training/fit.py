"""Trains an ensemble in one program. Each member has its own early stopping; resuming is bit-exact."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Bool, Float, Int

from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError
from relope_jax.machine import mesh as meshes
from relope_jax.methods import TrainedMethod
from relope_jax.metrics import auc as aucs
from relope_jax.models.probes import Parts
from relope_jax.models.spec import ReLopeSpec
from relope_jax.training.assembly import assemble
from relope_jax.training.best import Best
from relope_jax.training.feeds.buckets import Batches, shuffled_batches
from relope_jax.training.feeds.feed import Feed
from relope_jax.training.members import Member, ensembles, hyper, scheduled_epochs
from relope_jax.training.scoring import log_odds
from relope_jax.training.snapshots import Snapshot, load_snapshot, save_snapshot
from relope_jax.training.step import EpochPlan, Examples, start

Log = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained ensemble: the best parameters of every member by validation AUC."""

    parts: Parts
    best_epoch: Int[np.ndarray, "members"]
    best_auc: Float[np.ndarray, "members"]
    best_beta: Float[np.ndarray, "members"]  # in the last step of that epoch

    def record(self, i: int, member: Member) -> dict[str, Any]:
        """The best epoch of member i as JSON; `beta_at_best` is None for a method without a KL term."""
        beta = float(self.best_beta[i]) if isinstance(member.spec, ReLopeSpec) else None
        return {
            "best_epoch": int(self.best_epoch[i]),
            "validation_auc": float(self.best_auc[i]),
            "beta_at_best": beta,
        }


class NonFiniteLoss(ReLopeError):
    """A training loss was not finite. Attributes: `step`, `member` (index) and `sample_ids` of the batch."""

    def __init__(self, method: TrainedMethod, step: int, member: int, seed: int, sample_ids: list[str]):
        self.step, self.member, self.sample_ids = step, member, sample_ids
        some = ", ".join(sample_ids[:5])
        super().__init__(
            f"{method.name}: the loss is not finite at step {step}, member {member} (seed {seed}), on the "
            f"{len(sample_ids)} samples {some}, ...: lower --config.{method.name}.learning_rate"
        )


def fit(
    method: TrainedMethod,
    members: Sequence[Member],
    data: RouterData,
    feed: Feed,
    log: Log,
    folder: Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Fitted:
    """Train the members on the training split, with early stopping on each member's validation AUC.

    Args:
      members: members that can share a program (see `members.ensembles`).
      feed: the feed of `data`.
      log: receives one record per member and epoch (see metrics.jsonl in docs/design/formats.md).
      folder: saves the training here every `checkpoint_seconds` and resumes from here; None disables saving.

    Raises:
      NonFiniteLoss: a loss is not finite.
      ReLopeError: `folder` has a training with other settings or data.
    """
    assert len(ensembles(members)) == 1, "these members need separate programs"
    train = members[0].train
    feed = feed.of(method)
    labels = data.labels.astype(np.float32)
    parts = meshes.replicate(feed.mesh, assemble(method, members, data.block, data.statistics))
    settings = meshes.replicate(feed.mesh, hyper(members))
    identity = data.identity | {"jax": jax.__version__, "method": method.name, "members": [m.record() for m in members]}
    at = begin(parts, members, feed)
    parts = parts._replace(params=nnx.State({}))  # `at.state` has the parameters that change
    if folder is not None:
        at = load_snapshot(folder, identity, at)
        at = at._replace(state=meshes.replicate(feed.mesh, at.state))
    saved = time.monotonic()
    scheduled = scheduled_epochs(members)
    for epoch in range(at.epoch + 1, train.epochs + 1):
        running = at.best.running(epoch, train.patience, scheduled)
        if not running.any():
            break
        started = time.perf_counter()
        batches = shuffled_batches(
            data.rows["train"], feed.lengths, train.batch_size, (train.order_seed, epoch), feed.mesh.size
        )
        n_steps = len(batches.rows)
        progress = ((at.step + np.arange(n_steps)) / (train.epochs * n_steps)).astype(np.float32)
        examples = Examples(labels[batches.rows], batches.weights)
        done = feed.epoch(at.state, EpochPlan(parts, settings, running, batches, examples, progress))
        seconds = time.perf_counter() - started
        require_finite_loss(method, done.metrics["loss"], running, batches, at.step, members, data.sample_ids)
        auc = validation_auc(method, parts._replace(params=done.state.params), feed, data, running)
        active = done.metrics.get("active_dimensions", np.full((1, len(members)), np.inf))[-1]
        best = at.best.update(done.state.params, auc, epoch, running, done.metrics["beta"][-1], active)
        at = Snapshot(epoch, at.step + n_steps, done.state, best)
        speed = {
            "samples_per_second": len(data.rows["train"]) * len(members) / seconds,
            "padding": batches.waste(feed.lengths),
            "input_wait": done.waited / seconds,
        }
        for record in records(method, members, at, running, done.metrics, auc, speed):
            log(record)
        due = time.monotonic() - saved >= checkpoint_seconds and epoch < train.epochs
        if folder is not None and meshes.agreed(due):
            save_snapshot(folder, identity, at)
            saved = time.monotonic()
    warn_if_collapsed(method, members, at.best)
    warn_of_lower_beta(method, members, at.best)
    return Fitted(parts._replace(params=at.best.params), at.best.epoch, at.best.auc, at.best.beta)


def begin(parts: Parts, members: Sequence[Member], feed: Feed) -> Snapshot:
    """The snapshot of a training before its first step."""
    keys = jnp.stack([jax.random.key(m.seed) for m in members])
    state = meshes.replicate(feed.mesh, start(parts, meshes.replicate(feed.mesh, keys)))
    best = Best.start(parts.params, len(members))
    return Snapshot(0, 0, state._replace(params=jax.tree.map(jnp.copy, parts.params)), best)


def validation_auc(
    method: TrainedMethod, parts: Parts, feed: Feed, data: RouterData, running: Bool[np.ndarray, "members"]
) -> Float[np.ndarray, "members"]:
    """Validation AUC of every member's log-odds; 1/2 for a stopped member whose log-odds are not finite."""
    rows = data.rows["validation"]
    predicted = log_odds(parts, feed, rows)
    finite = np.isfinite(predicted).all(axis=1)
    if not finite[running].all():
        raise ReLopeError(
            f"{method.name}: the parameters of member {int(np.argmin(finite | ~running))} are not finite: "
            f"lower --config.{method.name}.learning_rate"
        )
    return aucs.auc(np.where(finite[:, None], predicted, 0.0), data.labels[rows])


def records(
    method: TrainedMethod,
    members: Sequence[Member],
    at: Snapshot,
    running: Bool[np.ndarray, "members"],
    metrics: dict[str, Float[np.ndarray, "steps members"]],
    auc: Float[np.ndarray, "members"],
    speed: dict[str, float],
) -> list[dict[str, Any]]:
    """Records for metrics.jsonl, one per member that trained in the epoch; metrics are means over its steps."""
    return [
        {"method": method.name, "member": i, "seed": member.seed, "epoch": at.epoch, "step": at.step}
        | {name: float(np.mean(value[:, i])) for name, value in metrics.items()}
        | {"learning_rate": member.spec.learning_rate, "validation_auc": float(auc[i])}
        | speed
        for i, member in enumerate(members)
        if running[i]
    ]


def warn_if_collapsed(method: TrainedMethod, members: Sequence[Member], best: Best) -> None:
    """Warn if a member's bottleneck carries no information about the input in its best epoch."""
    collapsed = [str(m.seed) for m, active in zip(members, best.active, strict=True) if active < 1]
    if collapsed:
        logging.warning(
            "%s: the posterior has collapsed onto the prior (no active dimension; seeds %s): "
            "lower --config.relope.beta or use --config.relope.kl_reduction=mean",
            method.name,
            ", ".join(collapsed),
        )


def warn_of_lower_beta(method: TrainedMethod, members: Sequence[Member], best: Best) -> None:
    """Warn if beta was still rising in a member's best epoch."""
    early = [int(i) for i in np.flatnonzero(best.epoch < scheduled_epochs(members))]
    if early:
        kept = ", ".join(f"seed {members[i].seed}: {best.beta[i]:.2g} in epoch {best.epoch[i]}" for i in early)
        logging.warning(
            "%s: the best validation AUC came before beta had reached its final value (%s): lower --config.%s.beta, or "
            "--config.%s.beta_warmup to reach it sooner",
            method.name,
            kept,
            method.name,
            method.name,
        )


def require_finite_loss(
    method: TrainedMethod,
    loss: Float[np.ndarray, "steps members"],
    running: Bool[np.ndarray, "members"],
    batches: Batches,
    first_step: int,
    members: Sequence[Member],
    sample_ids: list[str],
) -> None:
    """Raise NonFiniteLoss at the first non-finite loss of a running member."""
    bad = np.argwhere(~np.isfinite(loss) & running[None])
    if len(bad):
        step, member = (int(i) for i in bad[0])
        rows = batches.rows[step][batches.weights[step] > 0]
        ids = [sample_ids[row] for row in rows]
        raise NonFiniteLoss(method, first_step + step, member, members[member].seed, ids)
