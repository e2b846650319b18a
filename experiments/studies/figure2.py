"""Figure 2: system accuracy against the share of queries sent to the large model."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from experiments.report.drawing import make_figure, styled
from experiments.report.entries import Entry, Table
from experiments.report.palette import GREY, line_style, markers
from experiments.runs.tested import RoutedSplit, priced, read_test_split
from experiments.studies.jobs import main_run, main_runs
from experiments.studies.plan import StudyBackbone, StudyPlan
from experiments.studies.routed import gains, has_gap
from experiments.studies.study import Done, Outcome, Study
from relope_jax.errors import ReLopeError, printable
from relope_jax.methods import METHODS, SANITY
from relope_jax.run import Run

METRICS = {
    "apgr": "APGR",
    "cpt_50": "CPT(50%)",
    "cpt_80": "CPT(80%)",
    "audc": "AUDC",
    "aiq": "AIQ",
    "qnc": "QNC",
    "prr": "PRR",
    "ece": "ECE",
    "brier": "Brier",
}
OF_THE_GAP = ("apgr", "cpt_50", "cpt_80")
COLUMNS = 3  # panels per row
SHARES = np.linspace(0, 1, 101)
PROMINENT = 8  # curves that a reader can distinguish


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One figure and one table per backbone."""
    tables, figures, findings = [], [], []
    for backbone in plan.backbones:
        runs = {title: done.runs[main_run(plan, backbone, chosen).name] for title, chosen in plan.datasets.items()}
        for dataset, run in runs.items():
            if run.summary["large"] is None:
                raise ReLopeError(
                    f"some test questions of {dataset} have no answer of a large model: give the model with "
                    "--config.large=..., or request the missing answers with `python -m extract.answer`"
                )
        splits = {dataset: read_test_split(run) for dataset, run in runs.items()}
        models = f"small model {backbone.title}, large model {large_model(runs)}"
        figures.append((f"{backbone.prefix}figure2", draw(splits, plan.methods, plan.probes, models)))
        tables.append(table(plan, backbone, runs, splits))
        findings += [backbone.says(text) for text in gains(splits, plan.methods)]
    return Outcome(tuple(tables), tuple(figures), tuple(findings))


@styled
def draw(splits: dict[str, RoutedSplit], methods: tuple[str, ...], probes: tuple[str, ...], models: str) -> Figure:
    """One panel per dataset, and one for their mean. Thin grey lines are the methods that are not `prominent`."""
    shown = [*methods, *SANITY]
    curves = {name: [curve(split, name) for split in splits.values()] for name in shown}
    strong = prominent(curves, probes)
    rows = -(-(len(splits) + 1) // COLUMNS)
    figure, axes = make_figure(10.5, 3.0 * rows + 1, nrows=rows, ncols=COLUMNS, squeeze=False)
    for i, title in enumerate([*splits, "mean"]):
        panel = axes.flat[i]
        for name, found in curves.items():
            accuracy = np.mean(found, axis=0) if title == "mean" else found[i]
            label = METHODS[name].title if title == "mean" else None
            if name in strong:
                panel.plot(SHARES, accuracy, label=label, **line_style(name), **markers(name))
            else:
                panel.plot(SHARES, accuracy, color=GREY, linewidth=0.7, alpha=0.6, zorder=1)
        if title == "mean" and len(strong) < len(curves):
            panel.plot([], [], color=GREY, linewidth=0.7, alpha=0.6, label="Other methods (see the table)")
        panel.set(title=printable(title), xlim=(0, 1))
        if i + COLUMNS > len(splits):  # there is no panel below
            panel.set(xlabel="share sent to the large model")
        if i % COLUMNS == 0:
            panel.set(ylabel="system accuracy")
    for panel in axes.flat[len(splits) + 1 :]:
        panel.set_visible(False)
    figure.legend(loc="outside lower center", ncols=5)
    figure.suptitle(printable(models))
    return figure


def prominent(curves: dict[str, list[np.ndarray]], probes: tuple[str, ...]) -> set[str]:
    """The probes, the sanity rows, and the best other methods by their mean accuracy over all shares."""
    fixed = {*probes, *SANITY} & curves.keys()
    others = sorted(curves.keys() - fixed, key=lambda name: -np.mean(curves[name]))
    return {*fixed, *others[: max(PROMINENT - len(fixed), 0)]}


def curve(split: RoutedSplit, method: str) -> np.ndarray:
    """Accuracy at `SHARES` of deferred test queries, mean over seeds."""
    accuracy = split.deferral(method).mean(axis=0)
    return accuracy[np.round(SHARES * (len(accuracy) - 1)).astype(int)]


def table(plan: StudyPlan, backbone: StudyBackbone, runs: dict[str, Run], splits: dict[str, RoutedSplit]) -> Table:
    """Routing metrics, means over datasets; for metrics of the gap, over those where the large model is significantly
    better."""
    methods = [*dict.fromkeys((*plan.methods, "question_only", "random"))]
    rows = []
    measured = {dataset: numbers(run, splits[dataset], methods) for dataset, run in runs.items()}
    with_gap = [dataset for dataset, split in splits.items() if has_gap(split)]
    for method in methods:
        entries = []
        for metric in METRICS:
            over = with_gap if metric in OF_THE_GAP else measured
            entries.append(Entry(float(np.mean([measured[d][method][metric] for d in over])) if over else None))
        rows.append((METHODS[method].title, tuple(entries)))
    accuracies = "; ".join(
        f"{dataset} {split.labels.mean():.0%} and {split.known_large.mean():.0%}" for dataset, split in splits.items()
    )
    return Table(
        name=f"{backbone.prefix}figure2",
        title=f"Routing to {large_model(runs)}: {backbone.title}",
        columns=tuple(METRICS.values()),
        rows=tuple(rows),
        notes=(
            f"Accuracy of the small and of the large model: {accuracies}.",
            "Means over the datasets; APGR and CPT only over those where the large model is significantly better "
            f"({', '.join(with_gap) or 'none'}). -: undefined on a dataset (the recovery is never reached).",
        ),
    )


def numbers(run: Run, split: RoutedSplit, methods: list[str]) -> dict[str, dict[str, float]]:
    """Every metric of every method on one dataset; NaN if undefined."""
    prices, summary = priced(split, methods), run.summary["methods"]
    return {
        name: {metric: math.nan if value is None else value for metric, value in (summary[name] | prices[name]).items()}
        for name in methods
    }


def large_model(runs: dict[str, Run]) -> str:
    """The name of the large model."""
    return next(iter(runs.values())).summary["large"]["model"]


STUDY = Study("figure2", "Figure 2: system accuracy against the share of queries routed", main_runs, outcome)
