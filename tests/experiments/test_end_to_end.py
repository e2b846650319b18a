"""The whole pipeline with the real toy MLLM on fewer questions."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import peft
import pyarrow.parquet as pq
import pytest
from absl import flags
from flax import nnx
from sklearn.metrics import roc_auc_score
from tensorboard.backend.event_processing import event_accumulator

import relope_jax
from experiments import export_peft, pipeline
from experiments.configs import quickstart
from experiments.report import write
from experiments.runs.plan import plan_run
from extract.backbone.prefill import prefill
from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import gather
from relope_jax.errors import ReLopeError
from relope_jax.io.locks import lock_folder
from relope_jax.models.padding import padded_length, to_device
from relope_jax.training.checkpoints import load_member
from relope_jax.training.snapshots import saved_epoch
from tests import ROOT
from tests.experiments.runs.made_runs import run_record

METHODS = ("relope", "attention_probe", "probe")


def small_config(folder):
    config = quickstart.get_config()
    config.runs, config.store = str(folder / "runs"), str(folder / "store")
    config.seeds = (0, 1)
    config.dataset.max_questions = 200
    config.train.epochs = 6
    for method in METHODS:
        config[method].learning_rate = 1e-3
    config.relope.lora.rank = 8
    config.engine.tensorboard = True
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy):
    """One run of the pipeline, including its own model loading."""
    folder = tmp_path_factory.mktemp("line")
    return pipeline.run(plan_run(small_config(folder))), folder


def test_run_directory(finished):
    run, _ = finished
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.json", "metrics.jsonl", "results.json", "summary.json", "scores.parquet", "samples.parquet",
        "checkpoints", "block.safetensors", "report.html", "report.pdf", "tables", "tensorboard", ".lock",
    }  # fmt: skip
    assert run.config["dataset"]["max_questions"] == 200
    rows = {(row["method"], row["seed"]): row for row in run.results}
    expected = {(m, s) for m in (*METHODS, "random") for s in (0, 1)} | {("question_only", 0), ("oracle", 0)}
    assert set(rows) == expected
    needed = {
        "dataset",
        "model",
        "layer",
        "method",
        "seed",
        "n_train",
        "n_test",
        "base_rate",
        "auc",
        "auc_low",
        "auc_high",
    }
    assert all(needed <= row.keys() for row in rows.values())
    assert rows["oracle", 0]["auc"] == 1.0
    assert {record["method"] for record in run.metrics} == set(METHODS)


def test_scores_and_results_agree_with_sklearn(finished):
    run, _ = finished
    table = pq.read_table(run.path / "scores.parquet")
    assert table.column_names == ["sample_id", "dataset", "split", "method", "seed", "score", "label"]
    frame = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    for row in run.results:
        mine = (frame["method"] == row["method"]) & (frame["seed"] == row["seed"]) & (frame["split"] == "test")
        assert mine.sum() == row["n_test"]
        assert row["auc"] == pytest.approx(roc_auc_score(frame["label"][mine], frame["score"][mine]))
        assert row["base_rate"] == pytest.approx(frame["label"][mine].mean())


def test_restored_routers_score_store_and_new_prompts_alike(finished, toy):
    run, folder = finished
    store = relope_jax.Store(folder / "store")
    states = store.states()
    table = run.scores.to_pydict()
    for method in METHODS:
        router = relope_jax.restore(run.path, method=method, seed=1)
        recorded = [
            s
            for s, m, seed in zip(table["score"], table["method"], table["seed"], strict=True)
            if (m, seed) == (method, 1)
        ]
        np.testing.assert_allclose(router(states), recorded, atol=1e-5)
        row = store.samples.slice(3, 1).to_pylist()[0]
        live = prefill(toy, [(row["question"], row["images"][0])], layer=24)
        assert router(live)[0] == pytest.approx(recorded[3], abs=0.02)  # bfloat16 rounding of Z^(l-1)
    attention = relope_jax.restore(run.path, method="attention_probe").attention(states.select(np.arange(4)))
    assert [len(weights) for weights in attention] == states.lengths[:4].tolist()
    np.testing.assert_allclose([weights.sum() for weights in attention], 1.0, rtol=1e-5)
    with pytest.raises(ReLopeError, match="no attention"):
        relope_jax.restore(run.path, method="probe").attention(states)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's own
def test_exported_lora_gives_the_same_states_in_peft(finished, toy, tmp_path, capsys):
    """Both sides compute in float32 with different summation orders: tests/extract/backbone/test_block_parity.py."""
    run, folder = finished
    out = tmp_path / "adapter"
    command = ["export_peft", str(run.path), f"--out={out}", "--seed=0"]
    export_peft.main(flags.FLAGS(command))
    assert f"peft.PeftModel.from_pretrained(model, '{out}')" in capsys.readouterr().out
    model = peft.PeftModel.from_pretrained(copy.deepcopy(toy.model), out).get_base_model()
    rows = relope_jax.Store(folder / "store").samples.slice(0, 3).to_pylist()
    queries = [(row["question"], row["images"][0]) for row in rows]
    plain = prefill(toy, queries, layer=24)
    adapted = prefill(dataclasses.replace(toy, model=model, decoder=model.get_decoder()), queries, layer=24)

    member, block = load_member(run.path / "checkpoints" / "relope", run.block, 0), run.block
    lora = nnx.merge(*member.parts).lora
    batch = gather(to_device(plain), jnp.arange(3, dtype=jnp.int32), padded_length(plain))
    z = np.asarray(last_token_block(block.spec, block.weights, lora.adapters(), batch))
    largest = np.abs(adapted.last_hidden).max()
    assert np.abs(z - adapted.last_hidden).max() < 1e-5 * largest
    assert np.abs(plain.last_hidden - adapted.last_hidden).max() > 1e-3 * largest  # training changed the block

    with pytest.raises(SystemExit):
        export_peft.main(flags.FLAGS(command))
    assert "already exists" in capsys.readouterr().err
    with pytest.raises(ReLopeError, match="'probe' trains no LoRA"):
        relope_jax.restore(run.path, method="probe").export_peft(tmp_path / "none")


def test_report_is_self_contained(finished):
    run, _ = finished
    page = (run.path / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]+"', page.replace("http://www.w3.org", ""))
    for title in ("ReLope", "Attention Probe", "Probe", "Question only", "Random", "Oracle", "Risk-coverage", "ROC"):
        assert title in page
    assert page.count("<svg") == 3 + 6  # curves, calibration, training; right and wrong answers at three scores
    assert page.count("of the attention is on the image") == 6
    assert "test prompts, the image gets" in page
    table = write.terminal_table(run)
    assert f"{run.summary['methods']['relope']['auc']:.3f}" in table


def test_second_run_changes_nothing_and_other_configs_are_refused(finished, capsys):
    run, folder = finished
    before = (run.path / "results.json").read_text(), (run.path / "metrics.jsonl").read_text()
    pipeline.run(plan_run(small_config(folder)))
    assert "relope: already trained, skipped" in capsys.readouterr().out
    assert before == ((run.path / "results.json").read_text(), (run.path / "metrics.jsonl").read_text())
    other = small_config(folder)
    other.train.epochs = 7
    with pytest.raises(ReLopeError, match=r"train.epochs: 6 -> 7"):
        pipeline.run(plan_run(other))


def test_damaged_block_is_caught_by_the_replay(finished, tmp_path):
    """A changed block must be caught, and so must one damaged prompt in ten."""
    from relope_jax.block.spec import Block
    from relope_jax.models.replay import replay_block

    _, folder = finished
    store = relope_jax.Store(folder / "store")
    weights = dict(store.block.weights)
    weights["o.weight"] = weights["o.weight"][::-1].copy()
    with pytest.raises(ReLopeError, match="replaying the frozen block"):
        replay_block(Block(store.block.spec, weights), store.states(), "float32")
    states = store.states()
    states.last_hidden[::10] *= 0.8
    with pytest.raises(ReLopeError, match=r"row \d+: relative error"):
        replay_block(store.block, states, "float32")


def test_interrupted_run_goes_on_to_the_same_results(finished, monkeypatch):
    """Killed in the fourth epoch of the second method: the first method is kept, epochs without a snapshot are
    repeated, the torn log line is dropped, and the results are the same."""
    run, folder = finished
    config = small_config(folder)
    config.name, config.engine.checkpoint_seconds = "interrupted", 0.0
    fit, calls = pipeline.fit, []

    def interrupted(method, members, data, feed, log, *rest):
        calls.append(method.name)

        def log_or_die(record):
            log(record)
            if len(calls) == 2 and record["epoch"] == 4:
                raise KeyboardInterrupt

        return fit(method, members, data, feed, log_or_die, *rest)

    monkeypatch.setattr(pipeline, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(plan_run(config))
    assert saved_epoch(folder / "runs" / "interrupted" / "training" / "attention_probe") == 3
    log = folder / "runs" / "interrupted" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"method": "attention_pro')
    resumed = pipeline.run(plan_run(config))
    assert calls == ["relope", "attention_probe", "attention_probe", "probe"]
    keys = [(r["method"], r["seed"], r["epoch"]) for r in resumed.metrics]
    assert keys == [(r["method"], r["seed"], r["epoch"]) for r in run.metrics]
    assert not (resumed.path / "training").exists()
    assert resumed.results == run.results


def test_tensorboard_shows_what_metrics_jsonl_holds(finished):
    """Read back with TensorBoard's own reader."""
    run, _ = finished
    folder = run.path / "tensorboard" / "relope" / "seed-1"
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    mine = [r for r in run.metrics if (r["method"], r["seed"]) == ("relope", 1)]
    for name in ("loss", "kl_per_dimension", "validation_auc", "samples_per_second"):
        shown = [(e.step, e.value) for e in events.Scalars(name)]
        assert shown == [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in mine]


