"""A run trained on other datasets than the one it is tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import pipeline
from experiments.configs import base
from experiments.runs.plan import plan_run
from tests.relope_jax.states.test_joined import shared, write


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The stores exist already, one for every dataset."""
    config = base.get_config()
    config.store, config.stores = str(tmp_path / "target"), str(tmp_path)
    config.train_on = ("jsonl=one.jsonl", "chartqa=second")
    plan = plan_run(config)
    assert [(source.dataset.name, source.dataset.path) for source in plan.sources] == [
        ("jsonl", "one.jsonl"),
        ("chartqa", "second"),
    ]
    here = dict(zip((plan.target, *plan.sources), ("target", "one", "second"), strict=True))
    monkeypatch.setattr(pipeline, "open_one", lambda store: pipeline.Store(tmp_path / here[store]))
    return plan


def test_what_two_sides_share_is_left_out_and_counted(plan, tmp_path: Path, capsys):
    write(tmp_path, "target", contents=shared("target", _2="x", _5="y"))
    write(tmp_path, "one", contents=shared("one", _0="x", _3="x"))
    write(tmp_path, "second", contents=shared("second", _1="y"))
    store = pipeline.open_store(plan.target, plan.sources)
    assert len(store.rows("train")) == 2
    assert "a later split has their image or question: 2 train, 1 validation prompts" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_is_shared(plan, tmp_path: Path, capsys):
    for name in ("target", "one", "second"):
        write(tmp_path, name)
    assert len(pipeline.open_store(plan.target, plan.sources).rows("train")) == 4
    assert capsys.readouterr().out == ""
