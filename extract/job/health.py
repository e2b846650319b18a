"""Whether a model works at all: failures of single samples are expected, failures of every sample end the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from relope_jax.errors import ReLopeError

PATIENCE = 8  # failures before anything worked after which other samples are tried
PROBES = 16  # of these

Item = TypeVar("Item")


@dataclasses.dataclass
class Health:
    """What is known of the model in this run.

    Attributes:
      worked: it gave the states of at least one sample.
      reasons: why it failed, as long as nothing worked.
    """

    worked: bool = False
    reasons: list[str] = dataclasses.field(default_factory=list)

    def failed(self, reason: str, probed: Callable[[], tuple[int, bool]]) -> None:
        """Note that a sample failed.

        Args:
          probed: tries samples from elsewhere; how many it tried, and whether one of them worked.

        Raises:
          ReLopeError: nothing worked so far, and none of the probes does.
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
    """The error of a run whose every sample failed; none of them is published."""
    return ReLopeError(f"every sample failed ({n} were tried), the first: {reason}")


def spread(items: Sequence[Item], n: int = PROBES) -> tuple[Item, ...]:
    """Up to n items, evenly from everywhere in `items`."""
    n = min(n, len(items))
    return tuple(items[(2 * i + 1) * len(items) // (2 * n)] for i in range(n))
