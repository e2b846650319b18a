"""Prints how many tokens images and prompts take, before an extraction begins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from extract.backbone.batching import Size
from extract.job.health import spread
from extract.queries.queries import QueryBuilder
from extract.sample import Sample

LOOKED_AT = 1000  # samples, spread over the data
SECONDS = 3.0  # limit for measuring samples; each image size is measured only once


def describe_tokens(queries: QueryBuilder, samples: Sequence[Sample], n_positions: float) -> str:
    """One line with tokens per image and per prompt and the model's maximum length. No image is decoded.

    Samples that cannot be used are skipped here; the extraction lists them.
    """
    images: dict[Size, int] = {}
    prompts, end = [], time.monotonic() + SECONDS
    for sample in _spread_out(spread(samples, LOOKED_AT)):
        try:
            prompts.append(queries.length(sample))
            images |= queries.image_tokens(sample)
        except Exception:  # any error of one sample; the extraction lists it
            continue
        if time.monotonic() > end:
            break
    positions = f"model positions {n_positions:,}" if n_positions < float("inf") else "model positions unknown"
    if not prompts:
        return f"images and prompts: none could be measured; {positions}"
    return f"{_of_images(images)}prompts: {_of_prompts(prompts, len(samples))}; {positions}"


def _spread_out(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples in an order in which every prefix is spread over all of them."""
    step = 7919  # a prime above LOOKED_AT, so that every sample occurs once
    return [samples[i * step % len(samples)] for i in range(len(samples))]


def _of_images(tokens: dict[Size, int]) -> str:
    if not tokens:
        return ""
    counts = sorted(tokens.values())
    each = f"{counts[0]:,} to {counts[-1]:,}" if counts[0] < counts[-1] else f"{counts[0]:,}"
    sizes = "1 size" if len(counts) == 1 else f"{len(counts):,} sizes"
    return f"images: {each} tokens each (median {statistics.median_low(counts):,}, over {sizes} measured), "


def _of_prompts(lengths: list[int], n: int) -> str:
    seen = "" if len(lengths) == n else f" ({len(lengths):,} of {n:,} measured)"
    return f"median {statistics.median_low(lengths):,}, longest {max(lengths):,} tokens{seen}"
