"""Incomplete answers are counted in one line; odd grading and a read-only store lose no paid answer."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from extract.answers.endings import CUT_OFF, FAILED, FILTERED, PLAIN, TOOL_CALL, count_endings, incomplete_line, kind_of
from extract.answers.request import token_limit
from extract.datasets import DATASETS
from extract.datasets.jsonl import JSONL
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.answers import answer_names
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


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (PLAIN, ["stop", "", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "unknown", "\u505c"]),
        (CUT_OFF, ["length", "repetition_truncation", "incomplete", "max_tokens", "MAX_TOKENS",
                   "model_length", "max_output_tokens",
                   "model_context_window_exceeded", "token limit"]),
        (FILTERED, ["content_filter", "content-filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "refusal",
                    "sensitive", "guardrail_intervened", "BLOCKLIST"]),
        (TOOL_CALL, ["tool_calls", "function_call", "tool_use", "toolUse"]),
        (FAILED, ["error", "ERROR", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "timed_out",
                  "TimeOut", "network_error", "insufficient_system_resource", "engine_overloaded", "interrupted",
                  "server error"]),
    ],
)  # fmt: skip
def test_words_of_every_server_have_one_meaning(kind, reasons):
    assert {reason: kind_of(reason) for reason in reasons} == dict.fromkeys(reasons, kind)


def test_one_line_counts_all_kinds():
    answers = [("length", ""), ("max_tokens", "a"), ("content_filter", " \n"), ("tool_calls", ""), ("stop", "")]
    line = incomplete_line(count_endings([*answers, ("stop", "red"), ("", "red")]), "answers.max_tokens=5", "raise it")
    assert line == (
        "2 of 7 answers were cut off at answers.max_tokens=5 and count as no answer (1 of them empty): raise it; "
        "1 of 7 answers were stopped by the server's content filter and count as no answer (1 of them empty); "
        "1 of 7 answers call a tool (1 of them empty); 1 of 7 answers are empty"
    )
    assert incomplete_line(count_endings([("stop", "red"), ("", "blue")]), "x", "y") == ""


@pytest.mark.parametrize(
    ("extra", "setting", "limit"),
    [
        ("", "answers.max_tokens", ("answers.max_tokens=512", "raise it with --config.answers.max_tokens=...")),
        ("", "inputs.max_tokens", ("inputs.max_tokens=512", "raise it with --config.inputs.max_tokens=...")),
        ("", "", ("512 tokens", "")),
        (
            '{"max_tokens": 9}',
            "answers.max_tokens",
            ("max_tokens=9 of answers.extra", "raise it in --config.answers.extra"),
        ),
        (
            '{"max_tokens": null, "max_completion_tokens": 4096}',
            "answers.max_tokens",
            ("max_completion_tokens=4096 of answers.extra", "raise it in --config.answers.extra"),
        ),
        (
            '{"max_tokens": null}',
            "answers.max_tokens",
            ("the server's own limit", "set one with --config.answers.extra"),
        ),
    ],
)
def test_the_limit_is_named_where_it_was_set(extra, setting, limit):
    assert token_limit(AnswerSpec(extra=extra), setting) == limit


@pytest.mark.parametrize(
    ("patch", "line", "counts"),
    [
        pytest.param(
            {"message": {"content": None, "reasoning_content": "blue"}, "choice": {"finish_reason": "length"}},
            "3 of 3 answers were cut off at answers.max_tokens=512 and count as no answer (3 of them empty): raise it "
            "with --config.answers.max_tokens=...",
            {"cut_off": 3, "filtered": 0, "tool_calls": 0, "empty": 3},
            id="C36-length",
        ),
        pytest.param(
            {"choice": {"finish_reason": "length"}},
            "3 of 3 answers were cut off at answers.max_tokens=512 and count as no answer: raise it with "
            "--config.answers.max_tokens=...",
            {"cut_off": 3, "filtered": 0, "tool_calls": 0, "empty": 0},
            id="C36-length-with-text",
        ),
        pytest.param(
            {"message": {"content": None}, "choice": {"finish_reason": "content_filter"}},
            "3 of 3 answers were stopped by the server's content filter and count as no answer (3 of them empty)",
            {"cut_off": 0, "filtered": 3, "tool_calls": 0, "empty": 3},
            id="C36-filter",
        ),
        pytest.param(
            {"message": {"content": None, "tool_calls": [{"id": "1"}]}, "choice": {"finish_reason": "tool_calls"}},
            "3 of 3 answers call a tool (3 of them empty)",
            {"cut_off": 0, "filtered": 0, "tool_calls": 3, "empty": 3},
            id="tool-calls",
        ),
        pytest.param(
            {"message": {"content": " "}},
            "3 of 3 answers are empty",
            {"cut_off": 0, "filtered": 0, "tool_calls": 0, "empty": 3},
            id="empty",
        ),
        pytest.param({}, "", {"cut_off": 0, "filtered": 0, "tool_calls": 0, "empty": 0}, id="whole"),
    ],
)
def test_answers_that_are_not_whole_are_counted_in_one_line(plan, server, capsys, patch, line, counts):
    server.control(patch=patch)
    for _ in range(2):  # the second time from the cache
        answers = ask(plan, server, splits=SPLIT)
        said = [text for text in capsys.readouterr().out.splitlines() if re.match(r"\d+ of 3 answers", text)]
        assert said == ([line] if line else [])
        assert answers.settings.items() >= counts.items()
        assert len(answers.table) == 3
    assert server.stats["requests"] == 3


@pytest.mark.parametrize(
    "result", [ValueError("bad\nnews"), RecursionError(), KeyError("x"), ReLopeError("no"), None, 3, b"blue"], ids=repr
)
def test_an_answer_that_cannot_be_graded_is_left_out_and_named(plan, server, monkeypatch, capsys, result):
    def odd(sample, response):
        if sample.sample_id != "q5":
            return JSONL.final_answer(sample, response)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setitem(DATASETS, "jsonl", dataclasses.replace(JSONL, final_answer=odd))
    answers = ask(plan, server, splits=SPLIT)
    assert answers.table["sample_id"].to_pylist() == ["q2", "q8"]
    (entry,) = answers.settings["left_out"]
    assert (entry["sample_id"], entry["answer"]) == ("q5", "direct 0")
    assert entry["reason"].startswith("cannot be graded: ")
    assert "\n" not in entry["reason"]
    assert "left out q5: cannot be graded" in capsys.readouterr().out
    monkeypatch.undo()
    assert len(ask(plan, server, splits=SPLIT).table) == 3


def test_a_grader_that_fails_at_every_answer_gives_one_line(plan, server, monkeypatch):
    def fail(*_):
        raise ValueError("no such reference")

    monkeypatch.setitem(DATASETS, "jsonl", dataclasses.replace(JSONL, grade=fail))
    with pytest.raises(ReLopeError, match=r"no answer could be graded; the last, q8: .*no such reference"):
        ask(plan, server, splits=SPLIT)
    assert answer_names(plan.store) == []


@pytest.mark.parametrize("cached", [False, True])
def test_a_store_that_takes_no_answers_is_refused_before_asking(plan, server, cached):  # M1
    if cached:
        ask(plan, server, splits=SPLIT)
        shutil.rmtree(plan.store / "answers")
        server.control()
    (plan.store / "answers").write_text("a file in the way")
    with pytest.raises(ReLopeError, match="nothing was asked, since the store could not take the answers: ") as error:
        ask(plan, server)
    assert "\n" not in str(error.value)
    assert server.stats["requests"] == 0


@pytest.fixture
def readable_folder():
    """A folder that another user may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_store_without_permission_is_refused_before_asking(server, readable_folder):  # M1
    plan = make_plan(readable_folder)
    (readable_folder / "cache").mkdir()
    (readable_folder / "cache").chmod(0o777)
    for path in [plan.store, *plan.store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    as_root = os.geteuid() == 0
    try:
        if as_root:
            os.seteuid(65534)  # root may write everywhere
        with pytest.raises(ReLopeError, match=r"nothing was asked, .*Permission denied"):
            ask(plan, server)
    finally:
        if as_root:
            os.seteuid(0)
        for path in [plan.store, *plan.store.rglob("*")]:
            path.chmod(0o755)
    assert server.stats["requests"] == 0
    assert len(ask(plan, server, splits=SPLIT).table) == 3
    assert [path.name for path in (plan.store / "answers").iterdir() if path.name.startswith(".")] == []
