"""The texts of studies: a method is called better only if a corrected, paired test says so."""

from __future__ import annotations

import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from experiments.runs.tested import RoutedSplit
from experiments.studies import figure3
from experiments.studies.comparisons import compare_means
from experiments.studies.routed import above_chance, gains, gap, has_gap
from experiments.studies.rows import base_rates, corrected, marks, mean_auc
from relope_jax.metrics.auc import AUC
from relope_jax.metrics.intervals import Z_95, Units, auc_interval
from relope_jax.metrics.paired import adjusted, normal_difference
from relope_jax.metrics.summary import auc_difference

UNITS = Units(300, 200, 500, 500)


def summary_of(auc: dict[str, float], error: float) -> SimpleNamespace:
    """A run whose paired differences all have this standard error."""
    differences = [normal_difference(a, b, auc[a] - auc[b], error) for a, b in itertools.combinations(auc, 2)]
    return SimpleNamespace(
        summary={"methods": {m: {"auc": v} for m, v in auc.items()}, "differences": adjusted(differences)}
    )


def test_the_mark_of_no_difference_needs_a_test():
    run = summary_of({"relope": 0.8, "probe": 0.79}, error=0.02)
    run.summary["methods"]["random"] = {"auc": 0.5}  # not part of any test
    assert marks(run, ["relope", "probe", "random"]) == {"relope": "b", "probe": "=", "random": ""}


def test_better_on_the_mean_is_corrected_for_all_pairs():
    """p = 0.02 against the probe. Among the 3 tests with the best method it would be last and stay 0.02; among all 6,
    three are weaker, which makes it 0.08."""
    auc = {"relope": 0.8, "probe": 0.8 - 2.33 * 0.01, "attention_probe": 0.76, "chow_sum": 0.765}
    said = compare_means([summary_of(auc, error=0.01)], list(auc), "suite")
    assert said[0] == "suite: ReLope has the highest mean AUC (0.800)."
    assert re.fullmatch(r"It is better than Chow-Sum .*, Attention Probe \(\+0\.040 .*\)\.", said[1])
    assert re.fullmatch(r"Not significantly different from it: Probe \(\+0\.023 \[.*\], p = 0\.079\)\.", said[2])
    assert "ReLope is better than Attention Probe (+0.040" in said[3]
    assert said[3].endswith("): confirmed here.")
    assert said[4].endswith("p = 0.079): not confirmed here.")
    assert said[5].endswith("Holm-corrected for 6 pairs.")


def test_the_opposite_of_the_papers_claim_is_said():
    said = compare_means([summary_of({"relope": 0.7, "probe": 0.8}, error=0.01)], ["relope", "probe"], "suite")
    assert "ReLope is better than Probe (-0.100" in said[2]
    assert said[2].endswith(": contradicted here.")


@pytest.mark.parametrize(("value", "error"), [(0.1, 0.0), (-0.1, 0.0), (0.0, 0.0), (0.0, 0.1), (0.05, 0.02)])
def test_studies_and_summaries_have_the_same_p_value(value, error):
    """Including a difference without variance, which is certain, and a zero difference, which never is."""
    found = AUC(np.array([0.5 + value, 0.5]), np.diag([error**2, 0.0]), UNITS)
    assert corrected([value], [error])[0] == pytest.approx(auc_difference(found, ["a", "b"], "a", "b").p)


def measured(auc: float, error: float, units: Units = UNITS) -> SimpleNamespace:
    low, high = auc_interval(np.array(auc), np.array(error**2), units)
    row = {"auc": auc, "auc_low": float(low), "auc_high": float(high), "auc_error": error}
    found = [{"base_rate": units.positive / units.samples, "n_test": units.samples}]
    return SimpleNamespace(summary={"methods": {"probe": row}, "units": units._asdict()}, results=found)


def test_a_mean_over_datasets_has_the_error_of_independent_questions():
    """The widths of the intervals are not used, because their scale differs: one near 1 is narrow upwards."""
    runs = [measured(0.97, 0.02), measured(0.7, 0.04)]
    mean = mean_auc(runs, "probe")
    assert (mean.auc, mean.error) == pytest.approx((0.835, math.hypot(0.02, 0.04) / 2))
    entry = mean.entry(paper=0.8)
    assert entry.low < 0.835 < entry.high
    assert entry.high - entry.low == pytest.approx(2 * Z_95 * mean.error, rel=0.02)
    one = mean_auc(runs[:1], "probe").entry()
    row = runs[0].summary["methods"]["probe"]
    assert (one.value, one.low, one.high) == pytest.approx((row["auc"], row["auc_low"], row["auc_high"]))


