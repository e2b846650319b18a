"""Table 3: routers trained on clean images and tested on images with noise, JPEG artefacts or blur."""

from __future__ import annotations

import numpy as np

from experiments.report.entries import Entry, Table
from experiments.runs.plan import plan_run
from experiments.runs.tested import RoutedSplit, read_test_split
from experiments.studies.jobs import main_run, probed_runs, run_job
from experiments.studies.plan import StudyBackbone, StudyDataset, StudyPlan
from experiments.studies.study import Done, Job, Outcome, Study
from extract.job.open import open_or_extract
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import delong
from relope_jax.metrics.bootstrap import TAILS, bootstrap
from relope_jax.run import Run
from relope_jax.states.store import Store


def perturbed_job(plan: StudyPlan, backbone: StudyBackbone, dataset: StudyDataset, perturbation: str) -> Job:
    """The job of a perturbation, for its store only: the test prompts with perturbed images, new answers and labels."""
    fields = {"dataset.variant": perturbation, "dataset.only_split": "test"}
    return run_job(plan, backbone, f"{dataset.title}-{perturbation.replace(':', '-')}", dataset, fields)


def perturbed_store(plan: StudyPlan, backbone: StudyBackbone, dataset: StudyDataset, perturbation: str) -> Store:
    """The store of `perturbed_job`, extracted first if it does not exist yet."""
    return open_or_extract(plan_run(perturbed_job(plan, backbone, dataset, perturbation).config).target)


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One table per backbone: the change of AUC under every perturbation."""
    tables, findings = [], []
    for backbone in plan.backbones:
        rows, accuracies = [], []
        for perturbation in plan.perturbations:
            columns = []
            for title, dataset in plan.datasets.items():
                run = done.runs[main_run(plan, backbone, dataset).name]
                changes, accuracy = column(run, perturbed_store(plan, backbone, dataset, perturbation), plan)
                columns.append(changes)
                accuracies.append(f"{title} {perturbation}: {accuracy}")
            for method in plan.probes:
                rows.append((f"{perturbation}, {METHODS[method].title}", tuple(found[method] for found in columns)))
        tables.append(
            Table(
                name=f"{backbone.prefix}table3",
                title=f"Change of AUC on perturbed images: {backbone.title}",
                columns=tuple(plan.datasets),
                rows=tuple(rows),
                row_title="perturbation, method",
                notes=(
                    "Delta AUC = AUC on perturbed test images - AUC on clean ones, only questions with an image. "
                    "Trained on clean images; labels are for the answers to perturbed images. 95% intervals: "
                    "paired bootstrap over images; *: excludes 0.",
                    f"Small model's accuracy: {'; '.join(accuracies)}.",
                ),
            )
        )
        findings += [backbone.says(mean_change(rows, plan.perturbations, name)) for name in plan.probes]
    return Outcome(tuple(tables), findings=tuple(findings))


def column(run: Run, store: Store, plan: StudyPlan) -> tuple[dict[str, Entry], str]:
    """The change of every probe on one dataset, and the small model's accuracy before and after."""
    clean, rows = with_images(run, store)
    labels, states = store.column("label")[rows].astype(np.int64), store.states()
    changes = {}
    for method in plan.probes:
        scores = np.stack([run.restore(method, seed)(states)[rows] for seed in plan.seeds])
        changes[method] = change(clean, method, scores, labels)
    return changes, f"{clean.labels.mean():.0%} to {labels.mean():.0%}"


def with_images(run: Run, store: Store) -> tuple[RoutedSplit, np.ndarray]:
    """The run's test prompts with an image, and the rows of their perturbed versions in the store.

    Raises:
      ReLopeError: the store's prompts are not the run's test prompts.
    """
    clean = read_test_split(run)
    row = {sample_id: i for i, sample_id in enumerate(store.column("sample_id"))}
    if row.keys() != set(clean.sample_ids):
        raise ReLopeError(
            f"{store.path} does not have the test prompts of {run.path}: delete both and run the same command again"
        )
    rows = np.array([row[sample_id] for sample_id in clean.sample_ids])
    chosen = np.flatnonzero(store.column("image_tokens")[rows] > 0)
    scores = {method: found[:, chosen] for method, found in clean.scores.items()}
    return RoutedSplit(scores, clean.labels[chosen], groups=clean.units[chosen]), rows[chosen]


def change(clean: RoutedSplit, method: str, scores: np.ndarray, labels: np.ndarray) -> Entry:
    """AUC of these scores `[seeds, n]` on perturbed prompts minus that on the clean ones, mean over seeds."""
    before_scores = clean.scores[method]
    if len(np.unique(labels)) < 2 or len(np.unique(clean.labels)) < 2:
        return Entry(None)
    before = bootstrap(before_scores, clean.labels, clean.groups)  # both resample the same images
    after = bootstrap(scores, labels, clean.groups)
    value = float((delong(scores, labels).auc - delong(before_scores, clean.labels).auc).mean())
    if before.left_out or after.left_out:  # the resamples are then no longer paired
        return Entry(value)
    low, high = np.quantile(after.auc.mean(axis=0) - before.auc.mean(axis=0), TAILS)
    return Entry(value, float(low), float(high), mark="*" if low > 0 or high < 0 else "")


def mean_change(rows: list, perturbations: tuple[str, ...], method: str) -> str:
    """A sentence on a method's mean change over all perturbations and datasets."""
    mine = [entry.value for title, entries in rows for entry in entries if title.endswith(f", {METHODS[method].title}")]
    known = [value for value in mine if value is not None]
    if not known:
        return f"{METHODS[method].title}: the change is undefined, because every perturbed split has only one class."
    return f"{METHODS[method].title}: mean change of AUC {np.mean(known):+.3f} over {len(perturbations)} perturbations."


STUDY = Study("table3", "Table 3: robustness to noise, JPEG artefacts and blur", probed_runs, outcome)
