"""Carries out studies: every job once, finished ones not again, then their tables, figures and pages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from experiments import pipeline, sweep
from experiments.report.drawing import to_svg, write_pdf
from experiments.report.page import Section, bullets, page, picture
from experiments.report.tables import to_html, to_text, write_tables
from experiments.runs.recorded import SCRATCH, recorded_config, without_places
from experiments.runs.rundir import run_folder
from experiments.say import say
from experiments.studies import get_studies
from experiments.studies.study import Done, Job, Outcome, Study
from extract.plan import plan_from_config
from extract.source import dataset_source, model_source
from relope_jax.errors import ReLopeError
from relope_jax.io.files import require_writable, write_text
from relope_jax.run import RESULTS, Run

PAGE, PDF = "report.html", "report.pdf"
DIGESTED = (*SCRATCH, "dataset.path", "dataset.captions")  # places, and what `dataset_source` has digests of


def run(config: ConfigDict) -> Path:
    """Carry out `config.study`; returns the folder of its pages.

    Raises:
      ReLopeError: a table or figure cannot be made; of several, all others are made first.
    """
    if jax.process_count() > 1:
        raise ReLopeError("a study runs in one process: start it without a coordinator")
    studies, folder = get_studies(config.study), run_folder(config)
    require_writable(folder)
    work = {study.name: study.jobs(config) for study in studies}
    worker = Worker([job for jobs in work.values() for job in jobs])
    outcomes, failed = [], []
    for study in studies:
        try:
            outcome = study.outcome(config, worker.carry_out(work[study.name]))
        except ReLopeError as error:
            say(f"\n{study.name} is not made: {error}")
            failed.append(f"{study.name}: {error}")
            continue
        show(study, outcome)
        publish(folder / study.name, [(study, outcome)])
        outcomes.append((study, outcome))
    if failed and not outcomes:
        raise ReLopeError("; ".join(failed))
    if len(studies) > 1:
        publish(folder, outcomes)
    say(f"\npages: {folder if len(studies) > 1 else folder / studies[0].name}/{PAGE}, and the same as PDF, CSV, LaTeX")
    if failed:
        raise ReLopeError(f"{len(failed)} of {len(studies)} are not made: {'; '.join(failed)}")
    return folder


class Worker:
    """Carries out jobs, each once and finished ones not again, saying how far it is."""

    def __init__(self, jobs: Sequence[Job]):
        every = {job.name: job for job in jobs}
        self._waiting = [name for name, job in every.items() if job.grid or not is_finished(job.config)]
        self._sweeps: dict[str, Path] = {}
        self._count, self._started = len(self._waiting), time.perf_counter()
        say(f"{len(every)} runs and sweeps; {len(every) - len(self._waiting)} runs are finished")

    def carry_out(self, jobs: Sequence[Job]) -> Done:
        """These jobs, finished."""
        for job in jobs:
            if job.name in self._waiting:
                self._announce(job)
                if job.grid:
                    self._sweeps[job.name] = sweep.run(job.config, job.grid, out=job.config.runs)
                else:
                    pipeline.run(job.config)
                self._waiting.remove(job.name)
        runs = {job.name: Run(run_folder(job.config)) for job in jobs if not job.grid}
        return Done(runs, {job.name: self._sweeps[job.name] for job in jobs if job.grid})

    def _announce(self, job: Job) -> None:
        made = self._count - len(self._waiting)
        spent = (time.perf_counter() - self._started) / 60
        left = f", about {spent / made * len(self._waiting):.0f} minutes left" if made else ""
        say(f"\n=== {job.name}: {made + 1} of {self._count}{left} ===")


def is_finished(config: ConfigDict) -> bool:
    """Whether this very run is finished, of this config and of the model and questions as they are now.

    One of others is not, and says itself what differs when it is opened. The store may be gone.
    """
    path = run_folder(config)
    if not (path / RESULTS).exists():
        return False
    record = Run(path).record
    if without_places(record["config"], DIGESTED) != without_places(recorded_config(config), DIGESTED):
        return False
    plan, store = plan_from_config(config), record.get("store", {})
    wanted = {"source": model_source(plan.model)} | dataset_source(plan.dataset)
    have = store.get("dataset", {}) | {"source": store.get("source")}
    return all(have.get(field) == value for field, value in wanted.items())


def show(study: Study, outcome: Outcome) -> None:
    """The study in the terminal."""
    say(f"\n{study.title}")
    for table in outcome.tables:
        say(f"\n{to_text(table)}")
    for finding in outcome.findings:
        say(finding)


def publish(folder: Path, outcomes: Sequence[tuple[Study, Outcome]]) -> None:
    """Tables as CSV and LaTeX, figures and all as one HTML page and one PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [table for _, outcome in outcomes for table in outcome.tables]
    figures = [figure for _, outcome in outcomes for figure in outcome.figures]
    write_tables(folder, tables)
    title = outcomes[0][0].title if len(outcomes) == 1 else "The paper's evaluation"
    write_text(folder / PAGE, page(title, [section(study, outcome) for study, outcome in outcomes]))
    write_pdf(folder / PDF, tables, [figure for _, figure in figures])


def section(study: Study, outcome: Outcome) -> Section:
    """A study's part of the page."""
    figures = (picture(to_svg(figure), study.title) for _, figure in outcome.figures)
    return Section(study.title, "".join([bullets(outcome.findings), *figures, *map(to_html, outcome.tables)]))
