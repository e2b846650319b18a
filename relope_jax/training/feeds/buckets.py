"""Length buckets: the few widths that batches are padded to, and the batches of an epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MOST = 16  # widths; each one is compiled
WASTE = 0.13  # share of padding that choosing widths aims at
Pieces = list[Int[np.ndarray, "_"]]  # the samples of every batch; the last ones have fewer
FINE = 64  # prompts up to this length are padded to an exact length, longer ones to a multiple of 8


class Batches(NamedTuple):
    """Steps in order, all of B samples; those of weight 0 fill a batch up and count for nothing. A step is padded to
    `widths[bucket]` tokens; `widths` are narrowest first."""

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
    """Batches of one epoch in random order, each of random samples of one bucket.

    Buckets end where batches do when all samples are sorted by length, so that one batch of an epoch is short and no
    other is padded for a bucket's rest. Widths and the number of batches of each are the same in every epoch.

    Args:
      key: (seed of the order, epoch).
      multiple: of samples that a batch is filled up to, so that devices share it evenly.
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
    """Batches of samples by length, for scoring; and where each of `rows` is in them, counted batch by batch."""
    order = np.argsort(lengths[rows], kind="stable")
    pieces, widths, bucket = _bucketed(rows[order], lengths, size)
    batches = _stack(pieces, bucket, widths, size)
    place = np.empty(len(rows), np.int64)
    place[order] = np.flatnonzero(batches.weights)
    return batches, place


def choose_widths(
    tops: Int[np.ndarray, "batches"], tokens: float, waste: float = WASTE, most: int = MOST
) -> tuple[int, ...]:
    """The widths that pad least, for the smallest number of them whose padding is below `waste`.

    Args:
      tops: the longest prompt of every batch.
      tokens: of an average prompt of each batch, summed; what is computed beyond is padding.
    """
    step = 1 if tops.max() <= FINE else 8
    widths, counts = np.unique(-(-tops // step) * step, return_counts=True)
    # cost[j]: tokens when the batches up to widths[j] share out as best they can; one more bucket each round.
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
    """Samples in order of length, cut into batches, with the widths and every batch's bucket. The narrowest batch is
    the short one, where filling up costs least."""
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
