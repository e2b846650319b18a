"""RouteLLM's similarity-weighted ranking (Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", 2024).

The battles are the training questions: a model wins if it is right and the other is wrong; otherwise it is a tie. For a
new question, battle i has weight w_i = 10 * 10^(s_i / max s), with s the cosine similarities of the questions'
embeddings. Ratings are the weighted Bradley-Terry fit: logistic regression without intercept or penalty, one row per
battle with +ln 10 in the column of one model and -ln 10 in that of the other, every battle twice (a win is two wins, a
tie is one for each), R = 400 * coefficient. P(large wins) = 1 / (1 + 10^((R_small - R_large) / 400)).

With two models, every row is +-ln 10 * (1, -1), the likelihood has the single parameter P(large wins), and its maximum
has a closed form: the weighted share of the large model's wins, with ties counting half. The original has 64 models
from Chatbot Arena in ten tiers, with human votes as battles, and needs an iterative fit for every question.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from relope_jax.baselines.inputs import LARGE, Inputs
from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError
from relope_jax.states.view import paths_of

CHUNK = 1024  # questions per chunk


def battle_outcomes(
    small: Int[np.ndarray, "battles"], large: Int[np.ndarray, "battles"]
) -> Float[np.ndarray, "battles"]:
    """1 if the large model wins, 0 if the small one wins, 1/2 for a tie."""
    return (1 + large.astype(np.float64) - small) / 2


def battle_weights(similarities: Float[np.ndarray, "queries battles"]) -> Float[np.ndarray, "queries battles"]:
    """w = 10 * 10^(s / max s) of every query; all 10 for a query without similar battles (max s <= 0)."""
    largest = similarities.max(axis=1, keepdims=True)
    relative = np.divide(similarities, largest, out=np.zeros_like(similarities), where=largest > 0)
    return 10 * 10**relative


def large_win_rate(
    queries: Float[np.ndarray, "queries d"],
    battles: Float[np.ndarray, "battles d"],
    outcomes: Float[np.ndarray, "battles"],
) -> Float[np.ndarray, "queries"]:
    """P(large wins) of every query, from embeddings (not necessarily unit vectors) of queries and battles."""
    battles, rates = _unit(battles), []
    for start in range(0, len(queries), CHUNK):
        weights = battle_weights(_unit(queries[start : start + CHUNK]) @ battles.T)
        rates.append(weights @ outcomes / weights.sum(axis=1))
    return np.concatenate(rates)


def sw_ranking_scores(data: RouterData, inputs: Inputs, seed: int) -> Float[np.ndarray, "samples"]:
    """P(small wins), from the training questions that both models answered."""
    train = data.rows["train"]
    train = train[inputs.large_labels[train] >= 0]
    if not len(train):
        raise ReLopeError(
            f"sw_ranking needs the large model's answers to training questions, and the answers '{LARGE}' of "
            f"{paths_of(inputs.store, 'train')} have none: make them with --config.answers.splits including 'train'"
        )
    outcomes = battle_outcomes(data.labels[train], inputs.large_labels[train])
    embeddings = inputs.question_embedding
    return 1 - large_win_rate(embeddings, embeddings[train], outcomes)


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    x = x.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
