"""What routing costs, in dollars, from token counts and prices; and accuracy over that cost."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from relope_jax.errors import ReLopeError, require_choice, require_range
from relope_jax.metrics.deferral import sums_of_lowest

READS = ("query", "prefill", "answer", "samples", "verbalised")
MILLION = 1e6


@dataclasses.dataclass(frozen=True)
class CostSpec:
    """Prices in dollars for a million tokens. The defaults are round numbers of a usual shape, not a price list: output
    costs four times input, and the large model ten times the small one."""

    small_in: float = 0.1
    small_out: float = 0.4
    large_in: float = 1.0
    large_out: float = 4.0

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            require_range(f"costs.{field}", value, 0)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Token counts of every query: of both models' prompts (images included, as each model counts them) and greedy
    answers, and of all the small model's sampled answers together."""

    prompt: Int[np.ndarray, "n"]
    answer: Int[np.ndarray, "n"]
    large_prompt: Int[np.ndarray, "n"]
    large_answer: Int[np.ndarray, "n"]
    sampled: Int[np.ndarray, "n"] | None = None


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a router makes the small model do before it decides.

    `kind`: "query", nothing. "prefill", its prompt, up to layer `depth` x all layers; kept queries go on from there, so
    that only deferred ones have paid for nothing. "answer", prompt and greedy answer. "samples", those and
    `sampled_prompts` more prompts and all sampled answers (a server that samples k answers in one request bills the
    prompt once: 1). "verbalised", those of "answer" and a call about the answer, whose prompt is the first one, the
    answer and `asked` tokens more, and whose reply has `replied` tokens.
    """

    kind: str
    depth: float = 1.0
    sampled_prompts: int = 1
    asked: int = 60
    replied: int = 4

    def __post_init__(self) -> None:
        require_choice("what a router reads", self.kind, READS)
        if not 0 < self.depth <= 1:
            raise ReLopeError(f"depth is {self.depth}; it must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class QueryCosts:
    """Dollars that every query costs when it is kept, and when it is deferred."""

    keep: Float[np.ndarray, "n"]
    defer: Float[np.ndarray, "n"]


def model_costs(spec: CostSpec, tokens: Tokens) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Dollars of every query with the small model alone, and with the large one alone."""
    small = tokens.prompt * spec.small_in + tokens.answer * spec.small_out
    large = tokens.large_prompt * spec.large_in + tokens.large_answer * spec.large_out
    return small / MILLION, large / MILLION


def query_costs(spec: CostSpec, tokens: Tokens, reading: Reading) -> QueryCosts:
    """What a router that reads this makes every query cost.

    Raises:
      ReLopeError: it reads sampled answers, and their tokens were not counted.
    """
    small, large = model_costs(spec, tokens)
    spent = spent_before(spec, tokens, reading)  # on every query before the decision
    return QueryCosts(keep=np.maximum(small, spent), defer=large + spent)  # what was spent is part of a kept answer


def spent_before(spec: CostSpec, tokens: Tokens, reading: Reading) -> Float[np.ndarray, "n"]:
    """Dollars that the small model costs before the decision."""
    prompt = tokens.prompt * spec.small_in / MILLION
    answered = prompt + tokens.answer * spec.small_out / MILLION
    if reading.kind == "query":
        return np.zeros(len(prompt))
    if reading.kind == "prefill":
        return reading.depth * prompt
    if reading.kind == "answer":
        return answered
    if reading.kind == "verbalised":
        asked = tokens.prompt + tokens.answer + reading.asked
        return answered + (asked * spec.small_in + reading.replied * spec.small_out) / MILLION
    if tokens.sampled is None:
        raise ReLopeError("the tokens of the sampled answers were not counted: no cost of a router that reads them")
    return answered + reading.sampled_prompts * prompt + tokens.sampled * spec.small_out / MILLION


def cost_curve(scores: Float[np.ndarray, "m n"], costs: QueryCosts) -> Float[np.ndarray, "m n+1"]:
    """Dollars a query, on average, when the k lowest scores are deferred, k = 0..n; ties as in `deferral_curve`.

    Raises:
      ValueError: a score is not finite.
    """
    return (costs.keep.sum() + sums_of_lowest(scores, costs.defer - costs.keep)) / len(costs.keep)


def at_share(curve: Float[np.ndarray, "m n+1"], share: float) -> Float[np.ndarray, "m"]:
    """A deferral or cost curve where the share nearest to `share` is deferred.

    Raises:
      ReLopeError: `share` is not in [0, 1].
    """
    require_range("the share", share, 0, 1)
    return curve[:, round(share * (curve.shape[1] - 1))]


def share_at_budget(cost: Float[np.ndarray, "m n+1"], budget: float) -> Float[np.ndarray, "m"]:
    """The largest share k/n that costs at most `budget` dollars a query; NaN where none does."""
    pays = cost <= budget * (1 + 1e-12)
    last = cost.shape[1] - 1
    return np.where(pays.any(axis=1), 1 - pays[:, ::-1].argmax(axis=1) / last, np.nan)


def accuracy_at_budget(
    cost: Float[np.ndarray, "m n+1"], accuracy: Float[np.ndarray, "m n+1"], budget: float
) -> Float[np.ndarray, "m"]:
    """Accuracy where as much is deferred as `budget` dollars a query pay for; NaN where they pay for no share."""
    share = share_at_budget(cost, budget)
    at = np.nan_to_num(share * (cost.shape[1] - 1)).round().astype(int)
    return np.where(np.isnan(share), np.nan, accuracy[np.arange(len(accuracy)), at])
