"""Answers of the small model in this process: the same table, from a real toy model."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import torch

from extract.backbone import generate as generation
from extract.backbone import load, prompts
from relope_jax.errors import ReLopeError
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server

SPLIT = ("test",)


@pytest.fixture(scope="module")
def process():
    with running_server() as server:
        yield server


@pytest.fixture
def server(process, monkeypatch):
    return made_ready(process, monkeypatch)


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path)


def test_small_model_answers_in_process(plan, server, toy, monkeypatch):
    loads = []
    monkeypatch.setattr(load, "load_backbone", lambda spec: loads.append(spec) or toy)
    test = {"base_url": "", "splits": ("test",), "concurrency": 3}
    answers = ask(plan, server, max_tokens=3, **test)
    rows = answers.table.to_pylist()
    assert [row["sample_id"] for row in rows] == ["q2", "q5", "q8"]
    assert all(row["response"] for row in rows)
    assert all(len(row["token_logprobs"]) == row["completion_tokens"] <= 3 for row in rows)
    assert all(max(row["token_logprobs"]) <= 0 < row["prompt_tokens"] for row in rows)
    assert answers.settings["model"] == "toy-mllm"
    passes = []
    hook = toy.decoder.register_forward_hook(lambda *_: passes.append(1))
    sampled = ask(plan, server, max_tokens=1, samples=2, temperature=3.0, name="votes", **test)
    hook.remove()
    assert len(passes) == 2  # one per style, shared by both samples
    assert len(sampled.table) == 3 * 2 * 2
    assert len(set(sampled.table["response"].to_pylist())) > 3
    assert len(loads) == 2
    assert ask(plan, server, max_tokens=3, **test).table == answers.table
    assert len(loads) == 2  # all from the cache
    assert server.stats["requests"] == 0


def test_small_model_without_enough_memory_gives_one_line(plan, server, toy, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(load, "load_backbone", lambda spec: toy)
    monkeypatch.setattr(generation, "generate", fail)
    with pytest.raises(ReLopeError, match="out of memory with 10 prompts per batch: lower"):
        ask(plan, server, base_url="")


def test_question_that_the_small_models_processor_refuses_is_left_out(plan, server, toy, monkeypatch):
    build_inputs = prompts.build_inputs

    def picky(model, queries):
        if any("number 5" in text for text, _ in queries):
            raise ValueError("too wide")
        return build_inputs(model, queries)

    monkeypatch.setattr(load, "load_backbone", lambda spec: toy)

    def quick(model, inputs, max_tokens, *, sampling, shared):
        n = len(inputs["input_ids"])
        return generation.Generated([generation.Answer("blue", np.zeros(1), 0.0, "stop")] * n, np.zeros((n, 1)))

    monkeypatch.setattr(prompts, "build_inputs", picky)
    monkeypatch.setattr(generation, "generate", quick)
    answers = ask(plan, server, base_url="", max_tokens=1, splits=("test",))
    assert answers.table["sample_id"].to_pylist() == ["q2", "q8"]
    assert answers.settings["left_out"] == [
        {"sample_id": "q5", "answer": "direct 0", "reason": "the model's processor refuses it: ValueError: too wide"}
    ]


@pytest.mark.parametrize("error", [IndexError, RuntimeError, ValueError])
@pytest.mark.parametrize("samples", [0, 1])
def test_question_that_the_small_model_fails_on_is_left_out(plan, server, toy, monkeypatch, error, samples):
    """C47: found by halving the batch, whatever is raised; the others in its batch are answered."""
    sizes, generate = [], generation.generate

    def failing(model, inputs, max_tokens, **options):
        sizes.append(len(inputs["input_ids"]))
        if any("number 5" in text for text in model.tokenizer.batch_decode(inputs["input_ids"])):
            raise error("split_with_sizes expects split_sizes to sum exactly to 32")
        return generate(model, inputs, max_tokens, **options)

    monkeypatch.setattr(load, "load_backbone", lambda spec: toy)
    monkeypatch.setattr(generation, "generate", failing)
    answers = ask(plan, server, base_url="", max_tokens=1, samples=samples, splits=SPLIT, concurrency=3)
    styles = 2 if samples else 1
    assert sorted(answers.table["sample_id"].to_pylist()) == sorted(["q2", "q8"] * styles)
    assert sizes == [3, 1, 2, 1, 1] * styles
    assert [entry["sample_id"] for entry in answers.settings["left_out"]] == ["q5"] * styles
    assert answers.settings["left_out"][0]["reason"].startswith(f"the model fails on it: {error.__name__}: split_with")


def test_answers_in_process_are_counted_alike(plan, server, toy, monkeypatch, capsys):
    def odd(model, inputs, max_tokens, *, sampling, shared):
        said = [("", [-0.5, np.nan], "length"), ("blue\ud83d", [-np.inf], "stop"), ("blue", [-0.5], "stop")]
        answers = [generation.Answer(text, np.array(logprobs), 0.0, end) for text, logprobs, end in said]
        return generation.Generated(answers, np.zeros((3, 1)))

    monkeypatch.setattr(load, "load_backbone", lambda spec: toy)
    monkeypatch.setattr(
        prompts,
        "build_inputs",
        lambda model, queries: {"attention_mask": torch.ones(len(queries), 4, dtype=torch.long)},
    )
    monkeypatch.setattr(generation, "generate", odd)
    answers = ask(plan, server, base_url="", max_tokens=2, splits=SPLIT, concurrency=3)
    rows = answers.table.to_pylist()
    assert [row["response"] for row in rows] == ["", "blue\ufffd", "blue"]
    assert [row["token_logprobs"] for row in rows] == [None, None, [-0.5]]
    assert [row["finish_reason"] for row in rows] == ["length", "stop", "stop"]
    assert (
        "1 of 3 answers were cut off at answers.max_tokens=2 and count as no answer (1 of them empty)"
        in capsys.readouterr().out
    )
    assert ask(plan, server, base_url="", max_tokens=2, splits=SPLIT, concurrency=3).table == answers.table


def test_a_resumed_job_draws_what_an_uninterrupted_one_draws(plan, server, toy, monkeypatch):
    """Half of the cache is lost and the batches are composed differently. The texts are equal, and so are the
    log-probabilities up to float32 rounding in different batches."""
    monkeypatch.setattr(load, "load_backbone", lambda spec: toy)
    asked = {"base_url": "", "max_tokens": 3, "samples": 2, "temperature": 2.0, "top_p": 0.95, "splits": SPLIT}
    cache = plan.store.parent / "cache" / "answers.sqlite"
    whole = ask(plan, server, concurrency=3, **asked).table
    assert len(set(whole["response"].to_pylist())) > 6
    rows = sqlite3.connect(cache)
    rows.execute("DELETE FROM responses WHERE rowid % 2 = 0 OR rowid % 7 = 3")
    rows.commit()
    left = rows.execute("SELECT count(*) FROM responses").fetchone()[0]
    rows.close()
    assert 3 < left < 9
    resumed = ask(plan, server, concurrency=2, **asked).table
    assert resumed.drop_columns("token_logprobs") == whole.drop_columns("token_logprobs")
    for one, other in zip(*(table["token_logprobs"].to_pylist() for table in (resumed, whole)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_fields_for_a_server_are_refused_in_process(plan, server):
    with pytest.raises(ReLopeError, match=r"answers\.extra has fields for a server's requests"):
        ask(plan, server, base_url="", extra='{"seed": null}')
