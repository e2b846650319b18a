"""Every registered method through the real pipeline, with two tiny LLaVAs as the small and the large model."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image
from transformers import AutoTokenizer

import extract.answers.job as job
from experiments import pipeline
from experiments.configs import base
from experiments.runs.plan import plan_run
from extract.job.open import open_or_extract
from extract.spec import TOY_MLLM
from extract.toy import build
from relope_jax.baselines.inputs import Inputs, require_inputs
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS, SANITY, Baseline
from relope_jax.run_schema import TOKEN_COUNTS
from relope_jax.states.answers import Answers
from relope_jax.states.store import Store
from relope_jax.training.checkpoints import load_member
from tests.extract import tiny_models
from tests.extract.job.plans import end_often

N = 90
NAMES = (*(name for name, method in METHODS.items() if isinstance(method, Baseline)), "probe", "post_hoc_embed")


def write_questions(folder, answers) -> None:
    lines = [
        {"id": f"q{i:02d}", "question": f"what is in picture {i}?", "answer": answers[i], "image": f"{i}.png"}
        for i in range(N)
    ]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """90 questions. The reference is the small model's answer in two of three cases, else the large model's."""
    folder = tmp_path_factory.mktemp("baselines")
    tokenizer = AutoTokenizer.from_pretrained(build.ensure_built(TOY_MLLM))
    tiny_models.save_llava(folder / "small", copy.deepcopy(tokenizer))
    tiny_models.save_llava(folder / "large", copy.deepcopy(tokenizer), rope_theta=100.0)
    for name in ("small", "large"):
        end_often(folder / name)  # a truncated answer would not count
    rng = np.random.default_rng(0)
    for i in range(N):
        Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    write_questions(folder, ["x"] * N)
    config = base.get_config()
    config.model.name, config.model.device = str(folder / "small"), "cpu"
    config.large.name, config.large.device = str(folder / "large"), "cpu"
    config.dataset.name, config.dataset.path = "jsonl", str(folder / "data.jsonl")
    config.extract.layer, config.extract.max_new_tokens, config.answers.max_tokens = 2, 3, 3
    config.inputs.samples, config.inputs.max_tokens, config.inputs.batch = 2, 3, N
    config.answers.cache, config.runs = str(folder / "cache.sqlite"), str(folder / "runs")
    config.methods, config.seeds, config.train.epochs, config.name = NAMES, (0, 1), 2, "all"
    responses = {}
    for name in ("large", "small"):
        config.model.name, config.store = str(folder / name), str(folder / f"draft-{name}")
        draft = open_or_extract(plan_run(config).target).samples
        responses[name] = dict(zip(draft["sample_id"].to_pylist(), draft["response"].to_pylist(), strict=True))
    write_questions(folder, [responses["small" if i % 3 else "large"][f"q{i:02d}"] for i in range(N)])
    config.store = str(folder / "store")
    return config


@pytest.fixture(scope="module", autouse=True)
def _no_report():
    """Reports have their own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.write, "write_report", lambda run, store: run.path)
        patch.setattr(pipeline.write, "terminal_table", lambda run: "")
        yield


@pytest.fixture(scope="module")
def finished(config):
    return pipeline.run(plan_run(config))


def test_every_method_scores_every_sample(finished, config):
    table = finished.scores
    assert set(table["method"].to_pylist()) == {*NAMES}
    assert {name for name in METHODS if name not in NAMES} == {"relope", "attention_probe"}  # tests/experiments/*
    for name in NAMES:
        seeds = 2 if name in ("probe", "post_hoc_embed", "random") else 1
        mine = table.filter(pc.equal(table["method"], name))
        assert len(mine) == N * seeds
        learned = name not in ("mot_vote", "mot_verify", "verbalised")  # these request no answers for training samples
        scores = mine["score"].to_numpy()
        np.testing.assert_array_equal(np.isfinite(scores), learned | (mine["split"].to_numpy() != "train"))
        scores = scores[np.isfinite(scores)]
        assert 0 <= scores.min() <= scores.max() <= 1
        assert name in finished.summary["methods"]
    assert {row["method"] for row in finished.results} == {*NAMES}
    trained = {record["method"] for record in finished.metrics}
    assert trained == {"probe", "post_hoc_embed"}
    differences = {(d.first, d.second) for d in finished.summary["differences"]}
    assert len(differences) == len(NAMES) * (len(NAMES) - 1) / 2  # question_only is one of them already
    assert all(d.p <= d.p_holm <= 1 for d in finished.summary["differences"])
    assert all({"brier", "prr", "apgr", "cpt_50", "cpt_80", "audc"} <= row.keys() for row in finished.results)


