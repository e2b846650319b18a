"""Carries out studies: every job once, finished ones not again, then their tables, figures and pages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from experiments import pipeline, sweep
from experiments.drawing import to_svg, write_pdf
from experiments.page import Section, bullets, page, picture
from experiments.rundir import recorded_config
from experiments.studies import get_studies
from experiments.studies.study import Done, Job, Outcome, Study
from experiments.tables import to_html, to_text, write_tables
from relope_jax.errors import ReLopeError
from relope_jax.run import CONFIG, RESULTS, Run
from relope_jax.states.files import write_text

PAGE, PDF = "report.html", "report.pdf"


def run(config: ConfigDict) -> Path:
    """Carry out `config.study`; returns the folder of its pages."""
    if jax.process_count() > 1:
        raise ReLopeError("a study runs in one process: start it without a coordinator")
    studies = get_studies(config.study)
    jobs = {job.name: job for study in studies for job in study.jobs(config)}
    done = carry_out(list(jobs.values()))
    folder = Path(config.runs) / config.name
    outcomes = [(study, study.outcome(config, done)) for study in studies]
    for study, outcome in outcomes:
        show(study, outcome)
        publish(folder / study.name, [(study, outcome)])
    if len(studies) > 1:
        publish(folder, outcomes)
    print(
        f"\npages: {folder if len(studies) > 1 else folder / studies[0].name}/{PAGE}, and the same as PDF, CSV, LaTeX"
    )
    return folder


def carry_out(jobs: Sequence[Job]) -> Done:
    """Run what is not finished, saying how far it is."""
    done = Done({}, {})
    waiting = [job for job in jobs if job.grid or not is_finished(job.config)]
    print(f"{len(jobs)} runs and sweeps; {len(jobs) - len(waiting)} runs are finished")
    started = time.perf_counter()
    for number, job in enumerate(waiting):
        spent = time.perf_counter() - started
        left = f", about {spent / number * (len(waiting) - number) / 60:.0f} minutes left" if number else ""
        print(f"\n=== {job.name}: {number + 1} of {len(waiting)}{left} ===")
        if job.grid:
            done.sweeps[job.name] = sweep.run(job.config, job.grid, out=job.config.runs)
        else:
            pipeline.run(job.config)
    for job in jobs:
        if not job.grid:
            done.runs[job.name] = Run(Path(job.config.runs) / job.name)
    return done


def is_finished(config: ConfigDict) -> bool:
    """Whether this very run is finished; one of another config is not, and the run itself says what differs."""
    path = Path(config.runs) / config.name
    if not (path / RESULTS).exists():
        return False
    return json.loads((path / CONFIG).read_text())["config"] == recorded_config(config)


def show(study: Study, outcome: Outcome) -> None:
    """The study in the terminal."""
    print(f"\n{study.title}")
    for table in outcome.tables:
        print(f"\n{to_text(table)}")
    for finding in outcome.findings:
        print(finding)


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
