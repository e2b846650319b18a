"""Extraction: the real toy MLLM's store and live prefill; with a tiny model: resume, bad images, identity."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from extract.backbone.load import load_backbone
from extract.backbone.prefill import prefill
from extract.datasets import get_dataset
from extract.job import extraction
from extract.job.open import open_or_extract
from extract.job.part import PartExtractor
from extract.plan import Extraction
from extract.queries import queries
from extract.spec import TOY_MLLM, DatasetSpec, ExtractSpec, ModelSpec
from extract.toy import toy_digest
from relope_jax.errors import ReLopeError
from relope_jax.io.files import sha256, tree_checksums
from relope_jax.models.replay import replay_block
from tests.extract import tiny_models

SPEC = ExtractSpec(token_budget=256, part_size=6)
TINY = dataclasses.replace(SPEC, layer=2)


@pytest.fixture(scope="module")
def tiny(toy, tmp_path_factory):
    """A tiny LLaVA with the toy's tokenizer."""
    folder = tiny_models.save_llava(tmp_path_factory.mktemp("tiny"), copy.deepcopy(toy.tokenizer))
    return load_backbone(ModelSpec(name=str(folder), device="cpu"))


@pytest.fixture
def toy_plan(tmp_path, toy, monkeypatch):
    """12 easy-VQA questions in two parts; the toy is loaded once for all tests."""
    monkeypatch.setattr(extraction, "load_backbone", lambda spec: toy)
    return plan_for(save_questions(tmp_path), tmp_path / "store", SPEC)


@pytest.fixture
def plan(tmp_path, tiny, monkeypatch):
    """The same questions for the tiny model, which replaces the toy."""
    monkeypatch.setattr(extraction, "load_backbone", lambda spec: tiny)
    return plan_for(save_questions(tmp_path), tmp_path / "store")


def save_questions(folder):
    samples = get_dataset("easy_vqa").load(DatasetSpec())[:60:5]
    lines = [
        json.dumps({"question": s.question, "answer": s.answer, "image": str(s.images[0]), "id": f"q{i:02d}"})
        for i, s in enumerate(samples)
    ]
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines))
    return path


def plan_for(path, store, spec=TINY) -> Extraction:
    return Extraction(ModelSpec(), DatasetSpec(name="jsonl", path=str(path), outside=True), spec, store)


def test_store_holds_what_the_model_did(toy_plan):
    store = open_or_extract(toy_plan)
    samples = store.samples.to_pylist()
    assert [s["sample_id"] for s in samples] == [f"q{i:02d}" for i in range(12)]
    assert all(s["image_tokens"] == s["grid_height"] * s["grid_width"] == 9 for s in samples)
    assert sum(s["label"] for s in samples) == sum(s["response"].lower() == s["answer"] for s in samples)
    assert store.identity.source == toy_digest(TOY_MLLM)
    states = store.states()
    assert np.array_equal(states.lengths, store.column("n_tokens"))
    assert states.hidden.shape[1] == states.last_hidden.shape[1] == 576
    replay = replay_block(store.block, states, "float32")
    assert replay.largest < replay.tolerance
    assert [s["contents"] for s in samples] == [[sha256(Path(s["images"][0]))] for s in samples]
    store.verify()


