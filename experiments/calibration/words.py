"""The texts of a calibration: its promise and the assumptions behind it, or why there is none."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from relope_jax.errors import ReLopeError, require_range
from relope_jax.metrics.routing.cost import CostSpec
from relope_jax.metrics.routing.thresholds import Goal, GoalTest, Queries


@dataclasses.dataclass(frozen=True)
class CalibrationRequest:
    """What the user asked for: one of the goals, on new queries, with this confidence."""

    method: str
    seed: int
    confidence: float
    target_accuracy: float | None = None
    budget: float | None = None  # dollars per 1000 queries
    deferral: float | None = None

    def __post_init__(self) -> None:
        if [self.target_accuracy, self.budget, self.deferral].count(None) != 2:
            raise ReLopeError("give one of --target_accuracy, --budget and --deferral")
        for field in ("target_accuracy", "deferral"):
            value = getattr(self, field)
            if value is not None and not 0 < value < 1:
                raise ReLopeError(f"--{field} is {value:g}; it must be above 0 and below 1")
        if self.budget is not None:
            require_range("--budget", self.budget, 0)
            if math.isinf(self.budget):
                raise ReLopeError("--budget is inf; give dollars per 1000 queries")
        if not 0.5 <= self.confidence < 1:
            raise ReLopeError(f"--confidence is {self.confidence:g}; it must be at least 0.5 and below 1")
        if self.method == "oracle":
            raise ReLopeError("the oracle scores queries by their labels: it has no threshold for new ones")


@dataclasses.dataclass(frozen=True)
class ChosenThreshold:
    """A threshold and the data behind it; the split of `test` was not used to choose it.

    `level`: of the test that chose it. `chosen_among`: number of routers that share the level. `largest`: most
    questions in a group. `dearest`: dollars of the most expensive query, for a budget.
    """

    goal: Goal
    threshold: float
    validation: Queries
    test: Queries
    level: float
    chosen_among: int
    largest: int
    dearest: float | None = None


def promise(request: CalibrationRequest, queries: Queries) -> str:
    """The goal in words."""
    if request.deferral is not None:
        return f"less than {request.deferral:g} of new queries are deferred"
    if request.budget is not None:
        return f"new queries cost less than ${request.budget:g} per 1000"
    whose = "both models together are" if queries.large is not None else "the small model's kept answers are"
    return f"{whose} right on more than {request.target_accuracy:g} of new queries"


def refusal(request: CalibrationRequest, test: GoalTest, starts: list[float]) -> str:
    """Why there is no threshold, in one line."""
    if request.deferral is not None:
        return refusal_of_share(request, test)
    queries = test.queries
    tried = [*starts, *np.unique(queries.scores)] if queries.large is not None and len(starts) > 1 else starts
    estimates = {start: test.goal.estimate(queries, start) for start in tried}
    known = {start: value for start, value in estimates.items() if not math.isnan(value)}
    best = max(known, key=known.__getitem__, default=math.nan)
    if not known.get(best, math.nan) > test.goal.ratio:
        return f"impossible: {impossible(request, queries, known.get(best, math.nan))}"
    return too_few(request, queries, [test.needed(start) for start in {*starts, best}])


def refusal_of_share(request: CalibrationRequest, test: GoalTest) -> str:
    """Why no query can be deferred. If all scores differ, only one query has the lowest, however many more are
    labelled; if they are tied, a share of the queries has it."""
    lowest = np.unique(test.queries.scores)[0]
    tied = float(np.mean(test.queries.scores == lowest))
    if np.sum(test.queries.scores == lowest) == 1:
        return too_few(request, test.queries, [test.needed(-np.inf, lost=1)])
    if tied >= 1 - test.goal.ratio:
        return (
            f"impossible: {tied:.1%} of the validation questions have the lowest score, so a threshold defers at "
            "least as many or none"
        )
    return too_few(request, test.queries, [test.needed(float(np.nextafter(lowest, np.inf)))])


def too_few(request: CalibrationRequest, queries: Queries, needed: list[int | None]) -> str:
    """The refusal that asks for more labels."""
    enough = [count - len(queries) for count in needed if count is not None]
    more = f"about {max(1, min(enough))} more like them would be needed" if enough else "millions would be needed"
    return f"{len(queries)} labelled validation questions cannot show that {promise(request, queries)}: {more}"


def impossible(request: CalibrationRequest, queries: Queries, best: float) -> str:
    """Why the goal is out of reach."""
    if request.budget is not None:
        assert queries.costs is not None
        return (
            f"the validation questions cost ${1000 * queries.costs.keep.mean():.4g} per 1000 without deferring any, "
            f"which is not below ${request.budget:g}"
        )
    which = "of both models together are right" if queries.large is not None else "that are kept are right"
    return f"at most {best:.1%} of the validation answers {which}, which is not above {request.target_accuracy:g}"


def record(request: CalibrationRequest, chosen: ChosenThreshold, prices: CostSpec) -> dict[str, Any]:
    """The calibration as JSON. A threshold beyond all scores is null."""
    finite = math.isfinite(chosen.threshold)
    return {
        "request": dataclasses.asdict(request),
        "threshold": chosen.threshold if finite else None,
        "rule": "defer queries whose score is below the threshold" if finite else constant(chosen.threshold),
        "guaranteed": f"{promise(request, chosen.validation)}, with {request.confidence:.4g} confidence",
        "assumptions": assumptions(chosen),
        "level": chosen.level,
        "validation": facts(chosen.validation, chosen.threshold),
        "test": facts(chosen.test, chosen.threshold),
        "prices": dataclasses.asdict(prices),
    }


def constant(threshold: float) -> str:
    return "defer every query" if threshold > 0 else "defer no query"


def assumptions(chosen: ChosenThreshold) -> list[str]:
    """The assumptions behind the promise."""
    lines = ["new queries come from the same distribution as the validation questions"]
    if chosen.largest > 1:
        lines.append(
            f"questions of one group (one image) depend on each other, groups do not; no group has more than "
            f"{chosen.largest} questions"
        )
    if chosen.dearest is not None:
        lines.append(
            f"no new query costs more than ${chosen.dearest:.4g}, the maximum over the training and validation "
            "questions"
        )
    if chosen.chosen_among > 1:
        lines.append(
            f"this router was chosen by its validation AUC among at most {chosen.chosen_among} (epochs or settings), "
            "which is accounted for; settings that you chose by the same split are not"
        )
    lines.append(
        "this is the only promise made with these validation questions; for several, see docs/guide/calibrate.md"
    )
    return lines


def facts(queries: Queries, threshold: float) -> dict[str, Any]:
    """The effect of deferring below a threshold on these queries; None where it is unknown."""
    deferred = queries.scores < threshold
    known: dict[str, Any] = {
        "questions": len(queries),
        "groups": len(np.unique(queries.groups)),
        "deferred": float(deferred.mean()),
    }
    kept = queries.small[~deferred]
    known["kept_accuracy"] = float(kept.mean()) if len(kept) else None
    large, costs = queries.large, queries.costs
    known["accuracy"] = None if large is None else float(np.where(deferred, large, queries.small).mean())
    paid = None if costs is None else 1000 * float(np.where(deferred, costs.defer, costs.keep).mean())
    return known | {"dollars_per_1000": paid}


def text(written: dict[str, Any]) -> str:
    """The printed text."""
    threshold = written["threshold"]
    rule = written["rule"] if threshold is None else f"threshold {threshold:.6g}: {written['rule']}"
    return "\n".join(
        [
            rule,
            f"guaranteed: {written['guaranteed']}",
            *(f"  assuming that {line}" for line in written["assumptions"]),
            f"validation: {sentence(written['validation'])}",
            f"test (not used to choose): {sentence(written['test'])}",
        ]
    )


def sentence(known: dict[str, Any]) -> str:
    """The facts about one split in words."""
    parts = [f"{known['questions']} questions", f"{known['deferred']:.1%} deferred"]
    if known["kept_accuracy"] is not None:
        parts.append(f"kept answers right on {known['kept_accuracy']:.1%}")
    if known["accuracy"] is not None:
        parts.append(f"both models together on {known['accuracy']:.1%}")
    if known["dollars_per_1000"] is not None:
        parts.append(f"${known['dollars_per_1000']:.4g} per 1000 queries")
    return ", ".join(parts)
