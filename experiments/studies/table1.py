"""Table 1: text-only, multimodal and captioned questions of one multiple-choice dataset."""

from __future__ import annotations

from ml_collections import ConfigDict

from experiments.report.entries import Table
from experiments.studies import paper
from experiments.studies.jobs import NO_LARGE, StudyBackbone, backbones, chosen_dataset, run_job
from experiments.studies.rows import Comparison, auc_entry, base_rates, sentences
from experiments.studies.study import Done, Job, Outcome, Study
from extract.datasets.suite.places import PLACES
from extract.spec import DatasetSpec
from relope_jax.methods import METHODS

VERSIONS = {"text": "text only", "image": "multimodal", "caption": "captioned"}


def jobs(config: ConfigDict) -> list[Job]:
    """Jobs for questions without an image, with an image, and with a caption instead of the image."""
    return [_job(backbone, version) for backbone in backbones(config) for version in VERSIONS]


def _job(backbone: StudyBackbone, version: str) -> Job:
    dataset = chosen_dataset(backbone.config, "choice_dataset")
    modality = "text" if version == "text" else "image"
    fields = {"methods": backbone.config.probes, "dataset.modality": modality, **NO_LARGE}
    if version == "caption":
        fields["dataset.variant"] = "caption"
        if (
            dataset.name == PLACES.name
        ):  # the suite has descriptions of its images; other images are captioned by the model
            fields["dataset.captions"] = PLACES.captions(DatasetSpec(**backbone.config.dataset))
    return run_job(backbone, f"{dataset.title}-{version}", dataset, fields)


def outcome(config: ConfigDict, done: Done) -> Outcome:
    """One table per backbone: AUC of the probes on each version."""
    tables, findings = [], []
    for backbone in backbones(config):
        runs = [done.runs[_job(backbone, version).name] for version in VERSIONS]
        rows = []
        for method in (*config.probes, "question_only"):
            known = [paper.share(paper.TABLE1.get(version, {}).get(method)) for version in VERSIONS]
            entries = tuple(auc_entry(run, method, number) for run, number in zip(runs, known, strict=True))
            rows.append((METHODS[method].title, entries))
        tables.append(
            Table(
                name=f"{backbone.prefix}table1",
                title=f"AUC on three versions of {chosen_dataset(config, 'choice_dataset').title}: {backbone.title}",
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
        for method in config.probes:
            text, image = (run.summary["methods"][method] for run in runs[:2])
            first = backbone.says(f"{METHODS[method].title} on text-only questions")
            compared.append(Comparison(first, text, "on questions with an image", image))
        findings += sentences(compared)
    return Outcome(tuple(tables), findings=tuple(findings))


STUDY = Study("table1", "Table 1: does an image make correctness harder to read?", jobs, outcome)
