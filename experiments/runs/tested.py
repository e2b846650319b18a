"""The test split of a run: scores of every method, and labels and token counts of both models."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.runs.sample_table import complete, read_tokens
from relope_jax.errors import ReLopeError
from relope_jax.io.typed import spec_of
from relope_jax.methods import METHODS
from relope_jax.metrics.routing.cost import CostSpec, Reading, Tokens, cost_curve, model_costs, query_costs
from relope_jax.metrics.routing.frontier import aiq, qnc
from relope_jax.metrics.routing.pgr import deferral_curve
from relope_jax.run import CONFIG, SAMPLES, SCORES, Run
from relope_jax.run_schema import MOST_SEEDS

ASKED = ["sample_id", "label"]


@dataclasses.dataclass(frozen=True)
class RoutedSplit:
    """Scores `[seeds, n]` of every method and the small model's labels `[n]`. `large` (the large model's labels) and
    `tokens` are None unless known for every test prompt. Without `groups`, every prompt is its own group."""

    scores: dict[str, np.ndarray]
    labels: np.ndarray
    large: np.ndarray | None = None
    tokens: Tokens | None = None
    costs: CostSpec = dataclasses.field(default_factory=CostSpec)
    sample_ids: tuple[str, ...] = ()
    groups: np.ndarray | None = None

    @property
    def known_large(self) -> np.ndarray:
        """The large model's labels `[n]`; raises ReLopeError if they are unknown."""
        if self.large is None:
            raise ReLopeError("the large model's answers to the test questions are unknown: no query can be routed")
        return self.large

    @property
    def units(self) -> np.ndarray:
        """The independent unit of every prompt `[n]`: its group, or the prompt itself."""
        return np.arange(len(self.labels)) if self.groups is None else self.groups

    def deferral(self, method: str) -> np.ndarray:
        """System accuracy `[seeds, n+1]` over the share routed; needs `large`."""
        return deferral_curve(self._routing_scores(method), self.labels, self.known_large)

    def cost(self, method: str) -> np.ndarray | None:
        """Dollars per query at the same points; None if unknown."""
        reads = METHODS[method].reads
        if self.tokens is None or self.tokens.uncounted(reads):
            return None
        return cost_curve(self._routing_scores(method), query_costs(self.costs, self.tokens, Reading(reads)))

    def _routing_scores(self, method: str) -> np.ndarray:
        """The method's scores. The routing oracle knows both answers and first defers queries that only the large model
        answers correctly."""
        if method == "oracle" and self.large is not None:
            return (self.labels - self.large)[None].astype(np.float64)
        return self.scores[method]


def read_test_split(run: Run) -> RoutedSplit:
    """The test split of a run."""
    table = run.scores.filter(pc.field("split") == "test")
    scores: dict[str, np.ndarray] = {}
    first: pa.Table | None = None
    for method in pc.unique(table["method"]).to_pylist():
        mine = table.filter(pc.field("method") == method)
        known = sorted(pc.unique(mine["seed"]).to_pylist())
        if len(known) > MOST_SEEDS:
            raise ReLopeError(f"{run.path / SCORES} is damaged: it has more than {MOST_SEEDS} seeds")
        seeds = [mine.filter(pc.field("seed") == seed) for seed in known]
        parts = [part for part in (first, *seeds) if part is not None]
        if any(part.select(ASKED) != parts[0].select(ASKED) for part in parts):
            raise ReLopeError(f"{run.path / SCORES} is damaged: not every method and seed has the same test questions")
        first = parts[0]
        scores[method] = np.stack([part["score"].to_numpy() for part in seeds])
        if np.isnan(scores[method]).any():
            raise ReLopeError(f"{run.path / SCORES} is damaged: a test score of {method} is NaN")
    missing = sorted(run.summary["methods"].keys() - scores.keys())
    if first is None or missing:
        raise ReLopeError(f"{run.path / SCORES} has no test scores of {', '.join(missing)}")
    ids, labels = first["sample_id"], first["label"].to_numpy().astype(np.int64)
    names = tuple(ids.to_pylist())
    if len(set(names)) < len(names):
        raise ReLopeError(f"{run.path / SCORES} is damaged: it has duplicate test questions")
    samples = run.samples
    places = pc.index_in(ids.combine_chunks(), samples["sample_id"].combine_chunks())
    if places.null_count:
        raise ReLopeError(f"{run.path / SAMPLES} is damaged: it lacks test questions of {SCORES}")
    samples = samples.take(places)
    costs = spec_of(CostSpec, run.config["costs"], run.path / CONFIG)
    groups = np.array(samples["group"].to_pylist())
    return RoutedSplit(scores, labels, complete(samples, "large_label"), read_tokens(samples), costs, names, groups)


UNKNOWN = {"aiq": math.nan, "qnc": math.nan}


def priced(split: RoutedSplit, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """`{method: {"aiq": ..., "qnc": ...}}` on the test split, means over seeds. NaN if tokens were not counted; QNC is
    also NaN if a router is never as accurate as the better model."""
    costs = {method: split.cost(method) for method in methods}
    known = [method for method in methods if costs[method] is not None]
    if split.large is None or split.tokens is None or not known:
        return dict.fromkeys(methods, UNKNOWN)
    accuracy = {method: split.deferral(method) for method in known}
    owner = np.repeat(np.arange(len(known)), [len(accuracy[method]) for method in known])
    cost_rows = np.concatenate([costs[method] for method in known])
    accuracy_rows = np.concatenate([accuracy[method] for method in known])
    small, large = model_costs(split.costs, split.tokens)
    models = np.array([[small.mean(), split.labels.mean()], [large.mean(), split.large.mean()]])
    quality, normalised = aiq(cost_rows, accuracy_rows), qnc(cost_rows, accuracy_rows, models)
    normalised = np.where(np.isfinite(normalised), normalised, np.nan)
    found = {
        method: {"aiq": float(quality[owner == i].mean()), "qnc": float(normalised[owner == i].mean())}
        for i, method in enumerate(known)
    }
    return {method: found.get(method, UNKNOWN) for method in methods}
