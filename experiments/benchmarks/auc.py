"""Routing metrics against loops over scikit-learn: AUC of a batch with DeLong's 95% intervals (scikit-learn computes
AUC only), and the bootstrap. The floor of AUC is numpy's sort of the scores, which ranks require."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.benchmarks.measure import Program, Record, measure
from relope_jax.errors import ReLopeError
from relope_jax.metrics.auc import auc_with_interval
from relope_jax.metrics.bootstrap import bootstrap, draw

SHAPES = ((96, 1209), (8, 10**5), (1, 10**6))  # routers and samples; the quickstart's test split has 1209
BOOTSTRAP = (8, 1209)
RESAMPLES = 2000
LOOP = 50  # number of resamples timed with scikit-learn
ROUNDS = 5
AGREEMENT = 1e-12  # required before timing


def run() -> Iterator[Record]:
    """Records for every shape and for the bootstrap."""
    for shape in SHAPES:
        yield from run_auc(*shape)
    yield from run_bootstrap(*BOOTSTRAP)


def run_auc(m: int, n: int) -> Iterator[Record]:
    """AUC and intervals of `m` routers on `n` samples."""
    scores, labels = make_scores(m, n)
    require_agreement(auc_with_interval(scores, labels).auc, loop(scores, labels))
    programs = {
        "ours": Program(lambda: auc_with_interval(scores, labels)),
        "sklearn": Program(lambda: loop(scores, labels)),
        "sort": Program(lambda: np.sort(scores)),
    }
    seconds, ceilings = measure(programs, ROUNDS)
    ours, sklearn, sort = (1e3 * seconds[name] for name in programs)
    yield from ceilings.records(f"auc/{m}x{n}")
    yield Record.of_time(f"auc/{m}x{n}/auc_with_intervals_vs_sklearn_auc", ours, sklearn, sort)


def run_bootstrap(m: int, n: int) -> Iterator[Record]:
    """All of our resamples against a few of scikit-learn's, on the rows that ours drew."""
    scores, labels = make_scores(m, n)
    with jax.enable_x64(True):
        drawn = np.asarray(draw(0, jnp.arange(LOOP), n))
    rows = [np.repeat(np.arange(n), times) for times in drawn.T]
    both_classes = [row for row in rows if 0 < labels[row].sum() < n]

    def sklearn() -> np.ndarray:
        return np.stack([loop(scores[:, row], labels[row]) for row in both_classes], axis=1)

    require_agreement(bootstrap(scores, labels, n_resamples=LOOP).auc, sklearn())
    programs = {
        "ours": Program(lambda: bootstrap(scores, labels, n_resamples=RESAMPLES), RESAMPLES),
        "sklearn": Program(sklearn, len(both_classes)),
    }
    seconds, ceilings = measure(programs, ROUNDS)
    ours, theirs = (1e3 * RESAMPLES * seconds[name] for name in programs)
    name = f"auc/{m}x{n}/bootstrap_{RESAMPLES}_vs_sklearn_extrapolated_from_{LOOP}"
    yield from ceilings.records(f"auc/{m}x{n}/bootstrap")
    yield Record(name, ours, "ms", theirs, theirs / ours)


def make_scores(m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of routers that are right more often than not, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    return 1.0 / (1.0 + np.exp(-(rng.normal(size=(m, n)) + labels))), labels


def loop(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC with one scikit-learn call per router."""
    return np.array([roc_auc_score(labels, row) for row in scores])


def require_agreement(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Check that both compute the same AUCs.

    Raises:
      ReLopeError: they differ.
    """
    error = float(np.abs(ours - theirs).max())
    if not error < AGREEMENT:
        raise ReLopeError(f"AUCs differ from scikit-learn's by {error:.1e}: nothing is timed")
