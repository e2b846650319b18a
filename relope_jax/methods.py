"""The registry of routing methods. A method is one entry here; runs, reports and sweeps pick it up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from flax import nnx

from relope_jax.baselines.cascade import cascade_scores
from relope_jax.baselines.classifier import STRENGTHS
from relope_jax.baselines.inputs import CONFIDENCE, EMBEDDINGS, LARGE, OUTPUT_EMBEDDING, SAMPLES, Inputs
from relope_jax.baselines.mixture_of_thought import mot_verify_scores, mot_vote_scores
from relope_jax.baselines.question_only import question_only_baseline
from relope_jax.baselines.sanity import oracle_baseline, random_baseline
from relope_jax.baselines.sw_ranking import sw_ranking_scores
from relope_jax.baselines.token_confidence import (
    ALPHAS,
    chow_average_scores,
    chow_quantile_scores,
    chow_sum_scores,
    first_token_entropy_scores,
)
from relope_jax.baselines.token_quantiles import token_quantiles_scores
from relope_jax.baselines.verbalised import verbalised_scores
from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError, nearest
from relope_jax.io.inside import shown_name
from relope_jax.metrics.routing.cost import READS
from relope_jax.models.probes import AttentionProbe, Probe, ReLope
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec

# Inputs of a router, cheapest first: the question alone, the small model's prefill, its greedy answer, further sampled
# answers, or the small model's confidence in its own answer.
QUERY, PREFILL, ANSWER, SAMPLED, VERBALISED = READS


@dataclasses.dataclass(frozen=True)
class TrainedMethod:
    """A probe trained on hidden states: its nnx module and the spec that configures it.

    `reads_tokens`: it reads Z^(l-1), not only z_n^(l). `reads_block`: it runs the frozen block, so a key cache speeds
    up its training. `reads_output`: it reads the output embedding instead of z_n^(l).
    """

    name: str
    title: str
    module: Callable[..., nnx.Module]
    spec: type[ProbeSpec]
    reads_tokens: bool = True
    reads_block: bool = False
    reads_output: bool = False

    @property
    def reads(self) -> str:
        """One of `READS`."""
        return ANSWER if self.reads_output else PREFILL

    @property
    def needs(self) -> tuple[str, ...]:
        """Required inputs besides the hidden states."""
        return (OUTPUT_EMBEDDING,) if self.reads_output else ()


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A router without a checkpoint: `scores(data, inputs, seed)` gives P(Y = 1) for every sample.

    `reads` is one of `READS`. `needs` names its optional inputs (relope_jax/baselines/inputs.py). `seeded`: its scores
    depend on the seed. `chosen_among`: how many versions the validation split chose from, as it chooses a trained
    method's epoch; a threshold set on the same split must allow for this selection.
    """

    name: str
    title: str
    scores: Callable[[RouterData, Inputs, int], np.ndarray]
    reads: str
    needs: tuple[str, ...] = ()
    seeded: bool = False
    chosen_among: int = 1


Method = TrainedMethod | Baseline

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        TrainedMethod("relope", "ReLope", ReLope, ReLopeSpec, reads_block=True),
        TrainedMethod("attention_probe", "Attention Probe", AttentionProbe, AttentionProbeSpec),
        TrainedMethod("probe", "Probe", Probe, ProbeSpec, reads_tokens=False),
        TrainedMethod("post_hoc_embed", "Post-Hoc Embed", Probe, ProbeSpec, reads_tokens=False, reads_output=True),
        Baseline("mot_vote", "MoT vote", mot_vote_scores, SAMPLED, (SAMPLES,)),
        Baseline("mot_verify", "MoT verification", mot_verify_scores, SAMPLED, (SAMPLES,)),
        Baseline("cascade", "Cascade (FrugalGPT)", cascade_scores, ANSWER, (EMBEDDINGS,), chosen_among=len(STRENGTHS)),
        Baseline("sw_ranking", "RouteLLM SW ranking", sw_ranking_scores, QUERY, (LARGE, EMBEDDINGS)),
        Baseline("token_quantiles", "Token quantiles", token_quantiles_scores, ANSWER, chosen_among=len(STRENGTHS)),
        Baseline("chow_sum", "Chow-Sum", chow_sum_scores, ANSWER),
        Baseline("chow_average", "Chow-Average", chow_average_scores, ANSWER),
        Baseline("chow_quantile", "Chow-Quantile", chow_quantile_scores, ANSWER, chosen_among=len(ALPHAS)),
        Baseline("first_token_entropy", "First-token entropy", first_token_entropy_scores, PREFILL),
        Baseline("verbalised", "Verbalised confidence", verbalised_scores, VERBALISED, (CONFIDENCE,)),
        Baseline("question_only", "Question only (blind)", question_only_baseline, QUERY),
        Baseline("random", "Random", random_baseline, QUERY, seeded=True),
        Baseline("oracle", "Oracle", oracle_baseline, QUERY),
    )
}
BLIND = "question_only"  # every method is compared with it
SANITY = (BLIND, "random", "oracle")  # in every table


def get_method(name: str) -> Method:
    """The method registered under `name`. Raises ReLopeError, listing the known methods, if there is none."""
    if not isinstance(name, str) or name not in METHODS:
        close = nearest(str(name), METHODS)
        raise ReLopeError(f"unknown method {shown_name(name)}{close}; known: {', '.join(METHODS)}")
    return METHODS[name]


def get_trained(name: str) -> TrainedMethod:
    """`get_method` for a trained method; raises ReLopeError for a baseline."""
    method = get_method(name)
    if not isinstance(method, TrainedMethod):
        raise ReLopeError(f"'{name}' is not trained, so there is no router to restore")
    return method


def needs_of(methods: list[Method]) -> tuple[str, ...]:
    """The inputs that these methods need, without duplicates."""
    return tuple(dict.fromkeys(need for method in methods for need in method.needs))
