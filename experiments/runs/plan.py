"""The typed plan of a run, read from its config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.runs.recorded import recorded_config
from extract.input_spec import InputSpec, LargeSpec
from extract.job.inputs import InputPlan
from extract.plan import Extraction, plan_extraction, plan_from_config
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
from relope_jax.io.paths import local_path
from relope_jax.io.run_folder import own_folder
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import Method, TrainedMethod, get_method
from relope_jax.metrics.routing.cost import CostSpec
from relope_jax.models.spec import ProbeSpec
from relope_jax.training.checkpoints import spec_from_dict
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """One run with every setting checked.

    Attributes:
      folder: the run's folder.
      methods: the methods, in training order.
      specs: the spec of every trained method, by name.
      target: the store for testing, and for training unless there are `sources`.
      sources: the stores of `config.train_on`.
      inputs: the inputs of baselines and how to make them.
      recorded: the resolved config as recorded in config.json.
    """

    name: str
    folder: Path
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    specs: dict[str, ProbeSpec]
    train: TrainSpec
    engine: EngineSpec
    costs: CostSpec
    target: Extraction
    sources: tuple[Extraction, ...]
    inputs: InputPlan
    recorded: dict[str, Any]

    @property
    def trained(self) -> list[TrainedMethod]:
        """The methods that are trained."""
        return [method for method in self.methods if isinstance(method, TrainedMethod)]

    def members(self, method: TrainedMethod) -> list[Member]:
        """One member per seed."""
        return [Member(self.specs[method.name], self.train, seed) for seed in self.seeds]


def plan_run(config: ConfigDict) -> RunPlan:
    """The plan of a run with every field of `config` checked; reads and writes no files.

    Raises:
      ReLopeError: a value is out of range, a method is unknown, or the name leads out of the folder of runs.
    """
    require_distinct("config.methods", config.methods)
    require_distinct("config.seeds", config.seeds)
    methods = tuple(get_method(name) for name in config.methods)
    target = plan_from_config(config)
    asked, inputs, large = AnswerSpec(**config.answers), InputSpec(**config.inputs), LargeSpec(**config.large)
    return RunPlan(
        name=config.name,
        folder=run_folder(config.runs, config.name),
        methods=methods,
        seeds=tuple(config.seeds),
        specs={m.name: spec_from_dict(m, config[m.name].to_dict()) for m in methods if isinstance(m, TrainedMethod)},
        train=TrainSpec(**config.train),
        engine=EngineSpec(**config.engine),
        costs=CostSpec(**config.costs),
        target=target,
        sources=tuple(source(target, text, config.stores) for text in config.train_on),
        inputs=InputPlan(target, asked, inputs, large),
        recorded=recorded_config(resolved(config)),
    )


def source(target: Extraction, text: str, stores: str) -> Extraction:
    """The store of a training dataset, `"name"` or `"name=path"`; all other settings are those of `target`."""
    name, _, path = text.partition("=")
    dataset = dataclasses.replace(target.dataset, name=name, path=path)
    return plan_extraction(target.model, dataset, target.extract, stores)


def run_folder(runs: str, name: str) -> Path:
    """The folder `runs`/`name`; raises ReLopeError if the name leads out of `runs`."""
    return own_folder(local_path(runs), name, "config.name")


def resolved(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values."""
    values: dict[str, Any] = json.loads(config.to_json())
    return values


def require_distinct(what: str, values: Sequence[Any]) -> None:
    """Raise ReLopeError if `values` is empty or has duplicates."""
    if not values:
        raise ReLopeError(f"{what} is empty; it needs at least one value")
    if len(set(values)) < len(values):
        repeated = next(value for value in values if values.count(value) > 1)
        raise ReLopeError(f"{what} has {repeated!r} twice")