def test_live_prefill_gives_the_stored_states(toy_plan, toy):
    """A deployed router sees the states it was trained on; bfloat16 storage keeps 8 bits of mantissa."""
    store = open_or_extract(toy_plan)
    rows = store.samples.to_pylist()[:3]
    live = prefill(toy, [(row["question"], row["images"][0]) for row in rows], layer=24)
    stored = store.states().select(np.arange(3))
    assert np.array_equal(live.lengths, stored.lengths)
    np.testing.assert_allclose(live.last_hidden, stored.last_hidden, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(live.hidden, stored.hidden.astype(np.float32), rtol=2**-7, atol=1e-2)


def test_interrupted_extraction_goes_on_to_the_same_bytes(plan, monkeypatch, tmp_path):
    whole = open_or_extract(plan_for(plan.dataset.path, tmp_path / "whole"))
    extract = PartExtractor.extract
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(*args)

    monkeypatch.setattr(PartExtractor, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_or_extract(plan)
    open_or_extract(plan)
    assert len(calls) == 3  # the published part was not extracted again
    resumed = tree_checksums(plan.store)
    assert resumed == tree_checksums(Path(whole.path))


def test_unreadable_image_is_listed_and_left_out(plan, tmp_path, capsys):
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG not a picture")
    lines[2] = json.dumps(json.loads(lines[2]) | {"image": str(broken)})
    lines[7] = json.dumps(json.loads(lines[7]) | {"image": "missing.png"})
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    store = open_or_extract(plan)
    assert len(store.samples) == len(store.states()) == 10
    failed = {entry["sample_id"]: entry["reason"] for entry in store.manifest.failed}
    assert failed.keys() == {"q02", "q07"}
    assert "broken.png" in failed["q02"]
    assert "left out q07" in capsys.readouterr().out


def test_extraction_where_every_sample_failed_can_be_tried_again(plan, tmp_path):
    lines = (tmp_path / "data.jsonl").read_text()
    broken = [json.dumps(json.loads(line) | {"image": "gone/" + str(i)}) for i, line in enumerate(lines.splitlines())]
    (tmp_path / "data.jsonl").write_text("\n".join(broken))
    for _ in range(2):
        with pytest.raises(ReLopeError, match="every sample of jsonl failed; the first: unreadable image"):
            open_or_extract(plan)


def test_unsupported_layer_is_refused_before_anything_is_extracted(plan, tiny, monkeypatch):
    monkeypatch.setattr(tiny.decoder.rotary_emb, "rope_type", "dynamic")
    with pytest.raises(ReLopeError, match="RoPE of type 'dynamic'"):
        open_or_extract(plan)
    assert not plan.store.exists()


def test_question_with_the_image_placeholder_is_left_out(plan, tmp_path):
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"question": "<image> what is this?"})
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    store = open_or_extract(plan)
    assert [entry["sample_id"] for entry in store.manifest.failed] == ["q00"]
    assert "placeholder" in store.manifest.failed[0]["reason"]


def test_label_is_about_the_greedy_answer(plan, tiny, monkeypatch):
    """A repetition penalty in the model's own generation config must not change the answers."""
    expected = open_or_extract(plan).column("response").tolist()
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 50.0)
    monkeypatch.setattr(tiny.model.generation_config, "do_sample", True)
    again = open_or_extract(plan_for(plan.dataset.path, plan.store.with_name("again")))
    assert again.column("response").tolist() == expected


def test_store_of_changed_data_or_model_is_refused(plan, tmp_path, monkeypatch):
    open_or_extract(plan)
    monkeypatch.setattr("extract.source.toy_digest", lambda name: "retrained")
    with pytest.raises(ReLopeError, match=r"model's files or revision: config 'retrained'"):
        open_or_extract(plan)
    monkeypatch.undo()
    path = tmp_path / "data.jsonl"
    path.write_text(path.read_text().replace("what is", "tell me", 1))
    with pytest.raises(ReLopeError, match=r"dataset\.sha256"):
        open_or_extract(plan)


def test_store_of_other_settings_is_refused(plan):
    open_or_extract(plan)
    other = Extraction(plan.model, plan.dataset, dataclasses.replace(TINY, layer=3), plan.store)
    with pytest.raises(ReLopeError, match=r"extract.layers: config \[3\], store \[\]"):
        open_or_extract(other)
    other = Extraction(ModelSpec(adapter="vision-lora"), plan.dataset, TINY, plan.store)
    with pytest.raises(ReLopeError, match=r"model.adapter: config 'vision-lora', store ''"):
        open_or_extract(other)
    other = Extraction(ModelSpec(name="other"), plan.dataset, TINY, plan.store)
    with pytest.raises(ReLopeError, match=r"model.name: config 'other', store 'toy-mllm'"):
        open_or_extract(other)


def test_query_that_the_processor_refuses_is_left_out(plan, monkeypatch, tmp_path):
    """As Qwen's processor rejects extreme aspect ratios. The rest of the batch is extracted."""
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"question": "too wide?"})
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    build = queries.build_inputs

    def refusing(backbone, batch):
        if any(text == "too wide?" for text, _ in batch):
            raise ValueError("absolute aspect ratio must be smaller than 200")
        return build(backbone, batch)

    monkeypatch.setattr(queries, "build_inputs", refusing)
    store = open_or_extract(plan)
    assert len(store.samples) == 11
    assert [entry["sample_id"] for entry in store.manifest.failed] == ["q01"]
    assert "aspect ratio" in store.manifest.failed[0]["reason"]
