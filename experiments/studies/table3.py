"""Table 3: routers trained on clean images, tested on images with noise, JPEG artefacts or blur."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from experiments.entries import Entry, Table
from experiments.studies.jobs import Backbone, Chosen, backbones, datasets, main_run, main_runs, run_job
from experiments.studies.study import Done, Job, Outcome, Study
from experiments.tested import read_test_split
from extract.settings import open_or_extract, plan_from_config
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import delong
from relope_jax.metrics.bootstrap import TAILS, bootstrap
from relope_jax.run import Run
from relope_jax.states.store import Store


def perturbed_job(backbone: Backbone, dataset: Chosen, perturbation: str) -> Job:
    """Not a run but the store of one: the test prompts with perturbed images, asked and graded anew."""
    fields = {"dataset.variant": perturbation, "dataset.only_split": "test"}
    return run_job(backbone, f"{dataset.title}-{perturbation.replace(':', '-')}", dataset, fields)


def perturbed_store(backbone: Backbone, dataset: Chosen, perturbation: str) -> Store:
    """That store, extracted first when it is not there yet."""
    return open_or_extract(plan_from_config(perturbed_job(backbone, dataset, perturbation).config))


def outcome(config: ConfigDict, done: Done) -> Outcome:
    """One table a backbone: the change of AUC under every perturbation."""
    tables, findings = [], []
    for backbone in backbones(config):
        rows, accuracies = [], []
        for perturbation in config.perturbations:
            changes = {method: [] for method in config.probes}
            for title, dataset in datasets(config).items():
                store = perturbed_store(backbone, dataset, perturbation)
                run = done.runs[main_run(backbone, dataset).name]
                clean, noisy = run.results[0]["base_rate"], float(store.column("label").mean())
                accuracies.append(f"{title} {perturbation}: {clean:.0%} to {noisy:.0%}")
                for method in config.probes:
                    changes[method].append(change(run, store, method, config.seeds))
            rows += [(f"{perturbation}, {METHODS[name].title}", tuple(entries)) for name, entries in changes.items()]
        tables.append(
            Table(
                name=f"{backbone.prefix}table3",
                title=f"Change of AUC on perturbed images: {backbone.title}",
                columns=tuple(datasets(config)),
                rows=tuple(rows),
                row_title="perturbation, method",
                notes=(
                    "Delta AUC = AUC on perturbed test images - AUC on the clean ones; trained on clean images, labels "
                    "of the answers to the perturbed ones; 95 % intervals: paired bootstrap over images; *: without 0.",
                    f"Small model's accuracy: {'; '.join(accuracies)}.",
                ),
            )
        )
        findings += [mean_change(rows, config.perturbations, name) for name in config.probes]
    return Outcome(tuple(tables), findings=tuple(findings))


def change(run: Run, store: Store, method: str, seeds: tuple[int, ...]) -> Entry:
    """AUC on the store's prompts minus the run's own on its test split, mean over seeds.

    Raises:
      ReLopeError: the store's prompts are not the run's test prompts.
    """
    clean = read_test_split(run)
    before_scores, groups = clean.scores[method], clean.groups
    row = {sample_id: i for i, sample_id in enumerate(store.column("sample_id"))}
    if row.keys() != set(clean.sample_ids):
        raise ReLopeError(f"{store.path} does not hold the very test prompts of {run.path}: delete both and go on")
    order = [row[sample_id] for sample_id in clean.sample_ids]
    labels = store.column("label")[order].astype(np.int64)
    if len(np.unique(labels)) < 2:
        return Entry(None)
    states = store.states()
    scores = np.stack([run.restore(method, seed)(states)[order] for seed in seeds])
    before = bootstrap(before_scores, clean.labels, groups)  # both draw the same images
    after = bootstrap(scores, labels, groups)
    value = float((delong(scores, labels).auc - delong(before_scores, clean.labels).auc).mean())
    if before.left_out or after.left_out:  # then the resamples no longer pair up
        return Entry(value)
    low, high = np.quantile(after.auc.mean(axis=0) - before.auc.mean(axis=0), TAILS)
    return Entry(value, float(low), float(high), mark="*" if low > 0 or high < 0 else "")


def mean_change(rows: list, perturbations: tuple[str, ...], method: str) -> str:
    """A method's mean change over all perturbations and datasets, in words."""
    mine = [entry.value for title, entries in rows for entry in entries if title.endswith(f", {METHODS[method].title}")]
    known = [value for value in mine if value is not None]
    if not known:
        return f"{METHODS[method].title}: no change can be told, every perturbed split has one class only."
    return f"{METHODS[method].title}: mean change of AUC {np.mean(known):+.3f} over {len(perturbations)} perturbations."


STUDY = Study("table3", "Table 3: robustness to noise, JPEG artefacts and blur", main_runs, outcome)
