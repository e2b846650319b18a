"""Detects a model that does not work at all: single failures are expected, failures of every sample end the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from relope_jax.errors import ReLopeError

PATIENCE = 8  # initial failures in a row, after which samples from elsewhere are tried
PROBES = 16  # number of those samples

Item = TypeVar("Item")


@dataclasses.dataclass
class Health:
    """What this run knows about the model.

    Attributes:
      worked: whether it produced the states of at least one sample.
      reasons: reasons of its failures until a sample works.
    """

    worked: bool = False
    reasons: list[str] = dataclasses.field(default_factory=list)

    def failed(self, reason: str, probed: Callable[[], tuple[int, bool]]) -> None:
        """Record that a sample failed.

        Args:
          probed: tries samples from elsewhere; returns how many, and whether one of them worked.

        Raises:
          ReLopeError: no sample has worked so far, and no probe works either.
        """
        if self.worked:
            return
        self.reasons.append(reason)
        if len(self.reasons) < PATIENCE:
            return
        tried, self.worked = probed()
        if not self.worked:
            raise every_sample_failed(self.reasons[0], len(self.reasons) + tried)


def every_sample_failed(reason: str, n: int) -> ReLopeError:
    """The error for a run in which every sample failed; nothing is published."""
    return ReLopeError(f"every sample failed ({n} were tried), the first: {reason}")


def spread(items: Sequence[Item], n: int = PROBES) -> tuple[Item, ...]:
    """Up to n items, evenly spread over `items`."""
    n = min(n, len(items))
    return tuple(items[(2 * i + 1) * len(items) // (2 * n)] for i in range(n))
