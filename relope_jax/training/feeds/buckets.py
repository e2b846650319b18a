"""Length buckets: a few padded widths, and the batches of an epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MOST = 16  # widths; each is compiled separately
WASTE = 0.13  # target share of padding when choosing widths
Pieces = list[Int[np.ndarray, "_"]]  # the samples of every batch; the last batches may be shorter
FINE = 64  # prompts up to this length are padded to an exact length, longer ones to a multiple of 8


class Batches(NamedTuple):
    """Steps in order, each with B samples; samples with weight 0 are padding and do not count. A step is padded to
    `widths[bucket]` tokens; `widths` are ascending."""

    rows: Int[np.ndarray, "steps batch"]
    weights: Float[np.ndarray, "steps batch"]
    bucket: Int[np.ndarray, "steps"]
    widths: tuple[int, ...]

    def waste(self, lengths: Int[np.ndarray, "samples"]) -> float:
        """Share of computed tokens that are padding."""
        computed = self.rows.shape[1] * np.asarray(self.widths)[self.bucket].sum()
        return 1.0 - float((lengths[self.rows] * self.weights).sum() / computed)


def shuffled_batches(
    rows: Int[np.ndarray, "samples"],
    lengths: Int[np.ndarray, "all_samples"],
    batch_size: int,
    key: tuple[int, int],
    multiple: int = 1,
) -> Batches:
    """Batches of one epoch in random order, each with random samples of one bucket.

    Bucket boundaries are batch boundaries when all samples are sorted by length, so only one batch per epoch is short.
    Widths and the number of batches per width are the same in every epoch.

    Args:
      key: (seed of the order, epoch).
      multiple: a batch is padded to a multiple of this many samples, so that devices share it evenly.
    """
    rng = np.random.default_rng(key)
    size = min(batch_size, len(rows))
    order = rng.permutation(rows)
    pieces, widths, bucket = _bucketed(order[np.argsort(lengths[order], kind="stable")], lengths, size)
    mixed: Pieces = []
    for i in range(len(widths)):
        members = rng.permutation(np.concatenate([p for p, b in zip(pieces, bucket, strict=True) if b == i]))
        mixed += _cut(members, size)
    steps = rng.permutation(len(mixed))
    return _stack([mixed[i] for i in steps], bucket[steps], widths, -(-size // multiple) * multiple)


def sorted_batches(
    rows: Int[np.ndarray, "samples"], lengths: Int[np.ndarray, "all_samples"], size: int
) -> tuple[Batches, Int[np.ndarray, "samples"]]:
    """Batches of samples sorted by length, for scoring; and the position of each of `rows` in the flattened batches."""
    order = np.argsort(lengths[rows], kind="stable")
    pieces, widths, bucket = _bucketed(rows[order], lengths, size)
    batches = _stack(pieces, bucket, widths, size)
    place = np.empty(len(rows), np.int64)
    place[order] = np.flatnonzero(batches.weights)
    return batches, place


def choose_widths(
    tops: Int[np.ndarray, "batches"], tokens: float, waste: float = WASTE, most: int = MOST
) -> tuple[int, ...]:
    """The smallest set of widths whose padding is below `waste`, chosen to minimise padding.

    Args:
      tops: the longest prompt of every batch.
      tokens: the sum over batches of the average prompt length; anything computed beyond this is padding.
    """
    step = 1 if tops.max() <= FINE else 8
    widths, counts = np.unique(-(-tops // step) * step, return_counts=True)
    # cost[j]: fewest tokens for the batches up to widths[j]; every round adds one bucket.
    below = np.concatenate([[0], np.cumsum(counts)])
    cost = widths * below[1:]
    cuts = [np.zeros(len(widths), np.int64)]
    while cost[-1] * (1 - waste) > tokens and len(cuts) < min(most, len(widths)):
        alone = widths[None, :] * (below[None, 1:] - below[:-1, None])  # bucket of the batches i..j, where i <= j
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


def _bucketed(
    ordered: Int[np.ndarray, "samples"], lengths: Int[np.ndarray, "all_samples"], size: int
) -> tuple[Pieces, tuple[int, ...], Int[np.ndarray, "batches"]]:
    """Samples sorted by length and cut into batches, with the widths and every batch's bucket. The narrowest batch is
    the short one, because its padding is cheapest."""
    pieces = _cut(ordered[::-1], size)[::-1]
    tops = np.array([lengths[piece].max() for piece in pieces])
    widths = choose_widths(tops, sum(lengths[piece].mean() for piece in pieces))
    return [piece[::-1] for piece in pieces], widths, np.searchsorted(widths, tops)


def _cut(samples: Int[np.ndarray, "samples"], size: int) -> Pieces:
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def _stack(pieces: Pieces, bucket: Int[np.ndarray, "batches"], widths: tuple[int, ...], size: int) -> Batches:
    rows = np.stack([np.resize(piece, size) for piece in pieces]).astype(np.int32)
    filled = np.array([len(piece) for piece in pieces])
    weights = (np.arange(size)[None] < filled[:, None]).astype(np.float32)
    return Batches(rows, weights, bucket.astype(np.int32), widths)
