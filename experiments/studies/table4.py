"""Table 4: routers trained on all datasets but one, tested on that one."""

from __future__ import annotations

from ml_collections import ConfigDict

from experiments.entries import Table
from experiments.studies.jobs import Backbone, Chosen, backbones, datasets, main_run, main_runs, run_job
from experiments.studies.rows import auc_entry, base_rates, mean_entry
from experiments.studies.study import Done, Job, Outcome, Study
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS


def jobs(config: ConfigDict) -> list[Job]:
    """The runs on each dataset alone, whose stores these are, and one run for each dataset that is left out."""
    if len(config.datasets) < 2:
        raise ReLopeError("Table 4 trains on all datasets but one: name at least two with --config.datasets=...")
    left_out = [_job(backbone, dataset) for backbone in backbones(config) for dataset in datasets(config).values()]
    return main_runs(config) + left_out


def _job(backbone: Backbone, dataset: Chosen) -> Job:
    others = tuple(other.text for other in datasets(backbone.config).values() if other != dataset)
    fields = {"methods": backbone.config.probes, "large.name": "", "train_on": others}
    return run_job(backbone, f"all-but-{dataset.title}", dataset, fields)


def outcome(config: ConfigDict, done: Done) -> Outcome:
    """One table a backbone: AUC on a dataset that the router was not trained on, beside one that was."""
    tables, findings, shown = [], [], (*config.probes, "question_only")
    for backbone in backbones(config):
        chosen = datasets(config)
        out = [done.runs[_job(backbone, dataset).name] for dataset in chosen.values()]
        within = [done.runs[main_run(backbone, dataset).name] for dataset in chosen.values()]
        rows = []
        for method in shown:
            for runs, where in ((out, "trained on the others"), (within, "trained on it")):
                entries = [auc_entry(run, method) for run in runs]
                rows.append((f"{METHODS[method].title}, {where}", (*entries, mean_entry(entries))))
        tables.append(
            Table(
                name=f"{backbone.prefix}table4",
                title=f"AUC on a dataset left out of training: {backbone.title}",
                columns=(*chosen, "mean"),
                rows=tuple(rows),
                row_title="method",
                notes=(base_rates(out, tuple(chosen)),),
            )
        )
        findings += [_finding(rows[2 * i : 2 * i + 2], METHODS[name].title) for i, name in enumerate(shown)]
    return Outcome(tuple(tables), findings=tuple(findings))


def _finding(rows: list, title: str) -> str:
    out, within = (row[1][-1] for row in rows)
    chance = "above chance" if out.low > 0.5 else "not significantly above chance"
    return (
        f"{title}: mean AUC {out.value:.3f} [{out.low:.3f}, {out.high:.3f}] on datasets it was not trained on "
        f"({chance}), {within.value:.3f} on those it was."
    )


STUDY = Study("table4", "Table 4: train on all datasets but one, test on that one", jobs, outcome)
