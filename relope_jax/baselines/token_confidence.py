"""Confidence of the small model in its own answer, from its token probabilities. Nothing is trained.

Chow's rule (Chow 1970) applied to sequences, as in Gupta et al., "Language Model Cascades: Token-Level Uncertainty and
Beyond" (ICLR 2024). With the log-probabilities l_1..l_n of the greedy answer's tokens, the end token included:

  Chow-Sum              sum_i l_i, the log-probability of the whole answer: favours short answers
  Chow-Average          mean_i l_i: ignores the length; many easy tokens can hide a hard one
  Chow-Quantile(alpha)  the alpha-quantile of l_1..l_n (linear interpolation); alpha = 0 is the least certain token
  first-token entropy   entropy of the model's distribution of the first token, known before generation

Scores are exp of these (of minus the entropy), which keeps the order and maps them to [0, 1]. Sums below about -740
nats, where exp is 0, are tied as least certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData
from relope_jax.metrics.auc import auc

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))  # 0, 0.1, ..., 1, as in the source

Ragged = Sequence[Float[np.ndarray, "_"]]  # one array per answer


def chow_sum(logprobs: Ragged) -> Float[np.ndarray, "samples"]:
    """Probability of the answer."""
    return np.exp([np.sum(row, dtype=np.float64) for row in logprobs])


def chow_average(logprobs: Ragged) -> Float[np.ndarray, "samples"]:
    """Geometric mean of the token probabilities."""
    return np.exp([np.mean(row, dtype=np.float64) for row in logprobs])


def chow_quantiles(logprobs: Ragged, alphas: Sequence[float]) -> Float[np.ndarray, "samples alphas"]:
    """Quantiles of the token log-probabilities, in nats."""
    return np.stack([np.quantile(row.astype(np.float64), alphas) for row in logprobs])


def chow_sum_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return chow_sum(inputs.token_logprobs)


def chow_average_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return chow_average(inputs.token_logprobs)


def chow_quantile_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """Chow-Quantile with the alpha of `ALPHAS` that has the best AUC on the validation split."""
    quantiles = chow_quantiles(inputs.token_logprobs, ALPHAS).T
    rows = data.rows["validation"]
    # Choose by log-probabilities: exp ties values near 0 or far below it.
    return np.exp(quantiles[int(np.argmax(auc(quantiles[:, rows], data.labels[rows])))])


def first_token_entropy_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return np.exp(-inputs.first_token_entropy)
