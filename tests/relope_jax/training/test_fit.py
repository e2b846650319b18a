"""Training: it learns, seeds are independent, it compiles once, it stops, and it survives the disk."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import delong
from relope_jax.models.batch import padded_length, to_device
from relope_jax.models.spec import AttentionProbeSpec, LoRASpec, ProbeSpec, ReLopeSpec
from relope_jax.training import fit as fit_module
from relope_jax.training.checkpoints import load_ensemble, load_member, save_router
from relope_jax.training.fit import epoch_order, fit
from relope_jax.training.scoring import ensemble_scores
from relope_jax.training.spec import TrainSpec

WIDTHS = (16, 16, 8, 8)
RATE = 3e-3
SPECS = {
    "probe": ProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "attention_probe": AttentionProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "relope": ReLopeSpec(widths=WIDTHS, learning_rate=RATE, beta=0.1, lora=LoRASpec(rank=4, alpha=8.0)),
}
TRAIN = TrainSpec(batch_size=32, epochs=12, patience=12)


def train(name, data, seeds=(0, 1), spec=TRAIN, records=None, learning_rate=RATE):
    log = records.append if records is not None else (lambda record: None)
    method_spec = dataclasses.replace(SPECS[name], learning_rate=learning_rate)
    return fit(METHODS[name], method_spec, spec, data, to_device(data.states), seeds, log)


def scores_of(fitted, data, rows):
    n = padded_length(data.states)
    return ensemble_scores(fitted.graphdef, fitted.params, fitted.rest, to_device(data.states), rows, n)


@pytest.mark.parametrize("name", SPECS)
def test_every_method_learns_a_signal(name, router_data):
    fitted = train(name, router_data)
    test = router_data.rows["test"]
    auc = delong(scores_of(fitted, router_data, test), router_data.labels[test]).auc
    assert auc.min() > 0.85, auc


def test_ensemble_equals_independent_runs(router_data):
    """A seed's scores do not depend on its company; float32 summation order allows 1e-4."""
    rows = router_data.rows["test"]
    for name in SPECS:
        together = scores_of(train(name, router_data, seeds=(5, 7)), router_data, rows)
        alone = scores_of(train(name, router_data, seeds=(7,)), router_data, rows)
        np.testing.assert_allclose(together[1], alone[0], atol=1e-4, err_msg=name)
        assert np.abs(together[0] - together[1]).max() > 1e-3, name


def test_key_cache_changes_no_score(router_data):
    """Cached keys are the same numbers computed once; float32 summation order allows 1e-4."""
    rows = router_data.rows["test"]
    without = train("relope", router_data, spec=dataclasses.replace(TRAIN, key_cache=False))
    np.testing.assert_allclose(
        scores_of(train("relope", router_data), router_data, rows), scores_of(without, router_data, rows), atol=1e-4
    )


def test_epochs_compile_once(router_data):
    fit_module.run_epoch.clear_cache()
    train("relope", router_data, spec=dataclasses.replace(TRAIN, epochs=4))
    assert fit_module.run_epoch._cache_size() == 1


def test_early_stopping_keeps_the_best_epoch(router_data):
    """Each seed reports no epoch after its patience ran out, and its best is the maximum it reported."""
    records = []
    spec = dataclasses.replace(TRAIN, epochs=40, patience=2)
    fitted = train("probe", router_data, seeds=(0, 1, 2), spec=spec, records=records)
    for i, seed in enumerate((0, 1, 2)):
        mine = [r for r in records if r["seed"] == seed]
        aucs = [r["validation_auc"] for r in mine]
        assert fitted.best_auc[i] == max(aucs)
        assert fitted.best_epoch[i] == 1 + int(np.argmax(aucs))
        assert mine[-1]["epoch"] <= fitted.best_epoch[i] + 2
    validation = router_data.rows["validation"]
    again = delong(scores_of(fitted, router_data, validation), router_data.labels[validation]).auc
    np.testing.assert_allclose(again, fitted.best_auc, atol=1e-12)


def test_relope_reports_its_posterior(router_data):
    records = []
    train("relope", router_data, spec=dataclasses.replace(TRAIN, epochs=2), records=records)
    assert records[0].keys() >= {
        "kl_per_dimension", "active_dimensions", "beta", "gradient_norm", "learning_rate", "samples_per_second",
    }  # fmt: skip
    assert 0 < records[0]["kl_per_dimension"] < 100


def test_every_training_sample_counts_once_an_epoch():
    rows = np.arange(100, 207)
    order, weights = epoch_order(rows, TRAIN, epoch=3)
    assert order.shape == (4, 32)
    assert sorted(order[weights == 1.0]) == rows.tolist()
    other, _ = epoch_order(rows, TRAIN, epoch=4)
    assert not np.array_equal(order, other)


def test_non_finite_loss_aborts_with_step_seed_and_samples(router_data):
    with pytest.raises(ReLopeError, match=r"not finite at step \d+, seed [01] \(samples s\d+"):
        train("probe", router_data, learning_rate=1e30)


def test_non_finite_parameters_after_the_last_step_abort_too(router_data):
    """One step an epoch: the loss before it is finite, the parameters after it are not."""
    with pytest.raises(ReLopeError, match="parameters are not finite after step 1"):
        train("probe", router_data, spec=dataclasses.replace(TRAIN, batch_size=200), learning_rate=1e30)


def test_checkpoint_round_trip(router_data, tmp_path):
    """What is restored scores bit for bit as what was trained, all seeds together and one alone."""
    rows = router_data.rows["test"]
    for name in SPECS:
        fitted = train(name, router_data, seeds=(3, 4), spec=dataclasses.replace(TRAIN, epochs=2))
        save_router(tmp_path / name, METHODS[name], SPECS[name], (3, 4), fitted)
        method, seeds, restored = load_ensemble(tmp_path / name, router_data.block)
        assert (method.name, seeds) == (name, (3, 4))
        expected = scores_of(fitted, router_data, rows)
        np.testing.assert_array_equal(scores_of(restored, router_data, rows), expected)
        member = load_member(tmp_path / name, router_data.block, seed=4)
        stacked = dataclasses.replace(restored, params=jax.tree.map(lambda x: x[None], member.params))
        np.testing.assert_allclose(scores_of(stacked, router_data, rows)[0], expected[1], atol=1e-6)


def test_missing_checkpoint_or_seed_lists_what_there_is(router_data, tmp_path):
    fitted = train("probe", router_data, seeds=(3,), spec=dataclasses.replace(TRAIN, epochs=1))
    save_router(tmp_path / "checkpoints" / "probe", METHODS["probe"], SPECS["probe"], (3,), fitted)
    with pytest.raises(ReLopeError, match="has: probe"):
        load_member(tmp_path / "checkpoints" / "relope", router_data.block, 3)
    with pytest.raises(ReLopeError, match="no seed 0; it has: 3"):
        load_member(tmp_path / "checkpoints" / "probe", router_data.block, 0)


def test_collapsed_posterior_is_said(router_data, caplog):
    """A KL summed over dimensions with a huge beta drives the posterior onto the prior."""
    from absl import logging

    spec = dataclasses.replace(
        SPECS["relope"], learning_rate=0.03, beta=1e4, beta_schedule="constant", kl_reduction="sum"
    )
    logging.use_absl_handler()
    with caplog.at_level("WARNING", logger="absl"):
        fit(
            METHODS["relope"], spec, TRAIN, router_data,
            to_device(router_data.states), (0,), lambda record: None,
        )  # fmt: skip
    assert "posterior has collapsed" in caplog.text
