"""The AUC benchmark with sizes that take seconds."""

from __future__ import annotations

import pytest

from experiments import bench
from experiments.benchmarks import auc, measure
from relope_jax.errors import ReLopeError


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(measure, "SIZE", 64)
    monkeypatch.setattr(measure, "BLOCK", 2**16)
    monkeypatch.setattr(measure, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(auc, "SHAPES", ((3, 40), (1, 60)))
    monkeypatch.setattr(auc, "BOOTSTRAP", (2, 30))
    monkeypatch.setattr(auc, "RESAMPLES", 12)
    monkeypatch.setattr(auc, "LOOP", 5)
    monkeypatch.setattr(auc, "ROUNDS", 1)


def test_auc_benchmark(small):
    compared = [record for record in bench.BENCHMARKS["auc"]() if record.baseline is not None]
    assert [record.name for record in compared] == [
        "auc/3x40/auc_with_intervals_vs_sklearn_auc",
        "auc/1x60/auc_with_intervals_vs_sklearn_auc",
        "auc/2x30/bootstrap_12_vs_sklearn_extrapolated_from_5",
    ]
    for record in compared:
        assert record.value > 0
        assert record.ratio == pytest.approx(record.baseline / record.value)


@pytest.mark.parametrize("run", [auc.run_auc, auc.run_bootstrap])
def test_different_aucs_are_not_timed(small, monkeypatch, run):
    true = auc.loop
    monkeypatch.setattr(auc, "loop", lambda scores, labels: true(scores, labels) + 1e-6)
    with pytest.raises(ReLopeError, match=r"AUCs differ from scikit-learn's by 1\.0e-06: nothing is timed"):
        list(run(2, 30))
