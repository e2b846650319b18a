"""Figures of the report; `experiments.report.drawing` exports them as SVG and PDF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from experiments.report.drawing import INK, make_figure, styled
from experiments.report.palette import GREY, colour, line_style, markers
from experiments.runs.tested import RoutedSplit
from relope_jax.methods import METHODS
from relope_jax.metrics.calibration import reliability
from relope_jax.metrics.routing.cost import model_costs
from relope_jax.metrics.routing.deferral import risk_coverage

GRID = np.linspace(0, 1, 201)
MOST_BANDS = 6  # with more methods, the bands of seed ranges hide each other
COLUMNS = 5  # of small panels and of legends
LARGEST_IMAGE = 480  # maximum side in pixels in the report


@styled
def routing_curves(split: RoutedSplit, methods: Sequence[str]) -> Figure:
    """ROC and risk-coverage curves, mean over seeds with the seed range shaded."""
    figure, (left, right) = make_figure(10, 4.6 + _legend_height(methods), ncols=2)
    coverage = 1 - np.arange(len(split.labels)) / len(split.labels)
    shown = coverage >= 0.05  # the last few samples are noise
    bands = len(methods) <= MOST_BANDS
    for method in methods:
        scores = split.scores[method]
        roc = np.stack([_roc(member, split.labels) for member in scores])
        _line(left, GRID, roc, method, bands)
        _line(right, coverage[shown], risk_coverage(scores, split.labels)[:, shown], method, bands)
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (right against wrong answers)")
    right.set(xlabel="coverage (share kept by the small model)", ylabel="error rate of kept answers")
    right.set(title="Risk-coverage", ylim=(0, None))
    _legend(figure, left)
    return figure


def _roc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    false_positive, true_positive, _ = roc_curve(labels, scores)
    return np.interp(GRID, false_positive, true_positive)  # an ROC curve is monotone


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, method: str, band: bool) -> None:
    """Plot the mean over seeds, with the seed range as a band."""
    axes.plot(x, y.mean(axis=0), label=METHODS[method].title, **line_style(method), **markers(method))
    if band and len(y) > 1:
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour(method), alpha=0.15, linewidth=0)


def _legend_height(methods: Sequence[str]) -> float:
    return 0.2 * -(-(len(methods) + 2) // COLUMNS)  # and the constants


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend below all panels."""
    handles, names = axes.get_legend_handles_labels()
    rows = -(-len(names) // COLUMNS)
    figure.legend(handles, names, loc="outside lower center", ncols=-(-len(names) // rows))


@styled
def deferral_curves(split: RoutedSplit, methods: Sequence[str]) -> Figure:
    """System accuracy against the share of queries sent to the large model."""
    figure, axes = make_figure(8.5, 5.0 + _legend_height(methods))
    share = np.arange(len(split.labels) + 1) / len(split.labels)
    for method in methods:
        _line(axes, share, split.deferral(method), method, len(methods) <= MOST_BANDS)
    _constants(axes, split, 0.0, 1.0)
    axes.set(xlabel="share of queries sent to the large model", ylabel="system accuracy")
    _legend(figure, axes)
    return figure


def _constants(axes: Axes, split: RoutedSplit, small: float, large: float) -> None:
    """Plot each model alone; `small` and `large` are their positions on the x axis."""
    for x, labels, name, marker in ((small, split.labels, "small", "o"), (large, split.known_large, "large", "s")):
        axes.plot(
            [x],
            [labels.mean()],
            label=f"Always {name} ({labels.mean():.3f})",
            color=INK,
            marker=marker,
            linestyle="",
            markersize=6,
            clip_on=False,
            zorder=5,
        )


@styled
def cost_curves(split: RoutedSplit, methods: Sequence[str]) -> Figure:
    """System accuracy against dollars per 1000 queries, including the cost of the router's inputs."""
    figure, axes = make_figure(8.5, 5.0 + _legend_height(methods))
    for method in methods:
        dollars = split.cost(method)
        if dollars is None:
            continue
        cost, accuracy = 1000 * dollars.mean(axis=0), split.deferral(method).mean(axis=0)
        axes.plot(cost, accuracy, label=METHODS[method].title, **line_style(method), **markers(method))
    if split.tokens is not None:
        small, large = (1000 * cost.mean() for cost in model_costs(split.costs, split.tokens))
        _constants(axes, split, small, large)
    axes.set(xlabel="dollars per 1000 queries", ylabel="system accuracy")
    _legend(figure, axes)
    return figure


@styled
def reliability_diagrams(split: RoutedSplit, methods: Sequence[str]) -> Figure:
    """Accuracy of the answers against the score, one panel per method, all seeds together."""
    columns = min(COLUMNS, max(len(methods), 3))
    rows = -(-len(methods) // columns)
    shape = {"nrows": rows, "ncols": columns, "sharex": True, "sharey": True, "squeeze": False}
    figure, panels = make_figure(2.0 * columns, 2.2 * rows + 0.3, **shape)
    for panel in panels.flat[len(methods) :]:
        panel.set_visible(False)
    for panel, method in zip(panels.flat, methods, strict=False):
        scores = split.scores[method]
        bins = reliability(np.clip(scores.ravel(), 0, 1), np.tile(split.labels, len(scores)))
        full = bins.samples > 0
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        panel.plot(bins.score[full], bins.accuracy[full], **line_style(method))
        area = 4 + 120 * bins.samples[full] / bins.samples.sum()
        panel.scatter(bins.score[full], bins.accuracy[full], s=area, color=colour(method), zorder=3)
        panel.set(xlim=(0, 1), ylim=(0, 1))
        panel.set_title(METHODS[method].title, fontsize=9)
    figure.supxlabel("score (predicted share of right answers)", fontsize=9)
    figure.supylabel("share of right answers", fontsize=9)
    return figure


@styled
def training_curves(metrics: list[dict]) -> Figure:
    """Training loss, validation AUC and KL per dimension by epoch; one line per seed."""
    panels = [
        ("loss", "training loss"),
        ("validation_auc", "validation AUC"),
        ("kl_per_dimension", "KL per dimension (nats)"),
    ]
    panels = [(field, title) for field, title in panels if any(field in record for record in metrics)]
    figure, axes = make_figure(3.4 * len(panels), 3.3, ncols=len(panels), squeeze=False)
    for panel, (field, title) in zip(axes[0], panels, strict=True):
        for method in dict.fromkeys(record["method"] for record in metrics):
            mine = [r for r in metrics if r["method"] == method and field in r]
            for i, seed in enumerate(sorted({r["seed"] for r in mine})):
                line = [(r["epoch"], r[field]) for r in mine if r["seed"] == seed]
                label, style = METHODS[method].title if i == 0 else None, line_style(method) | {"linewidth": 1.1}
                panel.plot(*zip(*line, strict=True), label=label, **style, **markers(method))
        panel.set(xlabel="epoch", title=title)
    _legend(figure, axes[0][0])
    return figure


@styled
def attention_overlay(image: Image.Image, grid: np.ndarray) -> Figure:
    """The image alone, and overlaid with the attention on its tokens, `grid` [height, width]."""
    width, height = image.size
    image = image.copy()
    image.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
    figure, (left, right) = make_figure(4.2, 2.1, ncols=2)
    place = (0, width, height, 0)
    left.imshow(image, extent=place)
    right.imshow(image.convert("L"), extent=place, cmap="gray", vmin=0, vmax=255)  # colour is reserved for the weights
    for axes in (left, right):
        axes.set_axis_off()
    shown = right.imshow(grid, extent=place, cmap="inferno", alpha=0.6, vmin=0, interpolation="nearest")
    bar = figure.colorbar(shown, ax=right, fraction=0.046, pad=0.04)
    bar.ax.tick_params(labelsize=6)
    return figure
