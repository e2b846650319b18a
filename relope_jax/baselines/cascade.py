"""Cascade: the scorer of FrugalGPT's strategy 3 (Chen, Zaharia, Zou 2023), P(right | query, answer).

The small model answers, a scorer reads question and answer, and queries with low scores are sent to the large model.
FrugalGPT fine-tunes DistilBERT on the text "question answer". Here a frozen sentence encoder (`config.inputs.encoder`,
all-MiniLM-L6-v2 by default) embeds the same text, and a logistic regression is fitted on the embedding. The scorer sees
neither the image nor the small model's hidden states.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.classifier import fitted_probability
from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData


def cascade_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """P(Y = 1) from the embedding of question and answer; fitted on the training split."""
    return fitted_probability(inputs.question_answer_embedding, data.labels, data.rows)
