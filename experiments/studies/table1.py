"""Table 1: text-only, multimodal and captioned questions of one multiple-choice dataset."""

from __future__ import annotations

from experiments.report.entries import Table
from experiments.studies import paper
from experiments.studies.jobs import NO_LARGE, run_job
from experiments.studies.plan import StudyBackbone, StudyPlan
from experiments.studies.rows import Comparison, auc_entry, base_rates, sentences
from experiments.studies.study import Done, Job, Outcome, Study
from extract.datasets.suite.places import PLACES
from relope_jax.methods import METHODS

VERSIONS = {"text": "text only", "image": "multimodal", "caption": "captioned"}


def jobs(plan: StudyPlan) -> list[Job]:
    """Jobs for questions without an image, with an image, and with a caption instead of the image."""
    return [_job(plan, backbone, version) for backbone in plan.backbones for version in VERSIONS]


def _job(plan: StudyPlan, backbone: StudyBackbone, version: str) -> Job:
    dataset = plan.chosen_dataset("choice_dataset")
    modality = "text" if version == "text" else "image"
    fields = {"methods": plan.probes, "dataset.modality": modality, **NO_LARGE}
    if version == "caption":
        fields["dataset.variant"] = "caption"
        if (
            dataset.name == PLACES.name
        ):  # the suite has descriptions of its images; other images are captioned by the model
            fields["dataset.captions"] = PLACES.captions(plan.questions)
    return run_job(plan, backbone, f"{dataset.title}-{version}", dataset, fields)


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One table per backbone: AUC of the probes on each version."""
    tables, findings = [], []
    for backbone in plan.backbones:
        runs = [done.runs[_job(plan, backbone, version).name] for version in VERSIONS]
        rows = []
        for method in (*plan.probes, "question_only"):
            known = [paper.share(paper.TABLE1.get(version, {}).get(method)) for version in VERSIONS]
            entries = tuple(auc_entry(run, method, number) for run, number in zip(runs, known, strict=True))
            rows.append((METHODS[method].title, entries))
        tables.append(
            Table(
                name=f"{backbone.prefix}table1",
                title=f"AUC on three versions of {plan.chosen_dataset('choice_dataset').title}: {backbone.title}",
                columns=tuple(VERSIONS.values()),
                rows=tuple(rows),
                notes=(
                    "Each version has its own prompts, answers and labels. Routers are trained and tested on the same "
                    "version. Text only: questions that never had an image.",
                    base_rates(runs, tuple(VERSIONS.values())),
                    f"Paper: ScienceQA, {paper.MODEL.rpartition(', ')[2]}.",
                ),
            )
        )
        compared = []
        for method in plan.probes:
            text, image = (run.summary["methods"][method] for run in runs[:2])
            first = backbone.says(f"{METHODS[method].title} on text-only questions")
            compared.append(Comparison(first, text, "on questions with an image", image))
        findings += sentences(compared)
    return Outcome(tuple(tables), findings=tuple(findings))


STUDY = Study("table1", "Table 1: does an image make correctness harder to read?", jobs, outcome)
