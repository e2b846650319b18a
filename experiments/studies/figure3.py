"""Figure 3: AUC by LoRA rank, layer and beta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.report.drawing import make_figure, styled
from experiments.report.entries import Entry, Table
from experiments.report.palette import line_style
from experiments.report.tables import read_csv
from experiments.studies.jobs import NO_LARGE, run_job
from experiments.studies.plan import StudyBackbone, StudyPlan
from experiments.studies.study import Done, Job, Outcome, Study
from experiments.sweeps.results import TABLE
from relope_jax.errors import printable
from relope_jax.io import limits
from relope_jax.io.files import read_bytes
from relope_jax.methods import METHODS

DEPTHS = (0.4, 0.6, 0.8, 1.0)
AXES = {"rank": "relope.lora.rank", "layer": "extract.layer", "beta": "relope.beta"}
Row = dict[str, Any]
LABELS = {"rank": "LoRA rank r", "layer": "layer l", "beta": "beta"}


def jobs(plan: StudyPlan) -> list[Job]:
    """One sweep per axis on one dataset; the layer sweep has its own store."""
    return [_job(plan, backbone, axis) for backbone in plan.backbones for axis in axes(plan)]


def axes(plan: StudyPlan) -> list[str]:
    """The axes to sweep; rank and beta only if ReLope is among the probes."""
    return [axis for axis in AXES if axis == "layer" or "relope" in plan.probes]


def _job(plan: StudyPlan, backbone: StudyBackbone, axis: str) -> Job:
    values = {"rank": plan.ranks, "layer": layers(plan, backbone), "beta": plan.betas}[axis]
    fields = {"methods": ("relope",), "relope.lora.alpha": 0.0}  # 2r, so that the scale does not change with the rank
    if axis == "layer":
        fields = {"methods": plan.probes, "extract.layers": values}  # one store with all layers
    fields |= NO_LARGE
    dataset = plan.chosen_dataset("ablation_dataset")
    job = run_job(plan, backbone, f"{axis}-{dataset.title}", dataset, fields)
    return Job(job.config, (f"{AXES[axis]}={','.join(map(str, values))}",))


def layers(plan: StudyPlan, backbone: StudyBackbone) -> tuple[int, ...]:
    """The layers to compare: the study's, or four spread over the model's depth."""
    if plan.layers:
        return plan.layers
    from extract.backbone.load import decoder_depth  # imports torch only if needed

    depth = decoder_depth(backbone.model)
    return tuple(round(share * depth) for share in DEPTHS)


def outcome(plan: StudyPlan, done: Done) -> Outcome:
    """One figure of three panels and one table per axis, for every backbone."""
    tables, figures, findings = [], [], []
    for backbone in plan.backbones:
        rows = {axis: read(done.sweeps[_job(plan, backbone, axis).name], axis) for axis in axes(plan)}
        figures.append((f"{backbone.prefix}figure3", draw(rows, backbone.title)))
        tables += [table(plan, backbone, axis, found) for axis, found in rows.items()]
        findings += [backbone.says(text) for axis, found in rows.items() for text in effects(found, axis)]
    return Outcome(tuple(tables), tuple(figures), tuple(findings))


def read(folder: Path, axis: str) -> list[Row]:
    """Read results.csv of a sweep over the axis: methods, AUCs and values of the axis."""
    path = folder / TABLE
    text = read_bytes(path, limits.TABLE).decode(errors="replace")
    return read_csv(text, path, ("auc", "auc_low", "auc_high", AXES[axis]), ("method",))


def by_value(rows: list[Row], axis: str) -> dict[str, dict[float, list[Row]]]:
    """The rows of all seeds, by method and value of the axis."""
    found: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row[AXES[axis]], []).append(row)
    return found


@styled
def draw(rows: dict[str, list[Row]], model: str) -> Figure:
    """Test AUC against each setting: mean over seeds, with the seed range shaded."""
    figure, panels = make_figure(3.5 * len(rows), 3.2, ncols=len(rows), sharey=True, squeeze=False)
    for panel, (axis, found) in zip(panels[0], rows.items(), strict=True):
        for method, values in by_value(found, axis).items():
            x, style = sorted(values), line_style(method)
            auc = [np.array([row["auc"] for row in values[value]]) for value in x]
            at = np.arange(len(x))
            panel.plot(at, [a.mean() for a in auc], marker="o", label=METHODS[method].title, **style)
            low, high = [a.min() for a in auc], [a.max() for a in auc]
            panel.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
            panel.set_xticks(at, [f"{value:g}" for value in x])
        panel.set(xlabel=LABELS[axis])
    panels[0, 0].set(ylabel="test AUC")
    panels[0, list(rows).index("layer")].legend()
    figure.suptitle(printable(model))
    return figure


def table(plan: StudyPlan, backbone: StudyBackbone, axis: str, rows: list[Row]) -> Table:
    """Test AUC, mean over seeds. The interval is for sampling of test prompts, with the mean width over seeds."""
    found = by_value(rows, axis)
    values = sorted({value for by in found.values() for value in by})
    body = [(METHODS[name].title, tuple(_entry(by.get(value, [])) for value in values)) for name, by in found.items()]
    return Table(
        name=f"{backbone.prefix}figure3_{axis}",
        title=f"AUC by {LABELS[axis]} on {plan.chosen_dataset('ablation_dataset').title}: {backbone.title}",
        columns=tuple(f"{value:g}" for value in values),
        rows=tuple(body),
        notes=(f"All other settings as in Table 2; {len(plan.seeds)} seeds.",),
    )


def effects(rows: list[Row], axis: str) -> list[str]:
    """One sentence per method: the range of its mean AUC along the axis, compared with the spread of seeds."""
    sentences = []
    for method, values in by_value(rows, axis).items():
        auc = {value: [row["auc"] for row in seeds] for value, seeds in values.items()}
        mean = {value: float(np.mean(of)) for value, of in auc.items()}
        worst, best = min(mean, key=mean.__getitem__), max(mean, key=mean.__getitem__)
        noise = max(max(of) - min(of) for of in auc.values())
        verdict = "more" if mean[best] - mean[worst] > noise else "not more"
        sentences.append(
            f"{METHODS[method].title} by {LABELS[axis]}: AUC {mean[worst]:.3f} (at {worst:g}) to {mean[best]:.3f} (at "
            f"{best:g}), {verdict} than the spread of seeds at one value (up to {noise:.3f})."
        )
    return sentences


def _entry(rows: list[Row]) -> Entry:
    if not rows:
        return Entry(None)
    value, low, high = (float(np.mean([row[name] for row in rows])) for name in ("auc", "auc_low", "auc_high"))
    return Entry(value, low, high)


STUDY = Study("figure3", "Figure 3: rank, layer and beta", jobs, outcome)