def test_a_mean_is_as_careful_as_its_smallest_dataset():
    few = measured(0.7, 0.04, Units(300, 5, 305, 305))
    mean = mean_auc([measured(0.7, 0.04), few], "probe")
    assert mean.units.rarer == 5
    assert mean.entry().high > mean_auc([measured(0.7, 0.04)] * 2, "probe").entry().high


def test_tables_say_where_intervals_are_only_approximate():
    few = measured(0.7, 0.04, Units(300, 5, 305, 305))
    note = base_rates([measured(0.7, 0.04), few], ["plenty", "scarce"])
    assert note.startswith("Small model right: plenty 60% of 500, scarce 98% of 305 test questions.")
    assert "scarce: Only 5 test answers are wrong, fewer than 20" in note
    assert "plenty: " not in note


def routed(n: int, small: float, large: float, seed: int = 0) -> RoutedSplit:
    """Questions with separate images. The scores of "probe" are noisy labels, those of "relope" are pure noise."""
    rng = np.random.default_rng(seed)
    labels, other = (rng.uniform(size=n) < small).astype(int), (rng.uniform(size=n) < large).astype(int)
    scores = {"probe": (labels + rng.normal(0, 0.3, n))[None], "relope": rng.normal(size=(2, n))}
    return RoutedSplit(scores, labels, other, groups=np.arange(n))


def test_the_gap_is_that_of_the_paired_t_test():
    """Tolerance: the test divides by n - 1 and uses t's quantile; both differ by 1/n from the normal version."""
    split = routed(2000, 0.6, 0.7)
    low, high = stats.ttest_rel(split.large, split.labels).confidence_interval()
    assert gap(split).value == pytest.approx(split.large.mean() - split.labels.mean())
    assert (gap(split).low, gap(split).high) == pytest.approx((low, high), abs=1e-4)


def test_asking_every_question_twice_about_its_image_tells_nothing_new():
    split = routed(200, 0.6, 0.7)
    twice = RoutedSplit({}, np.repeat(split.labels, 2), np.repeat(split.large, 2), groups=np.repeat(split.groups, 2))
    assert tuple(gap(twice)) == pytest.approx(tuple(gap(split)))


def test_a_router_that_knows_the_small_model_is_above_chance_and_a_random_one_is_not():
    split = routed(300, 0.6, 0.9)
    probe, relope = above_chance(split, ["probe", "relope"])
    curve = split.deferral("probe")[0]
    area = (curve[1:] + curve[:-1]).mean() / 2
    assert probe.difference == pytest.approx(area - (split.labels.mean() + split.large.mean()) / 2)
    assert probe.p == pytest.approx(2 / 10_001)
    assert relope.p > 0.05


def test_what_routing_buys_is_said_of_every_dataset():
    said = gains({"far": routed(300, 0.5, 0.9), "near": routed(60, 0.7, 0.72, seed=3)}, ["probe", "relope"])
    assert re.search(r"far: .*\)\. Significantly higher AUDC than random routing: Probe \(\+0\.\d+\)\.$", said[0])
    assert "no significant gap" not in said[0]
    assert "no significant gap" in said[1]
    assert not has_gap(routed(60, 0.7, 0.72, seed=3))
    assert said[2].endswith("Holm-corrected for 4 tests.")


def test_a_setting_moves_the_auc_more_or_no_more_than_seeds_do():
    rows = [
        {"method": method, "relope.beta": float(beta), "auc": float(auc)}
        for method, points in {
            "relope": [("0.1", ("0.70", "0.72")), ("1.0", ("0.80", "0.81"))],
            "probe": [("0.1", ("0.70", "0.75")), ("1.0", ("0.72", "0.75"))],
        }.items()
        for beta, seeds in points
        for auc in seeds
    ]
    said = figure3.effects(rows, "beta")
    assert (
        said[0] == "ReLope by beta: AUC 0.710 (at 0.1) to 0.805 (at 1), more than the spread of seeds at one value "
        "(up to 0.020)."
    )
    assert said[1].startswith("Probe by beta: AUC 0.725 (at 0.1) to 0.735 (at 1), not more than the spread")
