"""MoT: consistency of sampled answers (Yue et al., "Large Language Model Cascades with Mixture of Thought
Representations for Cost-efficient Reasoning", ICLR 2024). Nothing is trained.

Every question is answered k times under each of two prompts, "direct" and "steps" (docs/guide/answers.md); two answers
agree when their final answers are the same text. Answers without a final answer agree with nothing, but they count as
drawn. Training questions need no draws: their score is then NaN.

  vote    the share of the 2k draws that agree with the greedy answer. The paper's share is the largest class's; here
          the greedy answer is what the user gets, so its class is the one to ask about
  verify  the paper accepts when the majority of one prompt equals that of the other (equal counts: the class that was
          drawn first). That is 0 or 1, so ties are broken by the vote share v: score = (accepted + v) / 2. Every
          accepted question scores at least 1/2, every other one below 1/2
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
    """Share of both prompts' draws that agree with the greedy answer; 0 when that is nothing, NaN without draws."""
    shares = []
    for answer, *draws in zip(greedy, first, second, strict=True):
        drawn = [other for prompt in draws for other in prompt]
        agreeing = sum(bool(answer) and other == answer for other in drawn)
        shares.append(agreeing / len(drawn) if drawn else math.nan)
    return np.array(shares)


def majority(draws: Sequence[str]) -> str:
    """The most frequent final answer, of several the one drawn first; "" when no draw settles on anything."""
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
