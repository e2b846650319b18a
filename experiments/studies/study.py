"""Types of studies: the jobs they need and their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.report.entries import Table
from experiments.runs.plan import RunPlan, plan_run
from experiments.studies.plan import StudyPlan
from experiments.sweeps.plan import SweepPlan, plan_sweep
from relope_jax.run import Run


@dataclasses.dataclass(frozen=True)
class Job:
    """One run, or with `grid` one sweep, that a study needs; studies share jobs with the same name."""

    config: ConfigDict
    grid: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def plan(self) -> RunPlan | SweepPlan:
        """The job with every field checked."""
        return plan_sweep(self.config, self.grid) if self.grid else plan_run(self.config)


@dataclasses.dataclass(frozen=True)
class Done:
    """Finished jobs by name: runs, and folders of sweeps."""

    runs: dict[str, Run]
    sweeps: dict[str, Path]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a study. `findings` are sentences for its page and the terminal."""

    tables: tuple[Table, ...] = ()
    figures: tuple[tuple[str, Figure], ...] = ()
    findings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Study:
    """One table or figure of the paper.

    Attributes:
      jobs: function from the study's plan to the runs and sweeps it needs.
      outcome: function from the plan and the finished jobs to tables and figures.
    """

    name: str
    title: str
    jobs: Callable[[StudyPlan], list[Job]]
    outcome: Callable[[StudyPlan, Done], Outcome]
