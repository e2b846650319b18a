"""MoT: consistency of sampled answers (Yue et al., "Large Language Model Cascades with Mixture of Thought
Representations for Cost-efficient Reasoning", ICLR 2024). Nothing is trained.

Every question is answered k times with each of two prompts, "direct" and "steps" (docs/guide/answers.md). Two answers
agree if their final answers are the same text. An answer without a final answer agrees with none, but counts as a draw.
Training questions may have no draws; their score is then NaN.

  vote    the share of the 2k draws that agree with the greedy answer. The paper uses the share of the largest class;
          here the user gets the greedy answer, so the share of its class is used
  verify  the paper accepts if the majorities of the two prompts are equal (for equal counts, the class drawn first
          wins). This is 0 or 1, so ties are broken by the vote share v: score = (accepted + v) / 2. Accepted questions
          score at least 1/2, all others below 1/2
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from relope_jax.baselines.inputs import STYLES, Inputs
from relope_jax.data import RouterData

Draws = Sequence[Sequence[str]]  # final answers, of every sample


def vote_share(greedy: Sequence[str], first: Draws, second: Draws) -> Float[np.ndarray, "samples"]:
    """Share of both prompts' draws that agree with the greedy answer; 0 if that is empty, NaN without draws."""
    shares = []
    for answer, *draws in zip(greedy, first, second, strict=True):
        drawn = [other for prompt in draws for other in prompt]
        agreeing = sum(bool(answer) and other == answer for other in drawn)
        shares.append(agreeing / len(drawn) if drawn else math.nan)
    return np.array(shares)


def majority(draws: Sequence[str]) -> str:
    """The most frequent final answer; for ties, the one drawn first; "" if no draw has a final answer."""
    counts = Counter(draw for draw in draws if draw)
    return counts.most_common(1)[0][0] if counts else ""


def verify(greedy: Sequence[str], first: Draws, second: Draws) -> Float[np.ndarray, "samples"]:
    """(accepted + vote share) / 2."""
    majorities = [(majority(one), majority(other)) for one, other in zip(first, second, strict=True)]
    accepted = np.array([bool(one) and one == other for one, other in majorities])
    return (accepted + vote_share(greedy, first, second)) / 2


def mot_vote_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return vote_share(inputs.final_answers, *map(inputs.sampled_answers, STYLES))


def mot_verify_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    return verify(inputs.final_answers, *map(inputs.sampled_answers, STYLES))
