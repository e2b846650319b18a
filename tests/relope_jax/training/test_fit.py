"""Training: it learns, members are independent, it compiles once, it stops, and it survives restarts."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from relope_jax.block.spec import LoRASpec
from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import delong
from relope_jax.models.probes import Parts
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.training.assembly import assemble, stack
from relope_jax.training.checkpoints import load_ensemble, load_member, save_router
from relope_jax.training.feeds import resident
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import NonFiniteLoss, fit, validation_auc
from relope_jax.training.members import Member, ensembles, hyper, scheduled_epochs
from relope_jax.training.scoring import log_odds, scores
from relope_jax.training.spec import TrainSpec
from relope_jax.training.step import TrainState, start, update
from tests.relope_jax.training.small import write_small_store

WIDTHS = (16, 16, 8, 8)
RATE = 3e-3
SPECS = {
    "probe": ProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "attention_probe": AttentionProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "relope": ReLopeSpec(widths=WIDTHS, learning_rate=RATE, beta=0.1, lora=LoRASpec(rank=4, alpha=8.0)),
}
TRAIN = TrainSpec(batch_size=32, epochs=12, patience=12)


def members_of(name, seeds=(0, 1), train=TRAIN, **changes):
    spec = dataclasses.replace(SPECS[name], **changes)
    return [Member(spec, train, seed) for seed in seeds]


def train(name, data, members=None, records=None, engine=None):
    log = records.append if records is not None else (lambda record: None)
    return fit(METHODS[name], members or members_of(name), data, open_feed(data, engine), log)


def scores_of(name, parts, data, rows):
    return scores(parts, open_feed(data).of(METHODS[name]), rows)


@pytest.mark.parametrize("name", SPECS)
def test_every_method_learns_a_signal(name, router_data):
    fitted = train(name, router_data)
    test = router_data.rows["test"]
    auc = delong(scores_of(name, fitted.parts, router_data, test), router_data.labels[test]).auc
    assert auc.min() > 0.8, auc


def different_members(name):
    """Members that differ in every setting that can be a batch axis."""
    plain, train = SPECS[name], TRAIN
    members = [
        Member(plain, train, 5),
        Member(dataclasses.replace(plain, learning_rate=1e-3, dropout=0.4), train, 5),
        Member(plain, dataclasses.replace(train, weight_decay=0.5, clip_norm=0.05), 6),
    ]
    if name != "relope":
        return members
    lora, constant = LoRASpec(rank=2, alpha=32.0, rslora=True), {"beta": 1.0, "beta_schedule": "constant"}
    return [
        *members,
        Member(dataclasses.replace(plain, lora=lora, **constant), train, 7),
        Member(dataclasses.replace(plain, beta_warmup=0.1, kl_reduction="sum"), train, 5),
    ]


@pytest.mark.parametrize("name", SPECS)
def test_ensemble_equals_independent_runs(name, router_data):
    """Scores do not depend on the other members. Float32 summation order over 48 steps allows 1e-3."""
    rows, members = router_data.rows["test"], different_members(name)
    together = scores_of(name, train(name, router_data, members).parts, router_data, rows)
    for i, member in enumerate(members):
        alone = scores_of(name, train(name, router_data, [member]).parts, router_data, rows)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-3, err_msg=f"{name} {i}")
        others = np.delete(together, i, axis=0)
        assert np.abs(others - together[i]).max(axis=1).min() > 5e-3, i


def test_smaller_ranks_stay_masked(router_data):
    """Rows of A and columns of B beyond a member's rank remain zero during training."""
    members = [
        *members_of("relope", (0,)),
        *members_of("relope", (0,), lora=LoRASpec(rank=2, alpha=4.0)),
    ]
    lora = train("relope", router_data, members).parts.params["lora"]
    for name in SPECS["relope"].lora.targets:
        a, b = (np.asarray(lora[side][name].get_value()) for side in ("a", "b"))
        assert np.all(a[1, 2:] == 0.0)
        assert np.all(b[1, :, 2:] == 0.0)
        assert np.abs(b[1, :, :2]).min() > 0.0
        assert np.abs(a[0, 2:]).min() > 0.0


