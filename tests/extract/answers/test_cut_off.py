"""Answers of the small model that reach their token limit: how this is detected, stored and reported."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path

import pytest

from extract import grading
from extract.backbone.generate import LENGTH, STOP, Sampling, generate
from extract.backbone.load import load_backbone
from extract.backbone.prompts import build_inputs
from extract.datasets.jsonl import JSONL
from extract.inspect import describe
from extract.job import extraction
from extract.job.open import open_or_extract
from extract.job.regrade import regrade
from extract.spec import ModelSpec
from relope_jax.states.store import Store
from tests.extract import tiny_models
from tests.extract.job.plans import end_often, tiny_plan

QUERIES = [("what is this?", None), ("and that, which is longer?", None)]
RIGHT = dataclasses.replace(JSONL, grade=lambda sample, response: True, final_answer=lambda sample, response: "read")


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory):
    folder = tiny_models.save_llava(tmp_path_factory.mktemp("llava"), copy.deepcopy(toy.tokenizer))
    return load_backbone(ModelSpec(name=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def plan(toy, tmp_path_factory):
    """A store with some truncated answers, and a grader that calls every answer it reads right."""
    plan = tiny_plan(tmp_path_factory.mktemp("plan"), toy.tokenizer, part_size=8)
    end_often(Path(plan.model.name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "get_dataset", lambda name: RIGHT)
        patch.setattr(grading, "VERSION", 0)
        open_or_extract(plan)
    return plan


@pytest.mark.parametrize("sampling", [None, Sampling(seeds=(1, 2))])
def test_an_end_token_that_is_the_last_allowed_one_is_an_end(llava, monkeypatch, sampling):
    inputs = build_inputs(llava, QUERIES)
    drawn, original = [], llava.model.generate
    monkeypatch.setattr(llava.model, "generate", lambda **options: drawn.append(original(**options)) or drawn[-1])
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", None)
    free = generate(llava, inputs, 3, sampling=sampling)
    assert [answer.finish_reason for answer in free.answers] == [LENGTH, LENGTH]
    third, other = drawn[0][0, -1].item(), drawn[0][1, -3:].tolist()
    assert third not in (*drawn[0][0, -3:-1].tolist(), *other)
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", [third])
    ended = generate(llava, inputs, 3, sampling=sampling)
    assert [(answer.n_tokens, answer.finish_reason) for answer in ended.answers] == [(3, STOP), (3, LENGTH)]
    assert [answer.finish_reason for answer in generate(llava, inputs, 2, sampling=sampling).answers] == [LENGTH] * 2


def test_an_answer_that_was_cut_off_is_not_graded(plan):
    rows = Store(plan.store).samples.to_pylist()
    assert {row["finish_reason"] for row in rows} == {STOP, LENGTH}
    for row in rows:
        whole = row["finish_reason"] == STOP
        assert (row["final_answer"], row["label"]) == (("read", 1) if whole else ("", 0))


def test_regrading_leaves_what_was_cut_off_alone(plan, tmp_path, monkeypatch):
    copied = dataclasses.replace(plan, store=Path(shutil.copytree(plan.store, tmp_path / "store")))
    monkeypatch.setattr(extraction, "get_dataset", lambda name: RIGHT)
    monkeypatch.setattr(grading, "VERSION", 1)
    assert regrade(copied).endswith("regraded, 0 labels changed")


def test_labels_from_takes_it_over(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "VERSION", 0)
    other = dataclasses.replace(
        plan,
        extract=dataclasses.replace(plan.extract, labels_from=str(plan.store)),
        store=tmp_path / "variant",
    )
    made = open_or_extract(other)
    for name in ("finish_reason", "final_answer", "label"):
        assert made.samples[name] == Store(plan.store).samples[name]


def test_the_share_of_answers_that_were_cut_off_is_said(plan, capsys):
    store = open_or_extract(plan)
    cut = (store.column("finish_reason") == LENGTH).sum()
    line = f"{cut} of 24 answers were cut off at extract.max_new_tokens=3"
    advice = "raise the limit with --config.extract.max_new_tokens=..."
    for said in (capsys.readouterr().out, "\n".join(describe(store))):
        (found,) = [text for text in said.splitlines() if line in text]
        assert advice in found
