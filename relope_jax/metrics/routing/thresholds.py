"""A threshold with a guarantee: Learn-then-Test (Angelopoulos et al. 2021) along a fixed sequence of thresholds.

A query whose score is below the threshold is deferred. Thresholds are tested one after another, from the safest on,
each whether the goal is missed; the last one before the first test that fails is chosen. Every test is made at the full
level: of all real numbers on the way, the first threshold at which the goal is truly missed is one fixed number, and to
go as far as that the test there must have erred. Between two scores that were seen a test does not change, so to test
at these is to test everywhere, and they may come from the same data.
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
# Shares of queries kept where the search for an accuracy starts: of kept answers, and of both models together where
# deferring everything is not enough.
KEPT_SHARES = (0.5, 0.25, 0.1)
SYSTEM_SHARES = (1.0, 0.75, 0.5, 0.25)


@dataclasses.dataclass(frozen=True)
class Queries:
    """Queries of one split with a router's scores. `groups`: queries of one group (one image) are not independent."""

    scores: Real[np.ndarray, "n"]
    small: Int[np.ndarray, "n"]
    groups: Shaped[np.ndarray, "n"]
    large: Int[np.ndarray, "n"] | None = None
    costs: QueryCosts | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclasses.dataclass(frozen=True)
class Goal:
    """`wins / counted` shall exceed `ratio`, both summed over queries; wins are in [0, 1]."""

    ratio: float
    wins: Callable[[Queries, Deferred], Float[np.ndarray, "n"]]
    counted: Callable[[Deferred], Deferred] = np.ones_like

    def estimate(self, queries: Queries, threshold: float) -> float:
        """wins / counted on these queries; NaN when nothing counts."""
        deferred = queries.scores < threshold
        size = self.counted(deferred).sum()
        return float(self.wins(queries, deferred).sum() / size) if size else np.nan


def system_accuracy(target: float) -> Goal:
    """Accuracy of the small model on kept queries and the large one on deferred ones, together."""

    def wins(queries: Queries, deferred: Deferred) -> Float[np.ndarray, "n"]:
        assert queries.large is not None
        return np.where(deferred, queries.large, queries.small).astype(np.float64)

    return Goal(target, wins)


def kept_accuracy(target: float) -> Goal:
    """Accuracy of the small model on the queries that it keeps."""
    return Goal(target, lambda queries, deferred: np.where(deferred, 0.0, queries.small), np.logical_not)


def kept_share(share: float) -> Goal:
    """Share of queries kept: 1 - the share deferred."""
    return Goal(share, lambda queries, deferred: 1.0 - deferred)


def saving(budget: float, dearest: float) -> Goal:
    """What a query costs less than `dearest`, over `dearest`: costs of at most `dearest` stay below `budget`."""

    def wins(queries: Queries, deferred: Deferred) -> Float[np.ndarray, "n"]:
        assert queries.costs is not None
        return 1 - np.where(deferred, queries.costs.defer, queries.costs.keep) / dearest

    return Goal(1 - budget / dearest, wins)


def deferring_less(scores: Real[np.ndarray, "n"], start: float = np.inf) -> Iterator[float]:
    """Thresholds from `start` down (infinite: defer everything)."""
    yield start
    yield from np.unique(scores[scores < start])[::-1].tolist()


def deferring_more(scores: Real[np.ndarray, "n"]) -> Iterator[float]:
    """Thresholds from deferring nothing up, each just above a score.

    Going up the safe limit is approached from the other side, so these must defer up to and including the score.
    """
    yield -np.inf
    yield from np.nextafter(np.unique(scores), np.inf).tolist()


@dataclasses.dataclass(frozen=True)
class GoalTest:
    """Tests of a goal on labelled queries at a level."""

    goal: Goal
    queries: Queries
    largest: int  # group, seen or to come
    level: float

    def passes(self, threshold: float) -> bool:
        """Whether the goal is met at this threshold on new queries, but for an error of probability `level`."""
        return self._p(threshold) <= self.level

    def needed(self, threshold: float, lost: int = 0) -> int | None:
        """How many labelled queries would be enough at this threshold if more come like these; None if no number is.

        Args:
          lost: so many wins fewer, however many queries come.
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
        """P-value of these queries, or of the units `drawn` from them."""
        units = self._units
        deferred = self.queries.scores < threshold
        wins, counted = self.goal.wins(self.queries, deferred), self.goal.counted(deferred)
        if drawn is not None:
            wins, counted = (np.bincount(units, weights=column)[drawn] for column in (wins, counted))
            units = np.arange(len(drawn))
            wins[0] -= lost
        return ratio_p(wins, counted, self.goal.ratio, units, self.largest, self.level)


def choose(test: GoalTest, thresholds: Iterator[float]) -> float | None:
    """The last threshold of the sequence before the first that fails; None when the first fails."""
    chosen = None
    for threshold in thresholds:
        if not test.passes(threshold):
            break
        chosen = threshold
    return chosen


def starts_of(train: Queries, together: bool, target: float) -> list[float]:
    """Thresholds to start from, none of which comes from the tested queries.

    Accuracy of kept answers has no safest threshold: with few kept nothing can be shown. That of both models together
    has one, to defer everything, unless the large model misses the target.

    Args:
      train: the training split; a router that learns nothing may have no scores there, which are then in [0, 1].
      together: whether the accuracy is that of both models.
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
    """The lowest threshold that any of several sequences reaches, each tested at its share of the level."""
    shared = dataclasses.replace(test, level=test.level / len(starts))
    found = [choose(shared, deferring_less(test.queries.scores, start)) for start in starts]
    return min((threshold for threshold in found if threshold is not None), default=None)
