"""The cells of a sweep: every training that its grids ask for, and the ensembles that train them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.sweeps.grid import SEED, STORED, Axis
from extract.plan import Extraction, plan_from_config
from relope_jax.errors import ReLopeError
from relope_jax.methods import TrainedMethod, get_method
from relope_jax.training.checkpoints import spec_from_dict
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec

Setting = tuple[tuple[str, Any], ...]  # swept fields with one value each


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training: a method under one value of every axis that concerns it, and the store it learns from."""

    method: TrainedMethod
    values: Setting
    member: Member
    plan: Extraction

    @property
    def setting(self) -> Setting:
        """`values` without the seed: what the seeds are averaged over."""
        return tuple((field, value) for field, value in self.values if field != SEED)

    @property
    def program(self) -> tuple[Any, ...]:
        """Equal for cells that can train in one ensemble."""
        return self.method.name, self.plan, self.member.program


@dataclasses.dataclass(frozen=True)
class Job:
    """One ensemble to train: cells that share a program, by their names."""

    cells: dict[str, Cell]

    @property
    def method(self) -> TrainedMethod:
        return self._first.method

    @property
    def plan(self) -> Extraction:
        return self._first.plan

    @property
    def members(self) -> list[Member]:
        return [cell.member for cell in self.cells.values()]

    @property
    def _first(self) -> Cell:
        return next(iter(self.cells.values()))


def expand(config: ConfigDict, axes: Sequence[Axis]) -> list[Cell]:
    """All cells: for every method the product of the axes that concern it, the last axis fastest.

    Raises:
      ReLopeError: a value is out of its range, or cells that need different stores would share one folder.
    """
    cells = []
    for name in config.methods:
        method = get_method(name)
        if not isinstance(method, TrainedMethod):
            raise ReLopeError(f"'{name}' trains nothing; a sweep's config.methods names trained methods only")
        mine = [axis for axis in axes if axis.concerns(name)]
        for values in itertools.product(*(axis.values for axis in mine)):
            setting = tuple((axis.field, value) for axis, value in zip(mine, values, strict=True))
            cells.append(_make_cell(config, method, setting))
    _require_own_stores(config, axes, cells)
    return cells


def make_jobs(cells: dict[str, Cell], most: int) -> list[Job]:
    """The ensembles that train these cells, of at most `most` members each, store by store."""
    plans: dict[Extraction, dict[tuple, list[str]]] = {}
    for name, cell in cells.items():
        plans.setdefault(cell.plan, {}).setdefault(cell.program, []).append(name)
    groups = [names for programs in plans.values() for names in programs.values()]
    pieces = [names[start : start + most] for names in groups for start in range(0, len(names), most)]
    return [Job({name: cells[name] for name in piece}) for piece in pieces]


def split_text(axes: Sequence[Axis], cells: Sequence[Cell]) -> str:
    """A line a method: its cells, which axes train together in one ensemble and which one after another."""
    lines = []
    for method in dict.fromkeys(cell.method for cell in cells):
        mine = [cell for cell in cells if cell.method == method]
        together, apart = [], []
        for axis in axes:
            if axis.concerns(method.name):
                (together if _is_batched(axis, mine) else apart).append(f"{axis.field} ({len(axis.values)})")
        parts = [f"together {' x '.join(together)}"] if together else []
        parts += [f"one after another {' x '.join(apart)}"] if apart else []
        lines.append(f"  {method.title}, {len(mine)} cells: {'; '.join(parts)}")
    return "\n".join(lines)


def _make_cell(config: ConfigDict, method: TrainedMethod, values: Setting) -> Cell:
    resolved = config.copy_and_resolve_references()
    swept = dict(values)
    seed = swept.pop(SEED)
    resolved.update_from_flattened_dict(swept)
    spec = spec_from_dict(method, resolved[method.name].to_dict())
    return Cell(method, values, Member(spec, TrainSpec(**resolved.train), seed), plan_from_config(resolved))


def _is_batched(axis: Axis, cells: Sequence[Cell]) -> bool:
    """Whether cells that differ along `axis` only can train in one ensemble."""
    programs: dict[Setting, set] = {}
    for cell in cells:
        rest = tuple((field, value) for field, value in cell.values if field != axis.field)
        programs.setdefault(rest, set()).add(cell.program)
    return all(len(different) == 1 for different in programs.values())


def _require_own_stores(config: ConfigDict, axes: Sequence[Axis], cells: Sequence[Cell]) -> None:
    """Raise ReLopeError when two cells need stores of different contents under one name."""
    contents: dict[str, Extraction] = {}
    for cell in cells:
        plan = _whole_store(cell.plan)
        if contents.setdefault(str(plan.store), plan) == plan:
            continue
        fields = [axis.field for axis in axes if axis.section in STORED]
        advice = "give every value a sweep with its own --config.store="
        if config.store:
            advice = f"leave config.store out, or {advice}"
        if fields == ["extract.layer"]:
            layers = tuple(value for axis in axes if axis.field == "extract.layer" for value in axis.values)
            advice = f"extract them together with --config.extract.layers='{layers}'"
        raise ReLopeError(f"cells that differ in {', '.join(fields)} would share the store {plan.store}: {advice}")


def _whole_store(plan: Extraction) -> Extraction:
    """`plan` without the choice of one of the layers that its store holds."""
    layers = plan.extract.all_layers
    return dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, layer=layers[0], layers=tuple(layers)))
