"""Token quantiles: a learned deferral rule on the quantiles of the answer's token log-probabilities.

After Gupta et al., "Language Model Cascades: Token-Level Uncertainty and Beyond" (ICLR 2024), whose Post-Hoc-Quantile
trains an MLP on such quantiles; here the classifier is a logistic regression.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.classifier import fitted_probability
from relope_jax.baselines.inputs import Inputs
from relope_jax.baselines.token_confidence import ALPHAS, Ragged
from relope_jax.data import RouterData


def quantile_features(logprobs: Ragged) -> Float[np.ndarray, "samples k"]:
    """Quantiles of the log-probabilities at 0, 0.1, ..., 1, their mean, their sum, and the log of their count."""
    return np.stack(
        [
            np.concatenate([np.quantile(row, ALPHAS), [row.mean(), row.sum(), np.log(len(row))]])
            for row in (np.asarray(row, np.float64) for row in logprobs)
        ]
    )


def token_quantiles_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) from the quantile features; fitted on the training split."""
    return fitted_probability(quantile_features(inputs.token_logprobs), data.labels, data.rows)
