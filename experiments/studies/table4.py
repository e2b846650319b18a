"""Table 4: routers trained on all datasets but one and tested on the remaining one."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.entries import Table
from experiments.studies.jobs import NO_LARGE, main_run, probed_runs, run_job
from experiments.studies.plan import StudyBackbone, StudyDataset, StudyPlan
from experiments.studies.rows import auc_entry, base_rates, corrected, mean_auc
from experiments.studies.study import Done, Job, Outcome, Study
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.metrics.paired import SIGNIFICANT
from relope_jax.run import Run


def jobs(plan: StudyPlan) -> list[Job]:
    """The main runs on each dataset, which provide the stores, and one run per left-out dataset."""
    if len(plan.datasets) < 2:
        raise ReLopeError("Table 4 trains on all datasets but one: give at least two with --config.datasets=...")
    left_out = [_job(plan, backbone, dataset) for backbone in plan.backbones for dataset in plan.datasets.values()]
    return probed_runs(plan) + left_out


def _job(plan: StudyPlan, backbone: StudyBackbone, dataset: StudyDataset) -> Job:
    others = tuple(other.text for other in plan.datasets.values() if other != dataset)
    # An epoch has this many times more prompts, and so this many times more steps.
    train = {f"train.{field}": -(-getattr(plan.train, field) // len(others)) for field in ("epochs", "patience")}
    fields = {"methods": plan.probes, "train_on": others, **train, **NO_LARGE}
    return run_job(plan, backbone, f"all-but-{dataset.title}", dataset, fields)


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One table per backbone: AUC of routers trained on the other datasets, and of routers trained on the same
    dataset."""
    tables: list[Table] = []
    findings: list[str] = []
    shown = (*plan.probes, "question_only")
    for backbone in plan.backbones:
        chosen = plan.datasets
        out = [done.runs[_job(plan, backbone, dataset).name] for dataset in chosen.values()]
        within = [done.runs[main_run(plan, backbone, dataset).name] for dataset in chosen.values()]
        rows = []
        for method in shown:
            for runs, where in ((out, "trained on the others"), (within, "trained on it")):
                entries = (auc_entry(run, method) for run in runs)
                rows.append((f"{METHODS[method].title}, {where}", (*entries, mean_auc(runs, method).entry())))
        tables.append(
            Table(
                name=f"{backbone.prefix}table4",
                title=f"AUC on a dataset left out of training: {backbone.title}",
                columns=(*chosen, "mean"),
                rows=tuple(rows),
                row_title="method",
                notes=(
                    base_rates(out, tuple(chosen)),
                    f"Trained on the others: 1/{len(chosen) - 1} of the epochs, for about the same number of steps.",
                ),
            )
        )
        findings += map(backbone.says, transfer(out, within, shown))
    return Outcome(tuple(tables), findings=tuple(findings))


def transfer(out: Sequence[Run], within: Sequence[Run], methods: Sequence[str]) -> list[str]:
    """One sentence per method: its mean AUC on left-out datasets, tested against chance (Holm-corrected)."""
    means = [mean_auc(out, method) for method in methods]
    found = []
    p_values = corrected([mean.auc - 0.5 for mean in means], [mean.error for mean in means])
    for method, mean, p in zip(methods, means, p_values, strict=True):
        low, high, here = *mean.interval(), mean_auc(within, method).auc
        chance = "above chance" if mean.auc > 0.5 and p < SIGNIFICANT else "not significantly above chance"
        found.append(
            f"{METHODS[method].title}: mean AUC {mean.auc:.3f} [{low:.3f}, {high:.3f}] on datasets that "
            f"it was not trained on ({chance}, Holm-corrected p = {p:.2g}), {here:.3f} on those that it was."
        )
    return found


STUDY = Study("table4", "Table 4: train on all datasets but one, test on that one", jobs, outcome)
