"""The cells of a sweep: every training in its grid, and the ensembles that train them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.sweeps.grid import SEED, Axis
from extract.plan import Extraction
from relope_jax.methods import TrainedMethod
from relope_jax.training.members import Member

Setting = tuple[tuple[str, Any], ...]  # swept fields with one value each


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training: a method with one value per axis that affects it, and its store."""

    method: TrainedMethod
    values: Setting
    member: Member
    plan: Extraction

    @property
    def setting(self) -> Setting:
        """`values` without the seed; results are averaged over seeds per setting."""
        return tuple((field, value) for field, value in self.values if field != SEED)

    @property
    def program(self) -> tuple[Any, ...]:
        """Equal for cells that can train in one ensemble."""
        return self.method.name, self.plan, self.member.program


@dataclasses.dataclass(frozen=True)
class EnsembleJob:
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


def make_jobs(cells: dict[str, Cell], most: int) -> list[EnsembleJob]:
    """The ensembles that train these cells, with at most `most` members each, store by store."""
    plans: dict[Extraction, dict[tuple, list[str]]] = {}
    for name, cell in cells.items():
        plans.setdefault(cell.plan, {}).setdefault(cell.program, []).append(name)
    groups = [names for programs in plans.values() for names in programs.values()]
    pieces = [names[start : start + most] for names in groups for start in range(0, len(names), most)]
    return [EnsembleJob({name: cells[name] for name in piece}) for piece in pieces]


def split_text(axes: Sequence[Axis], cells: Sequence[Cell]) -> str:
    """One line per method: its cells, the axes that train in one ensemble, and the axes that train sequentially."""
    lines = []
    for method in dict.fromkeys(cell.method for cell in cells):
        mine = [cell for cell in cells if cell.method == method]
        together: list[str] = []
        apart: list[str] = []
        for axis in axes:
            if axis.concerns(method.name):
                (together if _is_batched(axis, mine) else apart).append(f"{axis.field} ({len(axis.values)})")
        parts = [f"trained together: {' x '.join(together)}"] if together else []
        parts += [f"sequentially: {' x '.join(apart)}"] if apart else []
        lines.append(f"  {method.title}, {len(mine)} cells: {'; '.join(parts)}")
    return "\n".join(lines)


def _is_batched(axis: Axis, cells: Sequence[Cell]) -> bool:
    """Whether cells that differ only along `axis` can train in one ensemble."""
    programs: dict[Setting, set] = {}
    for cell in cells:
        rest = tuple((field, value) for field, value in cell.values if field != axis.field)
        programs.setdefault(rest, set()).add(cell.program)
    return all(len(different) == 1 for different in programs.values())
