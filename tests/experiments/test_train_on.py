"""A run that is trained on other datasets than it is tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import pipeline
from experiments.configs import base
from tests.relope_jax.states.test_joined import shared, write


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The stores are there already: `store_NAME` for every dataset of the config."""
    config = base.get_config()
    config.dataset.name, config.train_on = "target", ("one=one.jsonl", "second")
    monkeypatch.setattr(pipeline, "open_one", lambda config: pipeline.Store(tmp_path / config.dataset.name))
    return config


def test_what_two_sides_share_is_left_out_and_counted(config, tmp_path: Path, capsys):
    write(tmp_path, "target", contents=shared("target", _2="x", _5="y"))
    write(tmp_path, "one", contents=shared("one", _0="x", _3="x"))
    write(tmp_path, "second", contents=shared("second", _1="y"))
    store = pipeline.open_store(config)
    assert len(store.rows("train")) == 2
    assert "a later split holds their image or question: 2 train, 1 validation prompts" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_is_shared(config, tmp_path: Path, capsys):
    for name in ("target", "one", "second"):
        write(tmp_path, name)
    assert len(pipeline.open_store(config).rows("train")) == 4
    assert capsys.readouterr().out == ""
