"""Cost of routing in dollars, from token counts and prices."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int, Real

from relope_jax.errors import ReLopeError, require_choice
from relope_jax.metrics.routing.deferral import sums_of_lowest

# Inputs of a router, and the token counts that only its cost needs.
READS = {
    "query": (),
    "prefill": (),
    "answer": (),
    "samples": ("sampled_prompt", "sampled"),
    "verbalised": ("confidence_prompt", "confidence"),
}
MILLION = 1e6


@dataclasses.dataclass(frozen=True)
class CostSpec:
    """Prices in dollars per million tokens; 0 means free.

    The defaults are typical ratios, not a price list: output costs four times as much as input, and the large model ten
    times as much as the small one.
    """

    small_in: float = 0.1
    small_out: float = 0.4
    large_in: float = 1.0
    large_out: float = 4.0

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ReLopeError(f"costs.{field} is {value!r}; it must be a number of dollars, at least 0")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Token counts of every query, including images, as each model counts them.

    Attributes:
      prompt, answer: the small model's greedy call; `large_prompt`, `large_answer`: the large model's.
      sampled_prompt, sampled: the small model's prompts for sampling, each counted once, and all sampled answers.
      confidence_prompt, confidence: the call that asks the small model about its answer.
    """

    prompt: Int[np.ndarray, "n"]
    answer: Int[np.ndarray, "n"]
    large_prompt: Int[np.ndarray, "n"]
    large_answer: Int[np.ndarray, "n"]
    sampled_prompt: Int[np.ndarray, "n"] | None = None
    sampled: Int[np.ndarray, "n"] | None = None
    confidence_prompt: Int[np.ndarray, "n"] | None = None
    confidence: Int[np.ndarray, "n"] | None = None

    def uncounted(self, kind: str) -> list[str]:
        """The unknown counts that the cost of a router that reads `kind` needs."""
        return [name for name in READS[kind] if getattr(self, name) is None]


@dataclasses.dataclass(frozen=True)
class Reading:
    """The work of the small model before the router decides.

    `kind`: "query": nothing. "prefill": its prompt, up to layer `depth` x all layers; kept queries continue from there,
    so only deferred ones waste it. "answer": prompt and greedy answer. "samples": also all sampled answers, with their
    prompts paid for `sampled_prompts` times (once if all answers of a prompt are drawn in one request, k times if each
    is a separate request). "verbalised": "answer" and the call about the answer.
    """

    kind: str
    depth: float = 1.0
    sampled_prompts: int = 1

    def __post_init__(self) -> None:
        require_choice("what a router reads", self.kind, READS)
        if not 0 < self.depth <= 1:
            raise ReLopeError(f"depth is {self.depth}; it must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class QueryCosts:
    """Dollars per query if it is kept, and if it is deferred."""

    keep: Float[np.ndarray, "n"]
    defer: Float[np.ndarray, "n"]


def model_costs(spec: CostSpec, tokens: Tokens) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Dollars per query with the small model alone, and with the large model alone."""
    small = tokens.prompt * spec.small_in + tokens.answer * spec.small_out
    large = tokens.large_prompt * spec.large_in + tokens.large_answer * spec.large_out
    return small / MILLION, large / MILLION


def query_costs(spec: CostSpec, tokens: Tokens, reading: Reading) -> QueryCosts:
    """Dollars per query for a router with this `reading`.

    Raises:
      ReLopeError: token counts that it needs are unknown.
    """
    small, large = model_costs(spec, tokens)
    spent = spent_before(spec, tokens, reading)  # per query, before the decision
    return QueryCosts(keep=np.maximum(small, spent), defer=large + spent)  # a kept query reuses this work


def spent_before(spec: CostSpec, tokens: Tokens, reading: Reading) -> Float[np.ndarray, "n"]:
    """Dollars per query for the small model before the decision."""
    if uncounted := tokens.uncounted(reading.kind):
        raise ReLopeError(f"unknown cost of a router that reads '{reading.kind}': {', '.join(uncounted)} not counted")
    prompt = tokens.prompt * spec.small_in / MILLION
    answered = prompt + tokens.answer * spec.small_out / MILLION
    if reading.kind == "query":
        return np.zeros(len(prompt))
    if reading.kind == "prefill":
        return reading.depth * prompt
    if reading.kind == "answer":
        return answered
    prompts, replies = (getattr(tokens, name) for name in READS[reading.kind])
    billed = reading.sampled_prompts if reading.kind == "samples" else 1
    return answered + (billed * prompts * spec.small_in + replies * spec.small_out) / MILLION


def cost_curve(scores: Real[np.ndarray, "m n"], costs: QueryCosts) -> Float[np.ndarray, "m n+1"]:
    """Average dollars per query if the k lowest scores are deferred, k = 0..n; ties as in `deferral_curve`. Clipped at
    0, because sums for a free model may round below it.

    Raises:
      ValueError: a score is not finite.
    """
    total = costs.keep.sum() + sums_of_lowest(scores, costs.defer - costs.keep)
    return np.maximum(total, 0.0) / len(costs.keep)
