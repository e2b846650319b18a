"""Runs studies: first every unfinished job once, then tables, figures and pages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments import pipeline, sweep
from experiments.report.drawing import to_svg, write_pdf
from experiments.report.page import Section, bullets, page, picture
from experiments.report.tables import to_html, to_text, write_tables
from experiments.runs.plan import RunPlan
from experiments.runs.recorded import SCRATCH, without_places
from experiments.say import say
from experiments.studies import get_studies
from experiments.studies.plan import StudyPlan
from experiments.studies.study import Done, Job, Outcome, Study
from experiments.sweeps.plan import SweepPlan
from extract.source import dataset_source, model_source
from relope_jax.errors import ReLopeError
from relope_jax.io.files import require_writable, write_text
from relope_jax.run import RESULTS, Run

PAGE, PDF = "report.html", "report.pdf"
DIGESTED = (*SCRATCH, "dataset.path", "dataset.captions")  # paths, and fields that `dataset_source` has digests of


def run(plan: StudyPlan) -> Path:
    """Run `plan.study`; returns the folder of its pages.

    Raises:
      ReLopeError: a table or figure cannot be made; all others are made first.
    """
    if jax.process_count() > 1:
        raise ReLopeError("a study runs in one process: start it without a coordinator")
    studies, folder = get_studies(plan.study), plan.folder
    require_writable(folder)
    work = {study.name: study.jobs(plan) for study in studies}
    worker = Worker([job for jobs in work.values() for job in jobs])
    outcomes, failed = [], []
    for study in studies:
        try:
            outcome = study.outcome(plan, worker.carry_out(work[study.name]))
        except ReLopeError as error:
            say(f"\n{study.name} failed: {error}")
            failed.append(f"{study.name}: {error}")
            continue
        show(study, outcome)
        publish(folder / study.name, [(study, outcome)])
        outcomes.append((study, outcome))
    if failed and not outcomes:
        raise ReLopeError("; ".join(failed))
    if len(studies) > 1:
        publish(folder, outcomes)
    say(f"\npages: {folder if len(studies) > 1 else folder / studies[0].name}/{PAGE}, also as PDF, CSV and LaTeX")
    if failed:
        raise ReLopeError(f"{len(failed)} of {len(studies)} failed: {'; '.join(failed)}")
    return folder


class Worker:
    """Runs each unfinished job once and prints progress."""

    def __init__(self, jobs: Sequence[Job]):
        self._plans = {name: job.plan for name, job in {job.name: job for job in jobs}.items()}
        self._waiting = [name for name, plan in self._plans.items() if not is_finished(plan)]
        self._sweeps: dict[str, Path] = {}
        self._count, self._started = len(self._waiting), time.perf_counter()
        say(f"{len(self._plans)} runs and sweeps; {len(self._plans) - len(self._waiting)} runs are finished")

    def carry_out(self, jobs: Sequence[Job]) -> Done:
        """Run these jobs if they are not finished, and return them."""
        for job in jobs:
            if job.name in self._waiting:
                self._announce(job)
                plan = self._plans[job.name]
                if isinstance(plan, RunPlan):
                    pipeline.run(plan)
                else:
                    self._sweeps[job.name] = sweep.run(plan, out=job.config.runs)
                self._waiting.remove(job.name)
        plans = [self._plans[job.name] for job in jobs]
        runs = {plan.name: Run(plan.folder) for plan in plans if isinstance(plan, RunPlan)}
        return Done(runs, {plan.name: self._sweeps[plan.name] for plan in plans if isinstance(plan, SweepPlan)})

    def _announce(self, job: Job) -> None:
        made = self._count - len(self._waiting)
        spent = (time.perf_counter() - self._started) / 60
        left = f", about {spent / made * len(self._waiting):.0f} minutes left" if made else ""
        say(f"\n=== {job.name}: {made + 1} of {self._count}{left} ===")


def is_finished(plan: RunPlan | SweepPlan) -> bool:
    """Whether a run with this config, model and questions is finished; a sweep checks its own cells.

    A finished run with another config counts as unfinished; opening it reports the differences. Its store may be gone.
    """
    if isinstance(plan, SweepPlan) or not (plan.folder / RESULTS).exists():
        return False
    record = Run(plan.folder).record
    if without_places(record["config"], DIGESTED) != without_places(plan.recorded, DIGESTED):
        return False
    store = record["store"]
    wanted = {"source": model_source(plan.target.model)} | dataset_source(plan.target.dataset)
    have = store["dataset"] | {"source": store["source"]}
    return all(have.get(field) == value for field, value in wanted.items())


def show(study: Study, outcome: Outcome) -> None:
    """Print the study to the terminal."""
    say(f"\n{study.title}")
    for table in outcome.tables:
        say(f"\n{to_text(table)}")
    for finding in outcome.findings:
        say(finding)


def publish(folder: Path, outcomes: Sequence[tuple[Study, Outcome]]) -> None:
    """Write the tables as CSV and LaTeX, and tables and figures as one HTML page and one PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [table for _, outcome in outcomes for table in outcome.tables]
    figures = [figure for _, outcome in outcomes for figure in outcome.figures]
    write_tables(folder, tables)
    title = outcomes[0][0].title if len(outcomes) == 1 else "The paper's evaluation"
    write_text(folder / PAGE, page(title, [section(study, outcome) for study, outcome in outcomes]))
    write_pdf(folder / PDF, tables, [figure for _, figure in figures])


def section(study: Study, outcome: Outcome) -> Section:
    """The section of a study in the page."""
    figures = (picture(to_svg(figure), study.title) for _, figure in outcome.figures)
    return Section(study.title, "".join([bullets(outcome.findings), *figures, *map(to_html, outcome.tables)]))
