"""A threshold with a guarantee: Learn-then-Test (Angelopoulos et al. 2021) along a fixed sequence of thresholds.

Queries with scores below the threshold are deferred. Thresholds are tested in sequence, starting with the safest,
against the null hypothesis that the goal is missed. The last threshold before the first failed test is chosen. Every
test uses the full level: along the sequence of all real thresholds, the first one that truly misses the goal is a fixed
number, and to get past it, the test there must err. A test does not change between two observed scores, so it is enough
to test at the observed scores, which may come from the same data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

from relope_jax.metrics.routing.bounds import ratio_p, units_needed
from relope_jax.metrics.routing.cost import QueryCosts

Deferred = Bool[np.ndarray, "n"]
# Shares of kept queries at which the search for an accuracy starts: for the accuracy of kept answers, and for both
# models together if deferring everything is not enough.
KEPT_SHARES = (0.5, 0.25, 0.1)
SYSTEM_SHARES = (1.0, 0.75, 0.5, 0.25)


@dataclasses.dataclass(frozen=True)
class Queries:
    """Queries of one split with a router's scores. Queries of one group in `groups` (one image) are not independent."""

    scores: Real[np.ndarray, "n"]
    small: Int[np.ndarray, "n"]
    groups: Shaped[np.ndarray, "n"]
    large: Int[np.ndarray, "n"] | None = None
    costs: QueryCosts | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclasses.dataclass(frozen=True)
class Goal:
    """The goal that `wins / counted`, both summed over queries, exceeds `ratio`; wins are in [0, 1]."""

    ratio: float
    wins: Callable[[Queries, Deferred], Float[np.ndarray, "n"]]
    counted: Callable[[Deferred], Deferred] = np.ones_like

    def estimate(self, queries: Queries, threshold: float) -> float:
        """wins / counted on these queries; NaN if nothing counts."""
        deferred = queries.scores < threshold
        size = self.counted(deferred).sum()
        return float(self.wins(queries, deferred).sum() / size) if size else np.nan


def system_accuracy(target: float) -> Goal:
    """Overall accuracy: the small model on kept queries and the large model on deferred ones."""

    def wins(queries: Queries, deferred: Deferred) -> Float[np.ndarray, "n"]:
        assert queries.large is not None
        return np.where(deferred, queries.large, queries.small).astype(np.float64)

    return Goal(target, wins)


def kept_accuracy(target: float) -> Goal:
    """Accuracy of the small model on kept queries."""
    return Goal(target, lambda queries, deferred: np.where(deferred, 0.0, queries.small), np.logical_not)


def kept_share(share: float) -> Goal:
    """Share of kept queries: 1 - the share deferred."""
    return Goal(share, lambda queries, deferred: 1.0 - deferred)


def saving(budget: float, dearest: float) -> Goal:
    """Saving relative to `dearest`, the highest cost of a query, so that the mean cost stays below `budget`."""

    def wins(queries: Queries, deferred: Deferred) -> Float[np.ndarray, "n"]:
        assert queries.costs is not None
        return 1 - np.where(deferred, queries.costs.defer, queries.costs.keep) / dearest

    return Goal(1 - budget / dearest, wins)


def deferring_less(scores: Real[np.ndarray, "n"], start: float = np.inf) -> Iterator[float]:
    """Thresholds descending from `start` (infinite: defer everything)."""
    yield start
    yield from np.unique(scores[scores < start])[::-1].tolist()


def deferring_more(scores: Real[np.ndarray, "n"]) -> Iterator[float]:
    """Thresholds ascending from deferring nothing, each just above a score.

    Ascending thresholds approach the safe limit from the other side, so they must also defer the score itself.
    """
    yield -np.inf
    yield from np.nextafter(np.unique(scores), np.inf).tolist()


@dataclasses.dataclass(frozen=True)
class GoalTest:
    """Tests of a goal on labelled queries at a level."""

    goal: Goal
    queries: Queries
    largest: int  # upper bound on the size of a group, present or future
    level: float

    def passes(self, threshold: float) -> bool:
        """Whether the test shows, at level `level`, that the goal is met at this threshold on new queries."""
        return self._p(threshold) <= self.level

    def needed(self, threshold: float, lost: int = 0) -> int | None:
        """Number of labelled queries, distributed like these, that would be enough at this threshold; None if no number
        is enough.

        Args:
          lost: number of wins to subtract, independent of the number of queries.
        """
        if not self.goal.estimate(self.queries, threshold) > self.goal.ratio:
            return None
        deferred = self.queries.scores < threshold
        excess = self.goal.wins(self.queries, deferred) - self.goal.ratio * self.goal.counted(deferred)
        worth = np.bincount(self._units, weights=excess)
        enough = units_needed(lambda drawn: self._p(threshold, drawn, lost), worth, self.level)
        return None if enough is None else int(np.ceil(enough * len(self.queries) / len(worth)))

    @functools.cached_property
    def _units(self) -> Int[np.ndarray, "n"]:
        return np.unique(self.queries.groups, return_inverse=True)[1]

    def _p(self, threshold: float, drawn: Int[np.ndarray, "k"] | None = None, lost: int = 0) -> float:
        """P-value for these queries, or for the units `drawn` from them."""
        units = self._units
        deferred = self.queries.scores < threshold
        wins, counted = self.goal.wins(self.queries, deferred), self.goal.counted(deferred)
        if drawn is not None:
            wins, counted = (np.bincount(units, weights=column)[drawn] for column in (wins, counted))
            units = np.arange(len(drawn))
            wins[0] -= lost
        return ratio_p(wins, counted, self.goal.ratio, units, self.largest, self.level)


def choose(test: GoalTest, thresholds: Iterator[float]) -> float | None:
    """The last threshold of the sequence before the first that fails; None if the first one fails."""
    chosen = None
    for threshold in thresholds:
        if not test.passes(threshold):
            break
        chosen = threshold
    return chosen


def starts_of(train: Queries, together: bool, target: float) -> list[float]:
    """Thresholds to start from, independent of the tested queries.

    For the accuracy of kept answers there is no safest threshold, because a test with few kept answers cannot succeed.
    For both models together the safest is to defer everything, unless the large model misses the target.

    Args:
      train: the training split; an untrained router may have no scores there, and its scores are then in [0, 1].
      together: whether the goal is the accuracy of both models together.
    """
    if together and (train.large is None or train.large.mean() > target):
        return [np.inf]
    scores = train.scores[np.isfinite(train.scores)]

    def keeping(share: float) -> float:
        if share == 1:
            return -np.inf
        return float(np.quantile(scores, 1 - share)) if len(scores) else 1 - share

    return [keeping(share) for share in (SYSTEM_SHARES if together else KEPT_SHARES)]


def choose_from(test: GoalTest, starts: Sequence[float]) -> float | None:
    """The lowest threshold reached by any of several sequences, each tested at its share of the level."""
    shared = dataclasses.replace(test, level=test.level / len(starts))
    found = [choose(shared, deferring_less(test.queries.scores, start)) for start in starts]
    return min((threshold for threshold in found if threshold is not None), default=None)
