"""Verbalised confidence: the small model sees its own answer and states the probability in percent that it is right
("Just Ask for Calibration", Tian et al. 2023, two-stage prompt). Nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData

UNSTATED = 0.5  # if the model states no number


def stated_probability(percent: Sequence[str | None]) -> Float[np.ndarray, "samples"]:
    """Percentages as probabilities; None (no reply) gives NaN."""
    return np.array([math.nan if text is None else float(text) / 100 if text else UNSTATED for text in percent])


def verbalised_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return stated_probability(inputs.stated_confidence)
