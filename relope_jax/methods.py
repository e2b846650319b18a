"""The registry of routing methods. A method is one entry here; runs, reports and sweeps pick it up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from flax import nnx

from relope_jax.baselines.question_only import question_only_scores
from relope_jax.baselines.sanity import oracle_scores, random_scores
from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError, nearest
from relope_jax.models.probes import AttentionProbe, Probe, ReLope
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec


@dataclasses.dataclass(frozen=True)
class TrainedMethod:
    """A probe trained on hidden states: its nnx module and the spec that configures it.

    `reads_tokens`: it reads Z^(l-1), not only z_n^(l). `reads_block`: it computes the frozen block, so a key cache
    makes its training faster.
    """

    name: str
    title: str
    module: Callable[..., nnx.Module]
    spec: type[ProbeSpec]
    reads_tokens: bool = True
    reads_block: bool = False


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A router that needs no hidden states: `scores(data, seed)` gives P(Y = 1) of every sample."""

    name: str
    title: str
    scores: Callable[[RouterData, int], np.ndarray]
    seeded: bool = False


Method = TrainedMethod | Baseline


def _question_only(data: RouterData, seed: int) -> np.ndarray:
    del seed
    train = data.rows["train"]
    questions = [data.questions[i] for i in train]
    return question_only_scores(questions, data.labels[train], data.questions)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        TrainedMethod("relope", "ReLope", ReLope, ReLopeSpec, reads_block=True),
        TrainedMethod("attention_probe", "Attention Probe", AttentionProbe, AttentionProbeSpec),
        TrainedMethod("probe", "Probe", Probe, ProbeSpec, reads_tokens=False),
        Baseline("question_only", "Question only (blind)", _question_only),
        Baseline("random", "Random", lambda data, seed: random_scores(len(data.labels), seed), seeded=True),
        Baseline("oracle", "Oracle", lambda data, seed: oracle_scores(data.labels)),
    )
}
SANITY = ("question_only", "random", "oracle")  # rows of every table


def get_method(name: str) -> Method:
    """The method registered under `name`; raises ReLopeError that lists the known ones."""
    if name not in METHODS:
        raise ReLopeError(f"unknown method '{name}'{nearest(name, METHODS)}; known: {', '.join(METHODS)}")
    return METHODS[name]
