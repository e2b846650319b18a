"""Figures of the report, each as one SVG string."""

from __future__ import annotations

import io
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from relope_jax.metrics.deferral import risk_coverage

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "relope",  # the same run gives the same file
}
COLOURS = {
    "relope": "#c0392b",
    "attention_probe": "#2471a3",
    "probe": "#7d8a2e",
    "question_only": "#8e7cc3",
    "random": "#999999",
    "oracle": "#444444",
}
Curves = dict[str, np.ndarray]  # method -> scores [seeds, n]


def colour(method: str) -> str:
    """One colour a method, the same in every figure."""
    return COLOURS.get(method, "#16a085")


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)


def routing_curves(scores: Curves, labels: np.ndarray, titles: dict[str, str]) -> str:
    """ROC and risk-coverage curves, mean over seeds with the range of the seeds shaded."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
        for method, members in scores.items():
            grid = np.linspace(0, 1, 201)
            roc = np.stack([_roc(member, labels, grid) for member in members])
            _band(left, grid, roc, method, titles[method])
            risk = np.asarray(risk_coverage(members, labels))
            coverage = 1 - np.arange(len(labels)) / len(labels)
            shown = coverage >= 0.05  # the last few samples are noise
            _band(right, coverage[shown], risk[:, shown], method, titles[method])
        left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (answer right or wrong)")
        right.set(xlabel="coverage: share the small model keeps", ylabel="error rate of the kept answers")
        right.set(title="Risk-coverage", ylim=(0, None))
        left.legend(loc="lower right")
        return to_svg(figure)


def _roc(scores: np.ndarray, labels: np.ndarray, grid: np.ndarray) -> np.ndarray:
    false_positive, true_positive, _ = roc_curve(labels, scores)
    return np.interp(grid, false_positive, true_positive)  # an ROC curve is monotone


def _band(axes: plt.Axes, x: np.ndarray, y: np.ndarray, method: str, title: str) -> None:
    dashed = "--" if method in {"random", "oracle", "question_only"} else "-"
    axes.plot(x, y.mean(axis=0), dashed, color=colour(method), label=title, linewidth=1.6)
    if len(y) > 1:
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour(method), alpha=0.15, linewidth=0)


def training_curves(metrics: list[dict], titles: dict[str, str]) -> str:
    """Training loss, validation AUC, and KL per dimension by epoch; one line a seed."""
    panels = [
        ("loss", "training loss"),
        ("validation_auc", "validation AUC"),
        ("kl_per_dimension", "KL per dimension (nats)"),
    ]
    panels = [(field, title) for field, title in panels if any(field in record for record in metrics)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.0), squeeze=False)
        for panel, (field, title) in zip(axes[0], panels, strict=True):
            for method in dict.fromkeys(record["method"] for record in metrics):
                mine = [r for r in metrics if r["method"] == method and field in r]
                for i, seed in enumerate(sorted({r["seed"] for r in mine})):
                    line = [(r["epoch"], r[field]) for r in mine if r["seed"] == seed]
                    label = titles[method] if i == 0 else None
                    panel.plot(*zip(*line, strict=True), color=colour(method), alpha=0.8, linewidth=1.1, label=label)
            panel.set(xlabel="epoch", title=title)
        axes[0][0].legend()
        figure.tight_layout()
        return to_svg(figure)


def attention_overlay(image: Image.Image, grid: np.ndarray) -> str:
    """The image, and the image with the attention on its tokens `grid` [height, width] laid over it."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(4.2, 2.1))
        width, height = image.size
        for axes in (left, right):
            axes.imshow(image, extent=(0, width, height, 0))
            axes.set_axis_off()
        shown = right.imshow(
            grid, extent=(0, width, height, 0), cmap="inferno", alpha=0.6, vmin=0, interpolation="nearest"
        )
        bar = figure.colorbar(shown, ax=right, fraction=0.046, pad=0.04)
        bar.ax.tick_params(labelsize=6)
        return to_svg(figure)