def test_samples_hold_what_store_and_answers_hold(finished, config):
    store, large = Store(config.store), Answers.load(config.store, "large")
    rows = finished.samples.to_pylist()
    assert [row["sample_id"] for row in rows] == store.column("sample_id").tolist()
    assert [row["label"] for row in rows] == store.column("label").tolist()
    assert [row["large_label"] for row in rows] == large.labels(store.column("sample_id").tolist()).tolist()
    assert {0, 1} == {row["large_label"] for row in rows}
    asked = {row["sample_id"]: row for row in large.table.to_pylist()}
    stated = Answers.load(config.store, "confidence").table.to_pylist()
    asked_about = store.column("split") != "train"
    assert [row["label"] for row in stated] == store.column("label")[asked_about].tolist()  # of the same answer
    assert {row["style"] for row in stated} == {"confidence"}
    drawn = Answers.load(config.store, "samples").table.to_pylist()
    assert len(drawn) == asked_about.sum() * 2 * 2
    for row, stored in zip(rows, store.samples.to_pylist(), strict=True):
        assert row["prompt_tokens"] == stored["n_tokens"]
        assert row["answer_tokens"] == len(stored["token_logprobs"])
        assert row["large_answer_tokens"] == asked[row["sample_id"]]["completion_tokens"]
        assert row["large_prompt_tokens"] == stored["n_tokens"]  # the same tokenizer
        mine = [draw["completion_tokens"] for draw in drawn if draw["sample_id"] == row["sample_id"]]
        assert row["sampled_tokens"] == (sum(mine) if row["split"] != "train" else None)
        prompts = {draw["style"]: draw["prompt_tokens"] for draw in drawn if draw["sample_id"] == row["sample_id"]}
        assert row["sampled_prompt_tokens"] == (sum(prompts.values()) if prompts else None)
        about = next((reply for reply in stated if reply["sample_id"] == row["sample_id"]), {})
        assert row["confidence_prompt_tokens"] == about.get("prompt_tokens")
        assert row["confidence_tokens"] == about.get("completion_tokens")
    assert {row["sampled_prompt_tokens"] is None for row in rows} == {True, False}
    assert finished.summary["large"]["model"] == config.large.name


def test_second_run_asks_and_embeds_nothing(finished, config, monkeypatch):
    def refuse(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(job, "answer", refuse)
    monkeypatch.setattr("extract.job.embeddings.load_encoder", refuse)
    before = finished.results
    assert pipeline.run(plan_run(config)).results == before


def test_post_hoc_embed_reads_the_output_embedding(finished, config):
    """Its restored router reproduces the recorded scores from output embeddings and refuses hidden states."""
    store, table = Store(config.store), finished.scores
    mine = pc.and_(pc.equal(table["method"], "post_hoc_embed"), pc.equal(table["seed"], 1))
    router = finished.restore("post_hoc_embed", seed=1)
    recorded = table.filter(mine)["score"].to_numpy()
    np.testing.assert_allclose(router(store.output_embedding()), recorded, atol=1e-6)
    assert not np.allclose(router(store.last_hidden()), recorded, atol=1e-3)
    with pytest.raises(ReLopeError, match="'post_hoc_embed' scores output embeddings"):
        router(store.states())
    with pytest.raises(ReLopeError, match="'probe' scores states"):
        finished.restore("probe")(store.output_embedding())
    member = load_member(finished.path / "checkpoints" / "post_hoc_embed", finished.block, 1)
    moments = member.parts.rest["standardize"]["mean"].get_value()
    train = store.output_embedding()[store.rows("train")]
    np.testing.assert_allclose(moments, train.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_a_run_without_large_model_leaves_its_columns_empty(finished, config, tmp_path):
    """The same states in a store without a large model's answers."""
    cheap = copy.deepcopy(config)
    cheap.large.name, cheap.name, cheap.methods = "", "cheap", ("chow_sum",)
    cheap.store = str(tmp_path / "store")
    run = pipeline.run(plan_run(cheap))
    assert {row["method"] for row in run.results} == {"chow_sum", *SANITY}
    own = ("prompt_tokens", "answer_tokens")
    for name in ("large_label", *(column for column in TOKEN_COUNTS.values() if column not in own)):
        assert run.samples[name].null_count == N
    assert run.summary["large"] is None
    assert not (tmp_path / "store" / "answers").exists()
    cheap.methods, cheap.name = ("sw_ranking",), "none"
    with pytest.raises(ReLopeError, match=r"has no answers 'large'.*--config.answers.name=large"):
        pipeline.run(plan_run(cheap))
    assert not (finished.path.parent / "none").exists()
    inputs = Inputs(Store(cheap.store))
    with pytest.raises(ReLopeError, match=r"has no answers 'samples'.*extract.answer"):
        inputs.sampled_answers("direct")
    with pytest.raises(ReLopeError, match=r"has no answers 'confidence'.*extract.answer"):
        _ = inputs.stated_confidence


def test_answers_made_with_other_settings_are_refused(finished, config):
    other = copy.deepcopy(config)
    other.name, other.inputs.temperature = "other", 0.5
    with pytest.raises(ReLopeError, match=r"'samples' .* other settings \(temperature: 0.5 != 0.8\)"):
        pipeline.run(plan_run(other))
    other.inputs.temperature, other.large.name = 0.8, "another/model"
    with pytest.raises(ReLopeError, match=r"'large' .* other settings \(model: 'another/model' != "):
        pipeline.run(plan_run(other))


def test_a_damaged_table_is_told_before_anything_is_trained(finished, config, tmp_path):
    """Even if no method reads it, because its tokens are counted at the end."""
    folder = tmp_path / "store"
    shutil.copytree(config.store, folder)
    (path,) = (folder / "answers").glob("confidence-*.parquet")
    path.write_bytes(path.read_bytes()[:-5])
    inputs = Inputs(Store(folder))
    with pytest.raises(ReLopeError, match=r"'confidence' of .* are damaged"):
        require_inputs(inputs, ())
    require_inputs(Inputs(Store(config.store)), ())
