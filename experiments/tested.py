"""The test split of a run: every method's scores beside what is known of both models' answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.compute as pc

from experiments.sample_table import complete, read_tokens
from relope_jax.methods import METHODS
from relope_jax.metrics.cost import CostSpec, Reading, Tokens, cost_curve, query_costs
from relope_jax.metrics.routing import deferral_curve
from relope_jax.run import SAMPLES, Run


@dataclasses.dataclass(frozen=True)
class RoutedSplit:
    """Scores `[seeds, n]` of every method and the small model's labels `[n]`; `large` (the other model's) and `tokens`
    are None unless they are known of every test prompt: nothing is made up. `groups` are None for older runs."""

    scores: dict[str, np.ndarray]
    labels: np.ndarray
    large: np.ndarray | None = None
    tokens: Tokens | None = None
    costs: CostSpec = dataclasses.field(default_factory=CostSpec)
    sample_ids: tuple[str, ...] = ()
    groups: np.ndarray | None = None

    def deferral(self, method: str) -> np.ndarray:
        """Accuracy of the system `[seeds, n+1]` over the share routed; needs `large`."""
        return deferral_curve(self._routing_scores(method), self.labels, self.large)

    def cost(self, method: str) -> np.ndarray | None:
        """Dollars a query at the same points; None where they are unknown."""
        reads = METHODS[method].reads
        if self.tokens is None or self.tokens.uncounted(reads):
            return None
        return cost_curve(self._routing_scores(method), query_costs(self.costs, self.tokens, Reading(reads)))

    def _routing_scores(self, method: str) -> np.ndarray:
        """Its scores; the oracle of routing knows both answers and defers first what the large model repairs."""
        if method == "oracle" and self.large is not None:
            return (self.labels - self.large)[None].astype(np.float64)
        return self.scores[method]


def read_test_split(run: Run) -> RoutedSplit:
    """The test split of a run; without samples.parquet (older runs) the large model is unknown."""
    table = run.scores.filter(pc.field("split") == "test")
    scores, ids, labels = {}, table["sample_id"][:0], np.zeros(0, np.int64)
    for method in dict.fromkeys(table["method"].to_pylist()):
        mine = table.filter(pc.field("method") == method)
        seeds = [mine.filter(pc.field("seed") == seed) for seed in sorted(set(mine["seed"].to_pylist()))]
        scores[method] = np.stack([part["score"].to_numpy() for part in seeds])
        ids, labels = seeds[0]["sample_id"], seeds[0]["label"].to_numpy().astype(np.int64)
    names = tuple(ids.to_pylist())
    if not (run.path / SAMPLES).exists():
        return RoutedSplit(scores, labels, sample_ids=names)
    samples = run.samples
    samples = samples.take(pc.index_in(ids.combine_chunks(), samples["sample_id"].combine_chunks()))
    costs = CostSpec(**run.config.get("costs", {}))
    groups = np.array(samples["group"].to_pylist())
    return RoutedSplit(scores, labels, complete(samples, "large_label"), read_tokens(samples), costs, names, groups)
