"""A truncated or filtered answer does not count, whatever its text; texts are clean wherever they come from."""

from __future__ import annotations

import hashlib

import pytest

from extract.answers.endings import is_answer
from extract.answers.request import Response
from extract.text import clean_text, shortened
from relope_jax.io import place as place_module
from relope_jax.io.files import write_bytes
from relope_jax.states.answers import Answers
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


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "content_filter", "SAFETY", "refusal"])
@pytest.mark.parametrize("samples", [0, 2])
def test_a_right_text_that_is_no_answer_is_not_graded(plan, server, reason, samples):
    server.control(patch={"choice": {"finish_reason": reason}})
    rows = ask(plan, server, splits=SPLIT, samples=samples).table.to_pylist()
    assert {(row["final_answer"], row["label"], row["finish_reason"]) for row in rows} == {("", 0, reason)}
    assert all(row["response"] for row in rows)


def test_a_call_of_a_tool_is_graded_where_it_has_a_text(plan, server):
    server.control(patch={"choice": {"finish_reason": "tool_calls"}})
    assert ask(plan, server, splits=SPLIT).table["label"].to_pylist() == [1, 1, 0]
    server.control(patch={"choice": {"finish_reason": "tool_calls"}, "message": {"content": None}})
    assert ask(plan, server, splits=SPLIT, name="none", seed=1).table["label"].to_pylist() == [0, 0, 0]


def test_a_cut_off_confidence_is_no_statement(plan, server):
    server.control(patch={"message": {"content": "85"}})
    assert ask(plan, server, splits=SPLIT, ask="confidence").table["final_answer"].to_pylist() == ["85"] * 3
    server.control(patch={"message": {"content": "85"}, "choice": {"finish_reason": "length"}})
    table = ask(plan, server, splits=SPLIT, ask="confidence", name="cut", seed=1).table
    assert table["final_answer"].to_pylist() == [""] * 3
    assert table["label"].to_pylist() == [1] * 3  # the label of the answer in question


@pytest.mark.parametrize(("reason", "text", "whole"), [("stop", "a", True), ("", "a", True), ("stop", " \n", False),
                         ("length", "a", False), ("tool_calls", "a", True), ("tool_calls", "", False)])  # fmt: skip
def test_what_an_answer_is(reason, text, whole):
    assert is_answer(reason, text) == whole


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain \t text\r\n\u00e9 \u4e2d \U0001f600", "plain \t text\r\n\u00e9 \u4e2d \U0001f600"),
        ("\x1b[1;31mred\x1b[0m", "red"), ("\x9b31mred", "red"), ("\x1b]0;title\x07red", "red"),
        ("\x1b]8;;http://x\x1b\\red\x1b]8;;\x1b\\", "red"), ("\x1bPq#0\x1b\\red", "red"), ("\x1b(Bred\x1bc", "red"),
        ("\x1b", ""), ("a\x1b[", "a"), ("re\0d\x07\x08\x7f\x80\x9f", "red"), ("a\x0bb\x0cc\x85d", "a\nb\nc\nd"),
        ("\u202eder\u202c\u2066x\u2069", "derx"), ("\u200e\u200f", "\u200e\u200f"), ("a\ud83d", "a\ufffd"),
        ("\x1b]0;never ends\nred", "0;never ends\nred"), ("\x1b\x1b[31m[31mred", "[31mred"),
    ],
)  # fmt: skip
def test_clean_text(text, clean):
    assert clean_text(text) == clean
    assert clean_text(clean) == clean
    Response(clean, None, None, None, "stop", "", "")
    if text != clean:
        with pytest.raises(ValueError, match="control characters"):
            Response(text, None, None, None, "stop", "", "")


def test_cleaning_takes_no_more_than_linear_time():
    for piece in ("\x9d", "\x1b]", "\x1b[", "\x9b1;", "\x1b ", "\x90x"):
        assert "\x1b" not in clean_text(piece * 300_000)


def test_messages_are_clean_too():
    assert shortened("bad \x1b[31mred\x1b[0m \u202e word\x00") == "bad red word"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}, (5, 1)),
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 9}, (5, 1)),  # hidden reasoning
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 5}, (None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 0}, (None, None)),
        ({"prompt_tokens": 5.5, "completion_tokens": 1}, (None, 1)),
        ({"prompt_tokens": -5, "completion_tokens": 1}, (None, 1)),
    ],
)
def test_token_counts_that_cannot_be_are_unknown(plan, server, usage, counts):
    server.control(patch={"reply": {"usage": usage}})
    (row, *_) = ask(plan, server, splits=SPLIT, price_in=2.0).table.to_pylist()
    assert (row["prompt_tokens"], row["completion_tokens"]) == counts
    assert (row["cost"] is None) == (None in counts)


def test_a_kill_between_table_and_sidecar_leaves_the_old_answers(plan, server, monkeypatch):
    server.control(refuse="number 4")
    first = ask(plan, server)
    server.control()

    def killed(path, data):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr(place_module.files, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(plan, server)
    monkeypatch.undo()
    assert len(list((plan.store / "answers").glob("large-*.parquet"))) == 2
    assert Answers.load(plan.store, "large").table == first.table
    whole = ask(plan, server)
    assert len(whole.table) == 10
    (path,) = (plan.store / "answers").glob("*.parquet")
    assert path.name == whole.settings["table"] == f"large-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.parquet"


def test_old_tables_of_another_name_stay(plan, server):
    ask(plan, server, name="a", splits=SPLIT)
    ask(plan, server, name="a-0123456789ab", splits=SPLIT)
    server.control(refuse="number 5")
    ask(plan, server, name="b", splits=SPLIT, seed=1)
    server.control()
    ask(plan, server, name="b", splits=SPLIT, seed=1)
    assert [len(Answers.load(plan.store, name).table) for name in ("a", "a-0123456789ab", "b")] == [3, 3, 3]