def test_only_members_of_one_program_train_together():
    members = [
        *members_of("relope", (0, 1)),
        *members_of("relope", (0,), widths=(8, 8)),
        *members_of("relope", (2,), beta=3.0, lora=LoRASpec(rank=7)),
        *members_of("relope", (0,), lora=LoRASpec(targets=("q",))),
        *members_of("relope", (0,), train=dataclasses.replace(TRAIN, batch_size=8)),
        *members_of("relope", (0,), train=dataclasses.replace(TRAIN, weight_decay=0.3)),
    ]
    assert ensembles(members) == [[0, 1, 3, 6], [2], [4], [5]]


def test_update_is_optax_adamw():
    """Three steps with clipping and decay against optax's own chain. A stopped member does not change."""
    rng = np.random.default_rng(0)
    shapes = {"w": (2, 5, 3), "b": (2, 3)}
    params = nnx.State({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    members = [
        Member(ProbeSpec(learning_rate=0.03), TrainSpec(weight_decay=0.2, clip_norm=0.7), 0),
        Member(ProbeSpec(learning_rate=0.01), TrainSpec(weight_decay=0.0, clip_norm=100.0), 1),
    ]
    gradients = [jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params) for _ in range(3)]
    settings = rest = nnx.State({})
    state = start(Parts(None, params, settings, rest), jax.numpy.stack([jax.random.key(m.seed) for m in members]))
    assert isinstance(state, TrainState)
    stopped = state
    for gradient in gradients:
        norm = jax.vmap(optax.tree.norm)(gradient)
        state = update(state, gradient, norm, hyper(members), jax.numpy.array([True, True]))
        stopped = update(stopped, gradient, norm, hyper(members), jax.numpy.array([False, True]))
    for i, member in enumerate(members):
        optimizer = optax.chain(
            optax.clip_by_global_norm(member.train.clip_norm),
            optax.adamw(member.spec.learning_rate, weight_decay=member.train.weight_decay),
        )
        mine = jax.tree.map(lambda x, i=i: x[i], params)
        opt_state = optimizer.init(mine)
        with jax.numpy_dtype_promotion("standard"):
            for gradient in gradients:
                updates, opt_state = optimizer.update(jax.tree.map(lambda x, i=i: x[i], gradient), opt_state, mine)
                mine = optax.apply_updates(mine, updates)
        for name, value in mine.items():
            np.testing.assert_allclose(state.params[name][i], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(stopped.params["w"][0], params["w"][0])
    np.testing.assert_array_equal(stopped.params["w"][1], state.params["w"][1])


def test_key_cache_changes_no_score(router_data):
    """Cached keys are the same numbers, computed once. Float32 summation order allows 1e-4."""
    rows = router_data.rows["test"]
    cached, without = (
        scores_of("relope", train("relope", router_data, engine=EngineSpec(key_cache=on)).parts, router_data, rows)
        for on in (True, False)
    )
    np.testing.assert_allclose(cached, without, atol=1e-4)


def test_epochs_compile_once(router_data):
    """One trace of the epoch and one of scoring for all lengths; none after the first epoch."""
    for function in (resident.train_epoch, resident.score_batches):
        function.clear_cache()
    traces = []

    def log(record):
        traces.append((resident.train_epoch._cache_size(), resident.score_batches._cache_size()))

    fit(METHODS["relope"], members_of("relope"), router_data, open_feed(router_data), log)
    assert set(traces) == {(1, 1)}


def test_early_stopping_keeps_the_best_epoch(router_data):
    """Each member reports no epoch after its patience ran out, and its best is the maximum of those reported."""
    records = []
    spec = dataclasses.replace(TRAIN, epochs=40, patience=2)
    fitted = train("probe", router_data, members_of("probe", (0, 1, 2), spec), records)
    ends = []
    for i in range(3):
        mine = [r for r in records if r["member"] == i]
        aucs = [r["validation_auc"] for r in mine]
        assert fitted.best_auc[i] == max(aucs)
        assert fitted.best_epoch[i] == 1 + int(np.argmax(aucs))
        assert mine[-1]["epoch"] == min(fitted.best_epoch[i] + 2, 40)
        ends.append(mine[-1]["epoch"])
    assert len(set(ends)) > 1  # members stop at different epochs
    validation = router_data.rows["validation"]
    again = delong(scores_of("probe", fitted.parts, router_data, validation), router_data.labels[validation]).auc
    np.testing.assert_allclose(again, fitted.best_auc, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 40.0, -800.0])
@pytest.mark.parametrize("states", ["resident", "streamed"])
def test_validation_auc_does_not_tie_what_the_log_odds_tell_apart(shift, states, tmp_path):
    """Above log-odds of 36.7 every probability is 1, and below -745 it is 0. A router that is certain of everything may
    still rank its answers."""
    store = write_small_store(tmp_path / "store")
    data = load_router_data(store, EngineSpec(states=states))
    members, method = members_of("attention_probe", (0, 1)), METHODS["attention_probe"]
    feed = open_feed(data).of(method)
    parts = assemble(method, members, data.block, data.statistics)
    last = parts.params["mlp"]["layers"][len(WIDTHS)]
    last["bias"].set_value(last["bias"].get_value() + np.float32(shift))
    found = validation_auc(method, parts, feed, data, np.array([True, True]))
    rows = data.rows["validation"]
    logits = log_odds(parts, feed, rows)
    assert abs(logits.mean() - shift) < 5
    assert min(len(set(row)) for row in logits) > 0.9 * len(rows)  # float32 itself is coarser away from 0
    expected = [roc_auc_score(data.labels[rows], row) for row in logits]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    predicted = scores(parts, feed, rows)
    assert ((predicted >= 0) & (predicted <= 1)).all()
    np.testing.assert_allclose(predicted, expit(logits), rtol=1e-9, atol=1e-300)


def rising(beta_warmup, **changes):
    """ReLope with beta rising over a share of the epochs, next to one with constant beta and one without beta."""
    train_spec = dataclasses.replace(TRAIN, epochs=20, patience=2, **changes)
    return [
        *members_of("relope", (0, 1, 2), train_spec, beta=1.0, beta_warmup=beta_warmup, learning_rate=0.02),
        *members_of("relope", (0, 1), train_spec, beta=1.0, beta_schedule="constant", learning_rate=0.02),
        *members_of("relope", (0, 1), train_spec, beta=0.0, beta_warmup=beta_warmup, learning_rate=0.02),
    ]


@pytest.mark.parametrize(("warmup", "ends"), [(0.5, 10), (0.33, 7)])
def test_patience_counts_from_the_end_of_betas_schedule(router_data, warmup, ends):
    """While beta rises the objective changes, and a plateau then does not mean convergence."""
    records, members = [], rising(warmup)
    fitted = train("relope", router_data, members, records)
    assert scheduled_epochs(members).tolist() == [ends] * 3 + [0] * 4
    for i in range(len(members)):
        last = max(r["epoch"] for r in records if r["member"] == i)
        assert last == min(max(fitted.best_epoch[i], ends if i < 3 else 0) + 2, 20)
    assert (fitted.best_epoch[:3] + 2 < ends).any(), "one of them would have stopped in its warm-up"
    assert max(r["epoch"] for r in records if r["member"] > 2) < 20


def test_beta_of_the_kept_epoch_is_recorded(router_data, tmp_path, caplog):
    from absl import logging

    members = rising(0.5)
    logging.use_absl_handler()
    with caplog.at_level("WARNING", logger="absl"):
        fitted = train("relope", router_data, members)
    steps = -(-len(router_data.rows["train"]) // TRAIN.batch_size)
    share = (fitted.best_epoch * steps - 1) / (20 * steps)  # of the maximum training, before the epoch's last step
    expected = np.where(np.arange(7) < 3, np.minimum(share / 0.5, 1.0), np.where(np.arange(7) < 5, 1.0, 0.0))
    np.testing.assert_allclose(fitted.best_beta, expected, rtol=1e-6)
    early = [i for i in range(3) if fitted.best_epoch[i] < 10]
    assert early
    for i in early:
        assert f"seed {i}: {fitted.best_beta[i]:.2g} in epoch {fitted.best_epoch[i]}" in caplog.text
    assert caplog.text.count("before beta had reached its final value") == 1
    save_router(tmp_path / "relope", METHODS["relope"], members, fitted)
    _, _, restored = load_ensemble(tmp_path / "relope", router_data.block)
    for i, member in enumerate(members):
        assert restored.record(i, member) == fitted.record(i, member)
        assert fitted.record(i, member)["beta_at_best"] == fitted.best_beta[i]


def test_a_method_without_a_kl_term_has_no_beta(router_data):
    members = members_of("probe", (0,), dataclasses.replace(TRAIN, epochs=1))
    assert train("probe", router_data, members).record(0, members[0])["beta_at_best"] is None


def test_relope_reports_its_posterior(router_data):
    records = []
    train("relope", router_data, members_of("relope", train=dataclasses.replace(TRAIN, epochs=2)), records)
    assert records[0].keys() >= {
        "kl_per_dimension",
        "active_dimensions",
        "beta",
        "gradient_norm",
        "learning_rate",
        "samples_per_second",
        "padding",
        "input_wait",
    }
    assert 0 < records[0]["kl_per_dimension"] < 100


def test_non_finite_loss_aborts_with_step_member_and_samples(router_data):
    """The whole batch is reported. A healthy member does not hide the failing one."""
    members = [*members_of("probe", (3,)), *members_of("probe", (4,), learning_rate=1e30)]
    with pytest.raises(
        NonFiniteLoss, match=r"not finite at step \d+, member 1 \(seed 4\), on the 32 samples s\d+"
    ) as e:
        train("probe", router_data, members)
    assert len(set(e.value.sample_ids)) == 32
    assert set(e.value.sample_ids) <= {router_data.sample_ids[i] for i in router_data.rows["train"]}


def test_non_finite_parameters_after_the_last_step_abort_too(router_data):
    """One step per epoch: the loss before it is finite, the parameters after it are not."""
    train_spec = dataclasses.replace(TRAIN, batch_size=200)
    with pytest.raises(ReLopeError, match="parameters of member 0 are not finite"):
        train("probe", router_data, members_of("probe", train=train_spec, learning_rate=1e30))


@pytest.mark.parametrize("name", SPECS)
def test_checkpoint_round_trip(name, router_data, tmp_path):
    """A restored model's scores are bitwise those of the trained one, for all members and for one cut to its rank."""
    rows = router_data.rows["test"]
    members = [m for m in different_members(name) if m.seed != 5]
    fitted = train(name, router_data, members)
    save_router(tmp_path / name, METHODS[name], members, fitted)
    method, restored_members, restored = load_ensemble(tmp_path / name, router_data.block)
    assert (method.name, restored_members) == (name, members)
    expected = scores_of(name, fitted.parts, router_data, rows)
    np.testing.assert_array_equal(scores_of(name, restored.parts, router_data, rows), expected)
    last = load_member(tmp_path / name, router_data.block, members[-1].seed)
    assert last.member == members[-1]
    np.testing.assert_allclose(scores_of(name, stack([last.parts]), router_data, rows)[0], expected[-1], atol=1e-6)
    if name == "relope":
        assert last.parts.params["lora"]["a"]["q"].get_value().shape == (2, 16)


def test_missing_checkpoint_or_seed_lists_what_there_is(router_data, tmp_path):
    members = members_of("probe", (3,), dataclasses.replace(TRAIN, epochs=1))
    save_router(tmp_path / "checkpoints" / "probe", METHODS["probe"], members, train("probe", router_data, members))
    with pytest.raises(ReLopeError, match="has: probe"):
        load_member(tmp_path / "checkpoints" / "relope", router_data.block, 3)
    with pytest.raises(ReLopeError, match="no seed 0; it has: 3"):
        load_member(tmp_path / "checkpoints" / "probe", router_data.block, 0)


def test_collapsed_posterior_is_said(router_data, caplog):
    """A KL summed over dimensions with a huge beta drives the posterior onto the prior; the other member is fine."""
    from absl import logging

    members = [
        *members_of("relope", (0,)),
        *members_of("relope", (1,), learning_rate=0.03, beta=1e4, beta_schedule="constant", kl_reduction="sum"),
    ]
    logging.use_absl_handler()
    with caplog.at_level("WARNING", logger="absl"):
        train("relope", router_data, members)
    assert "posterior has collapsed onto the prior (no active dimension; seeds 1)" in caplog.text
