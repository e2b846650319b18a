"""The typed plan of a sweep, read from its config and grid."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.runs.plan import plan_run, resolved
from experiments.sweeps.cells import Cell, Setting
from experiments.sweeps.grid import SEED, STORED, Axis, parse_axes
from extract.plan import Extraction
from relope_jax.errors import ReLopeError
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import TrainedMethod, get_method
from relope_jax.training.members import Member


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """One sweep with every setting checked.

    Attributes:
      cells: every training in the grid.
      recorded: the resolved config as recorded in sweep.json.
    """

    name: str
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    engine: EngineSpec
    recorded: dict[str, Any]


def plan_sweep(config: ConfigDict, grid: Sequence[str]) -> SweepPlan:
    """The sweep of `config` over `grid`, strings such as `"relope.beta=0.1,1.0"`; reads and writes no files.

    Raises:
      ReLopeError: the grid or a value is not valid, or cells that need different stores would share one folder.
    """
    axes = parse_axes(config, grid)
    return SweepPlan(config.name, axes, tuple(expand(config, axes)), EngineSpec(**config.engine), resolved(config))


def expand(config: ConfigDict, axes: Sequence[Axis]) -> list[Cell]:
    """All cells: for every method the product of the axes that affect it; the last axis varies fastest.

    Raises:
      ReLopeError: a value is out of range, or cells that need different stores would share one folder.
    """
    cells = []
    for name in config.methods:
        method = get_method(name)
        if not isinstance(method, TrainedMethod):
            raise ReLopeError(f"'{name}' is not trained; config.methods of a sweep may only have trained methods")
        mine = [axis for axis in axes if axis.concerns(name)]
        for values in itertools.product(*(axis.values for axis in mine)):
            setting = tuple((axis.field, value) for axis, value in zip(mine, values, strict=True))
            cells.append(_make_cell(config, method, setting))
    _require_own_stores(config, axes, cells)
    return cells


def _make_cell(config: ConfigDict, method: TrainedMethod, values: Setting) -> Cell:
    varied, swept = config.copy_and_resolve_references(), dict(values)
    seed = swept.pop(SEED)
    varied.update_from_flattened_dict(swept)
    plan = plan_run(varied)
    return Cell(method, values, Member(plan.specs[method.name], plan.train, seed), plan.target)


def _require_own_stores(config: ConfigDict, axes: Sequence[Axis], cells: Sequence[Cell]) -> None:
    """Raise ReLopeError if two cells need different stores with the same name."""
    contents: dict[str, Extraction] = {}
    for cell in cells:
        plan = _whole_store(cell.plan)
        if contents.setdefault(str(plan.store), plan) == plan:
            continue
        fields = [axis.field for axis in axes if axis.section in STORED]
        advice = "run one sweep per value, each with its own --config.store="
        if config.store:
            advice = f"leave config.store out, or {advice}"
        if fields == ["extract.layer"]:
            layers = tuple(value for axis in axes if axis.field == "extract.layer" for value in axis.values)
            advice = f"extract them together with --config.extract.layers='{layers}'"
        raise ReLopeError(f"cells that differ in {', '.join(fields)} would share the store {plan.store}: {advice}")


def _whole_store(plan: Extraction) -> Extraction:
    """`plan` without the choice of one of its store's layers."""
    layers = plan.extract.all_layers
    return dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, layer=layers[0], layers=tuple(layers)))
