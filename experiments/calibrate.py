"""The threshold of a run's router that keeps a promise on new queries.

python -m experiments.calibrate runs/NAME --method=relope --target_accuracy=0.9   # or --budget=0.5, or --deferral=0.3
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from absl import app, flags

from experiments.calibration import Chosen, Request, calibrate, facts, promise, splits_of
from relope_jax.errors import ReLopeError, exit_on_error, require_range
from relope_jax.methods import get_method
from relope_jax.metrics.cost import CostSpec, Reading
from relope_jax.run import Run
from relope_jax.states.files import write_json

_METHOD = flags.DEFINE_string("method", "relope", "which of the run's methods")
_SEED = flags.DEFINE_integer("seed", 0, "which of the run's seeds")
_ACCURACY = flags.DEFINE_float("target_accuracy", None, "accuracy to exceed, with as few queries deferred as possible")
_BUDGET = flags.DEFINE_float("budget", None, "dollars that 1000 queries may cost on average")
_DEFERRAL = flags.DEFINE_float("deferral", None, "share of queries that may be deferred")
flags.DEFINE_alias("target-accuracy", "target_accuracy")
_CONFIDENCE = flags.DEFINE_float("confidence", 0.95, "probability that the promise holds")
_DEPTH = flags.DEFINE_float("depth", 1.0, "share of the small model's layers that a prefill runs before the decision")
_PROMPTS = flags.DEFINE_integer("sampled_prompts", 1, "how often the prompt is paid for when answers are sampled")
_PRICES = {
    field.name: flags.DEFINE_float(f"price_{field.name}", None, "dollars for a million tokens")
    for field in dataclasses.fields(CostSpec)
}
GOALS = ("target_accuracy", "budget", "deferral")


def request_of_flags() -> Request:
    """The flags, checked."""
    goals = {name: flag.value for name, flag in zip(GOALS, (_ACCURACY, _BUDGET, _DEFERRAL), strict=True)}
    if sum(value is not None for value in goals.values()) != 1:
        raise ReLopeError("give one of --target_accuracy, --budget and --deferral")
    for name in ("target_accuracy", "deferral"):
        if goals[name] is not None and not 0 < goals[name] < 1:
            raise ReLopeError(f"--{name} is {goals[name]:g}; it must be above 0 and below 1")
    if goals["budget"] is not None:
        require_range("--budget", goals["budget"], 0)
    if not 0.5 <= _CONFIDENCE.value < 1:
        raise ReLopeError(f"--confidence is {_CONFIDENCE.value:g}; it must be at least 0.5 and below 1")
    if _METHOD.value == "oracle":
        raise ReLopeError("the oracle scores queries by their labels: it has no threshold for new ones")
    return Request(_METHOD.value, _SEED.value, _CONFIDENCE.value, **goals)


def prices_of(run: Run) -> CostSpec:
    """The run's prices, where it has any, and those of the flags."""
    prices = CostSpec(**run.config.get("costs", {}))
    given = {name: flag.value for name, flag in _PRICES.items() if flag.value is not None}
    return dataclasses.replace(prices, **given)


def record(request: Request, chosen: Chosen, prices: CostSpec) -> dict[str, Any]:
    """The calibration as JSON; a threshold beyond all scores is null."""
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


def assumptions(chosen: Chosen) -> list[str]:
    """What the promise rests on."""
    lines = ["new queries come from where the validation questions come from"]
    if chosen.largest > 1:
        lines.append(
            f"questions of one group (one image) depend on each other, groups do not; no group has more than "
            f"{chosen.largest} questions"
        )
    if chosen.chosen_among > 1:
        lines.append(
            f"this router was chosen by its validation AUC among at most {chosen.chosen_among} (epochs or settings), "
            "which is accounted for; settings that you chose by the same split are not"
        )
    return lines


def text(written: dict[str, Any]) -> str:
    """What is printed."""
    threshold = written["threshold"]
    rule = written["rule"] if threshold is None else f"threshold {threshold:.6g}: {written['rule']}"
    return "\n".join([
        rule,
        f"guaranteed: {written['guaranteed']}",
        *(f"  assuming that {line}" for line in written["assumptions"]),
        f"validation: {sentence(written['validation'])}",
        f"test (not used to choose): {sentence(written['test'])}",
    ])  # fmt: skip


def sentence(known: dict[str, Any]) -> str:
    """Facts of one split in words."""
    parts = [f"{known['questions']} questions", f"{known['deferred']:.1%} deferred"]
    if known["kept_accuracy"] is not None:
        parts.append(f"kept answers right on {known['kept_accuracy']:.1%}")
    if known["accuracy"] is not None:
        parts.append(f"both models together on {known['accuracy']:.1%}")
    if known["dollars_per_1000"] is not None:
        parts.append(f"${known['dollars_per_1000']:.4g} per 1000 queries")
    return ", ".join(parts)


@exit_on_error
def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise ReLopeError("usage: python -m experiments.calibrate RUN_FOLDER --target_accuracy=0.9 [--method=relope]")
    run, request = Run(argv[1]), request_of_flags()
    prices = prices_of(run)
    reading = Reading(get_method(request.method).reads, depth=_DEPTH.value, sampled_prompts=_PROMPTS.value)
    chosen = calibrate(run, request, splits_of(run, request, prices, reading))
    written = record(request, chosen, prices)
    target = run.path / f"calibration-{request.method}-{request.seed}.json"
    write_json(target, written)
    print(text(written))
    print(target)


if __name__ == "__main__":
    app.run(main)
