"""Choose a router's threshold with a guarantee on new queries.

python -m experiments.calibrate runs/NAME --method=relope --target_accuracy=0.9   # or --budget=0.5, or --deferral=0.3
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from absl import app, flags

from experiments.calibration.thresholds import calibrate, splits_of
from experiments.calibration.words import CalibrationRequest, record, text
from experiments.say import show
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.io.files import explaining, write_json
from relope_jax.io.inside import inside
from relope_jax.io.run_folder import require_no_links
from relope_jax.io.typed import spec_of
from relope_jax.methods import get_method
from relope_jax.metrics.routing.cost import CostSpec, Reading
from relope_jax.run import CONFIG, Run

_METHOD = flags.DEFINE_string("method", "relope", "which of the run's methods")
_SEED = flags.DEFINE_integer("seed", 0, "which of the run's seeds")
_ACCURACY = flags.DEFINE_float("target_accuracy", None, "accuracy to exceed, with as few queries deferred as possible")
_BUDGET = flags.DEFINE_float("budget", None, "maximum average cost in dollars per 1000 queries")
_DEFERRAL = flags.DEFINE_float("deferral", None, "maximum share of queries to defer")
flags.DEFINE_alias("target-accuracy", "target_accuracy")
_CONFIDENCE = flags.DEFINE_float("confidence", 0.95, "probability that the guarantee holds")
_DEPTH = flags.DEFINE_float("depth", 1.0, "share of the small model's layers that a prefill runs before the decision")
_PROMPTS = flags.DEFINE_integer(
    "sampled_prompts",
    1,
    "how often the prompt of sampled answers is paid for: k if each of k answers is a separate request",
)
_PRICES = {
    field.name: flags.DEFINE_float(f"price_{field.name}", None, "dollars per million tokens")
    for field in dataclasses.fields(CostSpec)
}


def prices_of(run: Run, given: Mapping[str, float]) -> CostSpec:
    """The run's prices, if it has any, with the given ones replacing them."""
    prices = spec_of(CostSpec, run.config["costs"], run.path / CONFIG)
    return dataclasses.replace(prices, **given)


@exit_on_error
def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise ReLopeError("usage: relope calibrate RUN_FOLDER --target_accuracy=0.9 [--method=relope]")
    run = Run(argv[1])
    goals = {"target_accuracy": _ACCURACY.value, "budget": _BUDGET.value, "deferral": _DEFERRAL.value}
    request = CalibrationRequest(_METHOD.value, _SEED.value, _CONFIDENCE.value, **goals)
    prices = prices_of(run, {name: flag.value for name, flag in _PRICES.items() if flag.value is not None})
    reading = Reading(get_method(request.method).reads, depth=_DEPTH.value, sampled_prompts=_PROMPTS.value)
    chosen = calibrate(run, request, splits_of(run, request, prices, reading))
    written = record(request, chosen, prices)
    require_no_links(run.path)
    target = inside(run.path, f"calibration-{request.method}-{request.seed}.json")
    show(text(written), flush=True)  # print first, so that a write error does not lose it
    with explaining(target):
        write_json(target, written)
    show(target)


if __name__ == "__main__":
    app.run(main)
