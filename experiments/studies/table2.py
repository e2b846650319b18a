"""Table 2: AUC of every method on every dataset, for one or several small models."""

from __future__ import annotations

from experiments.report.entries import Table
from experiments.studies import paper
from experiments.studies.comparisons import compare_means
from experiments.studies.jobs import main_run, main_runs
from experiments.studies.plan import StudyBackbone, StudyPlan
from experiments.studies.rows import auc_entry, base_rates, marks, mean_auc
from experiments.studies.study import Done, Outcome, Study
from relope_jax.methods import METHODS
from relope_jax.run import Run

SANITY = ("question_only", "random")


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One table per backbone, and the results of its paired tests."""
    tables, findings = [], []
    for backbone in plan.backbones:
        runs = {title: done.runs[main_run(plan, backbone, chosen).name] for title, chosen in plan.datasets.items()}
        tables.append(table(plan, backbone, runs))
        findings += compare_means(list(runs.values()), list(plan.methods), backbone.title)
    return Outcome(tuple(tables), findings=tuple(findings))


def table(plan: StudyPlan, backbone: StudyBackbone, runs: dict[str, Run]) -> Table:
    """Methods by datasets, and the mean over the datasets."""
    methods = [*dict.fromkeys((*plan.methods, *SANITY))]
    marked = {dataset: marks(run, methods) for dataset, run in runs.items()}
    rows = []
    for method in methods:
        entries = [auc_entry(run, method, mark=marked[dataset][method]) for dataset, run in runs.items()]
        mean = mean_auc(list(runs.values()), method).entry(paper.share(paper.TABLE2_AVERAGE.get(method)))
        rows.append((METHODS[method].title, (*entries, mean)))
    return Table(
        name=f"{backbone.prefix}table2",
        title=f"AUC of every method: {backbone.title}",
        columns=(*runs, "mean"),
        rows=tuple(rows),
        notes=(
            "=: not significantly different from the best (paired DeLong test, Holm over all pairs, 5%).",
            base_rates(list(runs.values()), list(runs)),
            f"Paper: {paper.MODEL}.",
        ),
    )


STUDY = Study("table2", "Table 2: every method on every dataset", main_runs, outcome)
