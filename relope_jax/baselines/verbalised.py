"""Verbalised confidence: the small model is shown its own answer and states how probable it is that it is right, in
percent ("Just Ask for Calibration", Tian et al. 2023, two-stage prompt). Nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData

UNSTATED = 0.5  # where the model states no number: it says neither right nor wrong


def stated_probability(percent: Sequence[str | None]) -> Float[np.ndarray, "samples"]:
    """Percentages as probabilities; None (the model was not asked) gives NaN."""
    return np.array([math.nan if text is None else float(text) / 100 if text else UNSTATED for text in percent])


def verbalised_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return stated_probability(inputs.stated_confidence)
