"""What studies say in words: nothing is called better that a corrected, paired test does not leave."""

from __future__ import annotations

import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from experiments.studies import figure3
from experiments.studies.comparisons import compare_means
from experiments.studies.routed import above_chance, gains, gap, has_gap
from experiments.studies.rows import marks
from experiments.tested import RoutedSplit
from relope_jax.metrics.intervals import Z_95
from relope_jax.metrics.holm import holm


def summary_of(auc: dict[str, float], error: float) -> SimpleNamespace:
    """A run whose paired differences all have this standard error."""
    pairs = list(itertools.combinations(auc, 2))
    p = holm(np.array([math.erfc(abs(auc[a] - auc[b]) / error / math.sqrt(2)) for a, b in pairs]))
    differences = [
        {"first": a, "second": b, "difference": auc[a] - auc[b], "low": auc[a] - auc[b] - Z_95 * error,
         "high": auc[a] - auc[b] + Z_95 * error, "p_holm": p_holm}
        for (a, b), p_holm in zip(pairs, p, strict=True)
    ]  # fmt: skip
    return SimpleNamespace(summary={"methods": {m: {"auc": v} for m, v in auc.items()}, "differences": differences})


def test_the_mark_of_no_difference_needs_a_test():
    run = summary_of({"relope": 0.8, "probe": 0.79}, error=0.02)
    run.summary["methods"]["random"] = {"auc": 0.5}  # nobody tests it
    assert marks(run, ["relope", "probe", "random"]) == {"relope": "b", "probe": "=", "random": ""}


def test_better_on_the_mean_is_corrected_for_all_pairs():
    """p = 0.02 against the probe: of 3 tests, those with the best method, it would be the last and stay 0.02; of all 6
    three are weaker, which makes it 0.08."""
    auc = {"relope": 0.8, "probe": 0.8 - 2.33 * 0.01, "attention_probe": 0.76, "chow_sum": 0.765}
    said = compare_means([summary_of(auc, error=0.01)], list(auc), "suite")
    assert said[0] == "suite: the highest mean AUC has ReLope (0.800)."
    assert re.fullmatch(r"It is better than Chow-Sum .*, Attention Probe \(\+0\.040 .*\)\.", said[1])
    assert re.fullmatch(r"Not significantly different from it: Probe \(\+0\.023 \[.*\], p = 0\.079\)\.", said[2])
    assert "ReLope is better than Attention Probe (+0.040" in said[3]
    assert said[3].endswith("): found here.")
    assert said[4].endswith("p = 0.079): not found here.")
    assert said[5].endswith("Holm-corrected for 6 pairs.")


def test_the_opposite_of_the_papers_claim_is_said():
    said = compare_means([summary_of({"relope": 0.7, "probe": 0.8}, error=0.01)], ["relope", "probe"], "suite")
    assert "ReLope is better than Probe (-0.100" in said[2]
    assert said[2].endswith("the opposite is found here.")


def routed(n: int, small: float, large: float, seed: int = 0) -> RoutedSplit:
    """Questions on images of their own; "probe" knows the small model's labels with some noise, "relope" nothing."""
    rng = np.random.default_rng(seed)
    labels, other = (rng.uniform(size=n) < small).astype(int), (rng.uniform(size=n) < large).astype(int)
    scores = {"probe": (labels + rng.normal(0, 0.3, n))[None], "relope": rng.normal(size=(2, n))}
    return RoutedSplit(scores, labels, other, groups=np.arange(n))


def test_the_gap_is_that_of_the_paired_t_test():
    """Tolerance: the test divides by n - 1 and has t's quantile, both 1/n off the normal one's."""
    split = routed(2000, 0.6, 0.7)
    low, high = stats.ttest_rel(split.large, split.labels).confidence_interval()
    assert gap(split).value == pytest.approx(split.large.mean() - split.labels.mean())
    assert (gap(split).low, gap(split).high) == pytest.approx((low, high), abs=1e-4)


def test_asking_every_question_twice_about_its_image_tells_nothing_new():
    split = routed(200, 0.6, 0.7)
    twice = RoutedSplit({}, np.repeat(split.labels, 2), np.repeat(split.large, 2), groups=np.repeat(split.groups, 2))
    assert tuple(gap(twice))[:3] == pytest.approx(tuple(gap(split))[:3])


def test_a_router_that_knows_the_small_model_is_above_chance_and_a_random_one_is_not():
    split = routed(300, 0.6, 0.9)
    found = above_chance(split, ["probe", "relope"])
    curve = split.deferral("probe")[0]
    area = (curve[1:] + curve[:-1]).mean() / 2
    assert found["probe"].value == pytest.approx(area - (split.labels.mean() + split.large.mean()) / 2)
    assert found["probe"].p == pytest.approx(2 / 10_001)
    assert found["relope"].p > 0.05


def test_what_routing_buys_is_said_of_every_dataset():
    said = gains({"far": routed(300, 0.5, 0.9), "near": routed(60, 0.7, 0.72, seed=3)}, ["probe", "relope"])
    assert re.search(r"far: .*\)\. Higher AUDC than routing at random: Probe \(\+0\.\d+\)\.$", said[0])
    assert "no gap that routing" not in said[0]
    assert "no gap that routing" in said[1]
    assert not has_gap(routed(60, 0.7, 0.72, seed=3))
    assert said[2].endswith("Holm-corrected for 4 tests.")


def test_a_setting_moves_the_auc_more_or_no_more_than_seeds_do():
    rows = [
        {"method": method, "relope.beta": beta, "auc": auc}
        for method, points in {"relope": [("0.1", ("0.70", "0.72")), ("1.0", ("0.80", "0.81"))],
                               "probe": [("0.1", ("0.70", "0.75")), ("1.0", ("0.72", "0.75"))]}.items()
        for beta, seeds in points for auc in seeds
    ]  # fmt: skip
    said = figure3.effects(rows, "beta")
    assert (
        said[0]
        == "ReLope by beta: AUC 0.710 (at 0.1) to 0.805 (at 1), more than seeds of one value differ (up to 0.020)."
    )
    assert said[1].startswith("Probe by beta: AUC 0.725 (at 0.1) to 0.735 (at 1), no more than seeds")
