"""Sampling in which every row of a batch has its own random numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

UNIFORM_BITS = 52  # so that a uniform number times a sum stays below the sum in float64


class Draws(LogitsProcessor):
    """Keeps one token per row, drawn from softmax(logits / temperature) within top_p, so that `generate` has no
    choice.

    A row's draw depends on its seed, the number of tokens it has so far, and its own logits, not on the rest of the
    batch. The uniform numbers are generated on the CPU, so every device draws the same from the same logits.
    """

    def __init__(self, temperature: float, top_p: float, seeds: Sequence[int]):
        self._warpers: list[Any] = [TemperatureLogitsWarper(float(temperature))]
        if top_p < 1:
            self._warpers.append(TopPLogitsWarper(float(top_p)))
        self._uniforms = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`[batch, vocabulary]` scores with all but the drawn tokens at -inf.

        Raises:
          ValueError: a row's scores are NaN or infinite.
        """
        for warp in self._warpers:
            scores = warp(input_ids, scores)
        uniforms = [uniform.getrandbits(UNIFORM_BITS) / 2**UNIFORM_BITS for uniform in self._uniforms]
        tokens = inverse_cdf(scores.softmax(dim=-1), torch.tensor(uniforms, dtype=torch.float64))
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def inverse_cdf(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first token at which each row's cumulative probability exceeds the uniform number times the row's sum.

    Args:
      probabilities: `[batch, vocabulary]`, not necessarily summing to 1.
      uniforms: `[batch]` float64 in [0, 1), multiples of 2^-52.

    Returns:
      `[batch]` int64; never a token of probability 0.

    Raises:
      ValueError: a row's probabilities are NaN or infinite.
    """
    cumulated = probabilities.double().cumsum(dim=-1)
    whole = cumulated[:, -1]
    if not bool(whole.isfinite().all()):
        raise ValueError("the model's probabilities are not numbers")
    shares = uniforms.to(whole.device) * whole
    return torch.searchsorted(cumulated, shares[:, None], right=True)[:, 0]