def test_non_finite_loss_keeps_its_samples(finished):
    _, folder = finished
    config = small_config(folder)
    config.name, config.methods = "diverged", ("probe",)
    config.probe.learning_rate = 1e30
    with pytest.raises(ReLopeError, match=r"loss is not finite at step \d+, member 0 .*non_finite.json\)"):
        pipeline.run(plan_run(config))
    kept = json.loads((folder / "runs" / "diverged" / "non_finite.json").read_text())
    assert kept["method"] == "probe"
    assert len(set(kept["sample_ids"])) == len(kept["sample_ids"]) > 16


@pytest.mark.slow
def test_two_processes_make_the_same_run(finished):
    """The command as given on two hosts. Gradients are summed in a different order, which allows 5e-3 of AUC."""
    run, folder = finished
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    methods = "--config.methods=('attention_probe', 'probe')"
    settings = ["--config.name=two", methods, "--config.engine.checkpoint_seconds=0"]
    settings += [f"--config.runs={folder / 'runs'}", f"--config.store={folder / 'store'}", "--config.seeds=(0, 1)"]
    settings += ["--config.dataset.max_questions=200", "--config.train.epochs=6", "--config.probe.learning_rate=1e-3"]
    settings += ["--config.attention_probe.learning_rate=1e-3"]
    command = [sys.executable, "-m", "experiments.run", "--config=quickstart", *settings]
    command += [f"--coordinator=localhost:{port}", "--processes=2"]
    root = ROOT
    both = [subprocess.Popen([*command, f"--process={i}"], cwd=root, stdout=subprocess.PIPE, text=True) for i in (0, 1)]
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "report:" in printed[0]
    assert "report:" not in printed[1]
    assert (folder / "runs" / "two" / "report.html").exists()
    rows = [row for row in run.results if row["method"] in ("attention_probe", "probe")]
    for row, other in zip(rows, relope_jax.Run(folder / "runs" / "two").results, strict=False):
        assert other["auc"] == pytest.approx(row["auc"], abs=5e-3)


def test_several_processes_need_a_coordinator(finished):
    command = [sys.executable, "-m", "experiments.run", "--config=quickstart", "--processes=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: several processes need --coordinator=")


def test_two_writers_of_one_run_are_refused(finished):
    run, folder = finished
    with lock_folder(run.path), pytest.raises(ReLopeError, match="another process"):
        pipeline.run(plan_run(small_config(folder)))


def test_equal_labels_stop_with_one_line(finished, monkeypatch, tmp_path):
    _, folder = finished
    column = relope_jax.Store.column

    def all_right(self, name):
        return np.ones(len(self.samples), np.int8) if name == "label" else column(self, name)

    monkeypatch.setattr(relope_jax.Store, "column", all_right)
    config = small_config(folder)
    config.name = "equal"
    with pytest.raises(ReLopeError, match="every answer is right"):
        pipeline.run(plan_run(config))
    assert not (folder / "runs" / "equal").exists()


def test_unfinished_run_is_said_to_be_unfinished(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(run_record()))
    with pytest.raises(ReLopeError, match="unfinished"):
        _ = relope_jax.Run(tmp_path).results
    with pytest.raises(ReLopeError, match="is not a run"):
        relope_jax.Run(tmp_path / "nowhere")
