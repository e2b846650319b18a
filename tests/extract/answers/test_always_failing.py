"""Questions that always fail do not stop the others, and a server that answers almost nothing ends the job."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path

import pytest

from extract.answers import collect
from extract.plan import Extraction
from relope_jax.errors import ReLopeError
from relope_jax.states.answers import answer_names
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server, write_store


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


def many(tmp_path: Path, good: int, bad: int) -> Extraction:
    """A store of questions without images; the bad ones are adjacent."""
    names = [f"good{i}" for i in range(good // 2)] + [f"bad{i}" for i in range(bad)]
    names += [f"good{i}" for i in range(good // 2, good)]
    plan = make_plan(tmp_path)
    lines = [{"id": name, "question": f"Say {name}.", "answer": name} for name in names]
    Path(plan.dataset.path).write_text("\n".join(map(json.dumps, lines)))
    shutil.rmtree(plan.store)
    write_store(plan, names, seed=0)
    return plan


FOREVER = {
    "500": {"raw": {"status": 500, "text": "boom"}},
    "429": {"raw": {"status": 429, "text": "too many tokens in this request"}},
    "400": {"raw": {"status": 400, "text": "flagged"}},
    "403": {"raw": {"status": 403, "text": "flagged"}},
    "415": {"raw": {"status": 415, "text": "no such image type"}},
    "451": {"raw": {"status": 451, "text": "not here"}},
    "bad-reply": {"patch": {"message": {"content": 3}}},
    "silence": {"raw": {"text": "", "headers": {"Content-Length": 10_000}, "drip": 0.05}},
}


@pytest.mark.parametrize("fault", FOREVER.values(), ids=FOREVER)
def test_one_question_that_always_fails_is_left_out_at_every_run(plan, server, monkeypatch, fault):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    server.control(**fault, only="number 4")
    for run in range(3):
        answers = ask(plan, server, concurrency=8, retries=1, timeout=0.4)
        assert [entry["sample_id"] for entry in answers.settings["left_out"]] == ["q4"]
        assert len(answers.table) == 9
        if run == 0:
            asked = server.stats["requests"]
            assert 10 <= asked <= 12
    assert server.stats["requests"] <= 3 * asked - 2 * 9  # the others are never requested again
    server.control()
    assert ask(plan, server).settings["left_out"] == []
    assert server.stats["requests"] == 1


def test_a_block_of_bad_questions_does_not_stop_the_job(tmp_path, server, monkeypatch):
    """One broken picture with sixteen questions: asked in order, this many consecutive failures would end the job."""
    monkeypatch.setattr(collect, "FEW", 8)
    server.control(**{"break": "bad"})
    plan = many(tmp_path, good=40, bad=16)
    for _ in range(2):
        answers = ask(plan, server, concurrency=1, retries=0)
        assert len(answers.settings["left_out"]) == 16
        assert len(answers.table) == 40


def test_a_question_that_fails_at_first_is_asked_once_more_at_the_end(plan, server):
    server.control(patch={"message": {"content": 3}}, only="number 4", times=2)
    answers = ask(plan, server, retries=1)
    assert answers.settings["left_out"] == []
    assert server.stats["requests"] == 10 + 2


@pytest.mark.parametrize("status", [500, 429])
def test_a_server_that_answers_nothing_ends_the_job_soon(tmp_path, server, monkeypatch, status):
    monkeypatch.setattr(collect, "FEW", 2)
    server.control(raw={"status": status, "text": "down"})
    with pytest.raises(ReLopeError, match=r"\d questions in a row got no answer, .*down.*continues from there"):
        ask(many(tmp_path, good=100, bad=0), server, concurrency=2, retries=0)
    assert server.stats["requests"] < 20


def test_a_server_that_dies_in_the_middle_ends_the_job_and_keeps_what_was_answered(plan, tmp_path, monkeypatch):
    with running_server() as mortal:
        made_ready(mortal, monkeypatch)
        mortal.control(delay=0.05)
        ask(plan, mortal, splits=("test",), name="some")
        url = mortal.url
    start = time.monotonic()
    dead = type(mortal)(mortal.port)
    assert dead.url == url
    with pytest.raises(ReLopeError, match=r"failed 2 times in a row.*see that the server is running"):
        ask(plan, dead, retries=1)
    assert time.monotonic() - start < 5
    assert len(ask(plan, dead, splits=("test",), name="some").table) == 3  # from the cache


def test_less_than_half_of_the_answers_make_no_table(plan, server):
    server.control(raw={"status": 500, "text": "boom"}, only="number")
    with pytest.raises(ReLopeError, match=r"only 1 of 10 answers arrived, too few for a table; the first, q\d: .*boom"):
        ask(plan, server, retries=0)
    assert answer_names(plan.store) == []


def test_a_finished_table_is_never_made_worse(plan, server, tmp_path, capsys):
    first = ask(plan, server)
    server.control(refuse="number 4")
    again = ask(plan, server, cache=str(tmp_path / "another.sqlite"))  # the old cache is lost
    assert again.table == first.table
    assert again.settings == first.settings
    assert "are kept: they include 1 that this run could not get" in capsys.readouterr().out
    changed = dataclasses.replace(plan)
    server.control()
    assert ask(changed, server, cache=str(tmp_path / "another.sqlite")).table == first.table
