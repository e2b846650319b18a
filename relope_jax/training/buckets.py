"""Length buckets: the few widths that batches are padded to, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MOST = 8  # widths; each one is compiled
WASTE = 0.13  # share of padding that choosing widths aims at
FINE = 64  # prompts up to this length are padded to an exact length, longer ones to a multiple of 8


@dataclasses.dataclass(frozen=True)
class Buckets:
    """`widths` in tokens, narrowest first; `index[i]` is the narrowest bucket that holds sample i."""

    widths: tuple[int, ...]
    index: Int[np.ndarray, "samples"]
    lengths: Int[np.ndarray, "samples"]

    @staticmethod
    def fit(lengths: Int[np.ndarray, "samples"]) -> Buckets:
        """As few widths as keep padding below `WASTE`, at most `MOST`."""
        widths = choose_widths(lengths)
        return Buckets(widths, np.searchsorted(widths, lengths), lengths)


def choose_widths(lengths: Int[np.ndarray, "samples"], most: int = MOST, waste: float = WASTE) -> tuple[int, ...]:
    """The widths that pad least, for the smallest number of them whose padding is below `waste`."""
    step = 1 if lengths.max() <= FINE else 8
    widths, counts = np.unique(-(-lengths // step) * step, return_counts=True)
    # cost[j]: tokens when the prompts up to widths[j] share out as best they can; one more bucket each round.
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = widths * below[1:]
    cuts = [np.zeros(len(widths), np.int64)]
    while cost[-1] * (1 - waste) > lengths.sum() and len(cuts) < min(most, len(widths)):
        alone = widths[None, :] * (below[None, 1:] - below[:-1, None])  # bucket of the prompts i..j, where i <= j
        options = np.concatenate([[0], cost[:-1]])[:, None] + alone
        options[np.tril_indices(len(widths), -1)] = np.iinfo(np.int64).max
        cuts.append(options.argmin(axis=0))
        cost = options.min(axis=0)
    chosen, end = [], len(widths) - 1
    for cut in reversed(cuts):
        if end >= 0:
            chosen.append(int(widths[end]))
            end = int(cut[end]) - 1
    return tuple(reversed(chosen))


class Batches(NamedTuple):
    """Steps in order, all of B samples; those of weight 0 fill a batch up and count for nothing."""

    rows: Int[np.ndarray, "steps batch"]
    weights: Float[np.ndarray, "steps batch"]
    bucket: Int[np.ndarray, "steps"]

    def waste(self, buckets: Buckets) -> float:
        """Share of computed tokens that are padding."""
        computed = self.rows.shape[1] * np.asarray(buckets.widths)[self.bucket].sum()
        return 1.0 - float((buckets.lengths[self.rows] * self.weights).sum() / computed)


def shuffled_batches(
    rows: Int[np.ndarray, "samples"], buckets: Buckets, batch_size: int, key: tuple[int, int], multiple: int = 1
) -> Batches:
    """Batches of one epoch in random order, each within one bucket.

    What does not fill a batch goes up to the next wider bucket, so only one batch of an epoch is short, and the
    number of batches of every width is the same in every epoch.

    Args:
      key: (seed of the order, epoch).
      multiple: of samples that a batch is filled up to, so that devices share it evenly.
    """
    rng = np.random.default_rng(key)
    order = rng.permutation(rows)
    size = min(batch_size, len(rows))
    kept: list[np.ndarray] = []
    bucket: list[int] = []
    carried = order[:0]
    for i in range(len(buckets.widths)):
        members = np.concatenate([carried, order[buckets.index[order] == i]])
        last = i == len(buckets.widths) - 1
        cut = len(members) if last else len(members) // size * size
        kept += [members[j : j + size] for j in range(0, cut, size)]
        bucket += [i] * (len(kept) - len(bucket))
        carried = members[cut:]
    steps = rng.permutation(len(kept))
    return _stack([kept[i] for i in steps], np.array(bucket)[steps], -(-size // multiple) * multiple)


def sorted_batches(
    rows: Int[np.ndarray, "samples"], buckets: Buckets, size: int
) -> tuple[Batches, Int[np.ndarray, "samples"]]:
    """Batches of samples by length, for scoring; and where each of `rows` is in them, counted batch by batch."""
    order = np.argsort(buckets.lengths[rows], kind="stable")
    pieces = [rows[order[i : i + size]] for i in range(0, len(rows), size)]
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return _stack(pieces, np.array([buckets.index[piece].max() for piece in pieces]), size), place


def _stack(pieces: list[np.ndarray], bucket: np.ndarray, size: int) -> Batches:
    rows = np.stack([np.resize(piece, size) for piece in pieces]).astype(np.int32)
    filled = np.array([len(piece) for piece in pieces])
    weights = (np.arange(size)[None] < filled[:, None]).astype(np.float32)
    return Batches(rows, weights, bucket.astype(np.int32))
