"""All routing metrics of all methods and seeds at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from relope_jax.errors import ReLopeError
from relope_jax.metrics.auc import AUC, delong
from relope_jax.metrics.calibration import accuracy, brier_score, expected_calibration_error
from relope_jax.metrics.intervals import count_units
from relope_jax.metrics.routing.deferral import caught_at, sums_of_lowest
from relope_jax.metrics.routing.pgr import apgr, audc, cpt, deferral_curve, prr

DEFERRAL_SHARES = (0.1, 0.2, 0.3)


class Evaluation(NamedTuple):
    """Metrics of M score vectors; `values[name]` is `[m]`."""

    auc: AUC
    values: dict[str, Float[np.ndarray, "m"]]


def evaluate(
    scores: Real[np.ndarray, "m n"],
    labels: Int[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"] | None = None,
    large: Int[np.ndarray, "n"] | None = None,
) -> Evaluation:
    """AUC with 95% interval, accuracy at 0.5, ECE, Brier score, PRR and the wrong answers caught at 10/20/30%
    deferral; with the large model's labels also APGR, CPT(50%), CPT(80%) and AUDC. Undefined metrics are NaN.

    Args:
      scores: P(Y = 1) of M routers (every method and seed) on the same N samples.
      labels: Y.
      groups: the group (image) of every sample. Samples of one group are not independent; intervals then use groups.
      large: whether the large model is right.

    Raises:
      ReLopeError: all labels are equal (AUC is undefined), or all of one class are in one group (no interval).
    """
    require_both_labels(labels, "the evaluated split", groups)
    auc = delong(scores, labels, groups)
    low, high = auc.interval()
    wrong = sums_of_lowest(scores, 1 - labels)
    values = {
        "auc": auc.auc,
        "auc_low": low,
        "auc_high": high,
        "accuracy": accuracy(scores, labels),
        "ece": expected_calibration_error(scores, labels),
        "brier": brier_score(scores, labels),
        **{f"caught_{round(100 * share)}": caught_at(wrong, share) for share in DEFERRAL_SHARES},
        "prr": prr(scores, labels),
    }
    return Evaluation(auc, values | (routing_values(scores, labels, large) if large is not None else {}))


def routing_values(
    scores: Real[np.ndarray, "m n"], small: Int[np.ndarray, "n"], large: Int[np.ndarray, "n"]
) -> dict[str, Float[np.ndarray, "m"]]:
    """The metrics that need the answers of both models."""
    curve = deferral_curve(scores, small, large)
    return {"apgr": apgr(curve), "cpt_50": cpt(curve, 0.5), "cpt_80": cpt(curve, 0.8), "audc": audc(curve)}


def require_both_labels(
    labels: Int[np.ndarray, "n"], where: str, groups: Shaped[np.ndarray, "n"] | None = None
) -> None:
    """Raise ReLopeError if `labels` is empty or has only one class, or if one class is in a single sample or group, so
    that no interval exists."""
    if len(labels) == 0:
        raise ReLopeError(f"{where} is empty: extract more questions or change the split shares")
    units = count_units(labels, groups)
    if units.rarer == 0:
        kind = "right" if units.positive else "wrong"
        raise ReLopeError(
            f"all {len(labels)} labels of {where} are equal (every answer is {kind}): "
            "a router needs both; extract more questions or harder ones"
        )
    if units.rarer > 1:
        return
    if min(np.sum(labels == 1), np.sum(labels != 1)) == 1:
        raise ReLopeError(f"{where} has only one right or one wrong answer: no interval exists; extract more questions")
    kind = "right" if units.positive == 1 else "wrong"
    raise ReLopeError(
        f"all {kind} answers of {where} are in one group (about one image): no interval exists; extract questions "
        "about more images"
    )
