"""Figure 2: accuracy of the system against the share of queries that the large model answers."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.drawing import make_figure, styled
from experiments.entries import Entry, Table
from experiments.palette import line_style, markers
from experiments.priced import priced
from experiments.studies.jobs import Backbone, backbones, datasets, main_run, main_runs
from experiments.studies.study import Done, Outcome, Study
from experiments.tested import RoutedSplit, read_test_split
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.run import Run

METRICS = {
    "apgr": "APGR", "cpt_50": "CPT(50 %)", "cpt_80": "CPT(80 %)", "audc": "AUDC", "aiq": "AIQ", "qnc": "QNC",
    "prr": "PRR", "ece": "ECE", "brier": "Brier",
}  # fmt: skip
OF_THE_GAP = ("apgr", "cpt_50", "cpt_80")
COLUMNS = 3  # panels side by side
SHARES = np.linspace(0, 1, 101)


def outcome(config: ConfigDict, done: Done) -> Outcome:
    """One figure and one table a backbone."""
    tables, figures, findings = [], [], []
    for backbone in backbones(config):
        runs = {title: done.runs[main_run(backbone, chosen).name] for title, chosen in datasets(config).items()}
        for dataset, run in runs.items():
            if run.summary["large"] is None:
                raise ReLopeError(
                    f"not every test question of {dataset} has a large model's answer: name the model with "
                    "--config.large=..., or ask again for the answers that it owes with `python -m extract.answer`"
                )
        figures.append((f"{backbone.prefix}figure2", draw(runs, config.methods, backbone.title)))
        tables.append(table(backbone, runs))
        findings += [backbone.says(finding(dataset, run)) for dataset, run in runs.items()]
    return Outcome(tuple(tables), tuple(figures), tuple(findings))


@styled
def draw(runs: dict[str, Run], methods: tuple[str, ...], model: str) -> Figure:
    """A panel a dataset, and one of their mean."""
    shown = [*methods, "question_only", "random", "oracle"]
    splits = [read_test_split(run) for run in runs.values()]
    curves = {name: [curve(split, name) for split in splits] for name in shown}
    rows = -(-(len(runs) + 1) // COLUMNS)
    figure, axes = make_figure(10.5, 3.0 * rows + 1, nrows=rows, ncols=COLUMNS, squeeze=False)
    for i, title in enumerate([*runs, "mean"]):
        panel = axes.flat[i]
        for name, found in curves.items():
            accuracy = np.mean(found, axis=0) if title == "mean" else found[i]
            label = METHODS[name].title if title == "mean" else None
            panel.plot(SHARES, accuracy, label=label, **line_style(name), **markers(name))
        panel.set(title=title, xlim=(0, 1))
    for panel in axes.flat[len(runs) + 1 :]:
        panel.set_visible(False)
    figure.supxlabel("share of queries sent to the large model")
    figure.supylabel("accuracy of the system")
    figure.legend(loc="outside lower center", ncols=5)
    figure.suptitle(model)
    return figure


def curve(split: RoutedSplit, method: str) -> np.ndarray:
    """Accuracy at `SHARES` of deferred test queries, mean over seeds."""
    accuracy = split.deferral(method).mean(axis=0)
    return accuracy[np.round(SHARES * (len(accuracy) - 1)).astype(int)]


def table(backbone: Backbone, runs: dict[str, Run]) -> Table:
    """Routing metrics, means over the datasets; those of the gap only where the large model is the better one."""
    methods = [*dict.fromkeys((*backbone.config.methods, "question_only", "random"))]
    rows = []
    measured = {dataset: numbers(run, methods) for dataset, run in runs.items()}
    with_gap = [dataset for dataset, run in runs.items() if has_gap(run)]
    for method in methods:
        entries = []
        for metric in METRICS:
            over = with_gap if metric in OF_THE_GAP else measured
            entries.append(Entry(float(np.mean([measured[d][method][metric] for d in over])) if over else None))
        rows.append((METHODS[method].title, tuple(entries)))
    accuracies = "; ".join(
        f"{dataset} {run.results[0]['base_rate']:.0%} and {run.summary['large']['accuracy']:.0%}"
        for dataset, run in runs.items()
    )
    return Table(
        name=f"{backbone.prefix}figure2",
        title=f"Routing to {next(iter(runs.values())).summary['large']['model']}: {backbone.title}",
        columns=tuple(METRICS.values()),
        rows=tuple(rows),
        notes=(
            f"Accuracy of the small and of the large model: {accuracies}.",
            "Means over the datasets, of APGR and CPT over those where the large model is the better one "
            f"({', '.join(with_gap) or 'none'}); - where a metric is undefined on one (a recovery never reached).",
        ),
    )


def numbers(run: Run, methods: list[str]) -> dict[str, dict[str, float]]:
    """Every metric of every method on one dataset; NaN where it is undefined."""
    prices, summary = priced(read_test_split(run), methods), run.summary["methods"]
    return {
        name: {metric: math.nan if value is None else value for metric, value in (summary[name] | prices[name]).items()}
        for name in methods
    }


def finding(dataset: str, run: Run) -> str:
    """What routing buys on one dataset, in words."""
    small, large = run.results[0]["base_rate"], run.summary["large"]["accuracy"]
    models = f"small model {small:.1%}, large {large:.1%}"
    metric = "apgr" if has_gap(run) else "audc"
    values = {name: run.summary["methods"][name][metric] for name in run.config["methods"]}
    best = max(values, key=values.__getitem__)
    if metric == "apgr":
        return f"{dataset} ({models}): the highest APGR has {METHODS[best].title}, {values[best]:.2f} (random 0.5)."
    return (
        f"{dataset} ({models}): the large model is no better, there is no gap to recover; the highest AUDC has "
        f"{METHODS[best].title}, {values[best]:.3f} (random {(small + large) / 2:.3f})."
    )


def has_gap(run: Run) -> bool:
    """Whether the large model is the better one."""
    return run.summary["large"]["accuracy"] > run.results[0]["base_rate"]


STUDY = Study("figure2", "Figure 2: accuracy of the system against the share routed", main_runs, outcome)
