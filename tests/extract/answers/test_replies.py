"""From a raw reply to a checked response: every type that a server may send."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from extract.answers.failure import Failure, retry_after, said
from extract.answers.reply import read_reply
from extract.text import shortened
from tests.extract.answers.asking import THOUGHT, completion

NAN, INFINITY = float("nan"), float("inf")


def read(reply: object) -> object:
    return read_reply(json.dumps(reply).encode(), {})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("blue", "blue", id="text"),
        pytest.param(None, "", id="null"),
        pytest.param([THOUGHT, {"type": "text", "text": "blue"}], "blue", id="C31-mistral"),
        pytest.param([{"type": "text", "text": "bl"}, {"type": "text", "text": "ue"}], "blue", id="C31-joined"),
        pytest.param([{"type": "reasoning", "text": "red?"}, {"type": "text", "text": "blue"}], "blue", id="reasoning"),
        pytest.param([{"type": "reference", "reference_ids": [1]}, {"text": "blue"}], "blue", id="unknown-kind"),
        pytest.param([{"type": "output_text", "text": "blue", "annotations": []}], "blue", id="responses"),
        pytest.param([{"type": "text", "text": {"value": "blue"}}], "blue", id="assistants"),
        pytest.param(["bl", None, 3, "ue"], "blue", id="strings"),
        pytest.param([{"text": "red?", "thought": True}, {"text": "blue"}], "blue", id="google-thought"),
        pytest.param([{"type": "refusal", "refusal": "I cannot"}], "I cannot", id="refusal-chunk"),
        pytest.param([{"type": ["text"], "text": "red"}, {"type": "text", "text": None}], "", id="odd-types"),
        pytest.param([], "", id="empty-list"),
        pytest.param([THOUGHT], "", id="thoughts-only"),
        pytest.param("blue \ud83d", "blue \ufffd", id="C32-high"),
        pytest.param("\udc00blue", "\ufffdblue", id="C32-low"),
        pytest.param([{"type": "text", "text": "blue\ud83d"}], "blue\ufffd", id="C32-in-a-chunk"),
        pytest.param("\U0001f600 blue", "\U0001f600 blue", id="a-whole-pair"),
        pytest.param("blue\0", "blue", id="nul"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colours"),
        pytest.param([{"type": "text", "text": "\u202eeulb"}], "eulb", id="right-to-left-override"),
        pytest.param("x" * 3_000_000, "x" * 3_000_000, id="megabytes"),
    ],
)
def test_content_becomes_text(content, text):
    assert read(completion(content)).text == text


@pytest.mark.parametrize(
    "content", [3, 1.5, True, {"type": "text", "text": "blue"}, {}, [{"type": "text", "text": 3}]], ids=repr
)
def test_content_of_another_type_is_no_answer(content):
    with pytest.raises(Failure, match="content is not text but of type"):
        read(completion(content))


@pytest.mark.parametrize("error", [None, "", {}, {"code": None, "message": None}, {"code": 0, "message": "success"}])
def test_an_error_field_that_says_that_all_went_well_is_no_error(error):
    assert read(completion("blue") | {"error": error}).text == "blue"


def test_a_refusal_is_the_answer_when_there_is_no_other():
    def message(content: object, refusal: object) -> dict:
        return completion(message={"content": content, "refusal": refusal})

    assert read(message(None, "I cannot \ud83d")).text == "I cannot \ufffd"
    assert read(message([THOUGHT], "no")).text == "no"
    assert read(message("blue", "no")).text == "blue"
    assert read(message(None, {"why": 1})).text == ""
    assert read(completion(message={})).text == ""
    assert read(completion(None, message={"content": None, "reasoning_content": "blue"})).text == ""


@pytest.mark.parametrize(
    ("tokens", "logprobs"),
    [
        pytest.param([{"logprob": -0.5}, {"logprob": 0}], [-0.5, 0.0], id="good"),
        pytest.param([{"logprob": -9999.0}], [-9999.0], id="openai-floor"),
        pytest.param([{"logprob": 1e-4}], [1e-4], id="rounding"),
        *(
            pytest.param([{"logprob": -0.5}, {"logprob": value}], None, id=f"C33-{value}")
            for value in (None, NAN, INFINITY, -INFINITY, "-0.5", [], True, 0.5, 1e300, -1e300, 10**400)
        ),
        pytest.param([{"logprob": -0.5}, {"token": "x"}], None, id="missing"),
        pytest.param([None], None, id="null-token"),
        pytest.param([-0.5], None, id="bare-number"),
        pytest.param([], None, id="no-tokens"),
        pytest.param(None, None, id="null"),
        pytest.param({"0": {"logprob": -0.5}}, None, id="object"),
    ],
)
def test_flawed_logprobs_never_cost_the_answer(tokens, logprobs):
    response = read(completion(logprobs={"content": tokens}))
    assert (response.text, response.token_logprobs) == ("blue", logprobs)
    for odd in ("yes", 1, [], [{"logprob": -1.0}], {"token_logprobs": [None, -1]}):
        assert read(completion(logprobs=odd)).token_logprobs is None


@pytest.mark.parametrize(
    ("count", "kept"),
    [(40, 40), (40.0, 40), (40.4, None), (2.5, None), (-0.5, None),
     (0, 0), ("40", None), (-1, None), (None, None), (NAN, None), (INFINITY, None),
     (True, None), ([40], None), (10**12, None), (10**400, None), (1e300, None)],
    ids=repr,
)  # fmt: skip
def test_token_counts_are_whole_numbers_or_unknown(count, kept):
    response = read(completion() | {"usage": {"prompt_tokens": count, "completion_tokens": 3}})
    assert response.prompt_tokens == kept
    assert type(response.prompt_tokens) is type(kept)
    assert response.completion_tokens == 3


@pytest.mark.parametrize("usage", [None, [], "3", {}, 7], ids=repr)
def test_a_reply_without_usage_is_an_answer(usage):
    response = read(completion() | {"usage": usage})
    assert (response.text, response.prompt_tokens, response.completion_tokens) == ("blue", None, None)


@pytest.mark.parametrize("value", [None, 3, ["m"], {"name": "m"}, True], ids=repr)
def test_names_of_another_type_are_left_empty(value):
    response = read(completion(finish_reason=value) | {"model": value, "system_fingerprint": value})
    assert (response.text, response.model, response.fingerprint, response.finish_reason) == ("blue", "", "", "")
    assert read(completion() | {"model": "m\ud800"}).model == "m\ufffd"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({}, "the reply holds no answer"),
        ({"choices": None}, "holds no answer"),
        ({"choices": []}, "holds no answer"),
        ({"choices": "blue"}, "holds no answer"),
        ({"choices": {"0": {"message": {"content": "blue"}}}}, "holds no answer"),
        ({"choices": [None]}, "holds no answer"),
        ({"choices": [["blue"]]}, "holds no answer"),
        ({"choices": [{"message": None}]}, "has no message"),
        ({"choices": [{"message": "blue"}]}, "has no message"),
        ({"choices": [{"text": "blue"}]}, "has no message"),
        ({"choices": [{"delta": {"content": "blue"}}]}, "has no message"),
        ([completion()], "not a chat completion"),
        ("blue", "not a chat completion .* but says: blue"),
        (None, "not a chat completion"),
        (3, "not a chat completion .* but says: 3"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_reply_of_another_shape_is_no_answer(reply, why):
    with pytest.raises(Failure, match=why) as failure:
        read(reply)
    assert failure.value.status is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the reply is empty"),
        (b" \n\n ", "the reply is empty"),
        (b"\xff\xfe\x00garbage", "not a chat completion"),
        (b'{"choices": [', "not a chat completion"),
        (b"[" * 100_000, "not a chat completion"),
        (b'{"a":' * 100_000, "not a chat completion"),
        (b'{"usage": ' + b"9" * 10_000 + b"}", "not a chat completion"),
        (
            b"<html><head><title>Sign in</title></head>" + b"<" * 100_000,
            r"does answers.base_url end in /v1\?\) but says: Sign in",
        ),
        (b'data: {"choices": []}\n\ndata: [DONE]\n\n', r"streams its reply.*\"stream\": false"),
        (b"\nevent: message\ndata: {}", "streams its reply"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_json_is_no_answer(data, why):
    start = time.monotonic()
    with pytest.raises(Failure, match=why) as failure:
        read_reply(data, {})
    assert len(shortened(failure.value)) <= 300
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf%s", id="byte-order-mark"),
        pytest.param(b"\n\n   %s\n", id="kept-alive-by-spaces"),
    ],
)
def test_what_surrounds_the_json_does_not_matter(data):
    assert read_reply(data % json.dumps(completion()).encode(), {}).text == "blue"


def test_bytes_that_are_no_utf8_are_replaced():
    data = json.dumps(completion("caf_ blue")).encode().replace(b"_", b"\xe9")
    assert read_reply(data, {}).text == "caf\ufffd blue"


def test_the_first_of_several_choices_counts():
    two = completion("blue")
    two["choices"].append(completion("red")["choices"][0])
    assert read(two).text == "blue"


@pytest.mark.parametrize("error", [None, "", {}, [], False, {"code": None, "message": None}], ids=repr)
def test_an_error_field_that_says_nothing_is_none(error):
    assert read(completion(error=error) | {"error": error}).text == "blue"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429, "message": "slow down"}, 429),
        ({"code": "429", "message": "slow down"}, 429),
        ({"code": 502.0, "message": "slow down"}, 502),
        ({"status": 503, "message": "slow down"}, 503),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, 429),
        ({"code": None, "type": "invalid_request_error", "message": "slow down"}, 400),
        ({"code": "content_filter", "message": "slow down"}, 400),
        ({"code": 1302, "message": "slow down"}, None),
        ({"code": [429], "message": "slow down"}, None),
        ({"code": True, "message": {"detail": [{"loc": ["a"], "msg": "slow down"}]}}, None),
        ("slow down", None),
        (["slow down"], None),
    ],
    ids=repr,
)
def test_an_error_in_a_reply_names_its_status(error, status):
    whole = {"object": "error", **(error if isinstance(error, dict) else {"message": error})}
    for reply in ({"error": error}, completion() | {"error": error}, completion(error=error), whole):
        with pytest.raises(Failure, match="slow down") as failure:
            read(reply)
        assert failure.value.status == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html><head><title>502 Bad\nGateway</title></head><body><h1>x</h1></body></html>", "502 Bad\nGateway"),
        ("<!DOCTYPE html><body><h1>Log in &amp; go</h1>", "Log in & go"),
        ("<html><body><p>Down</p></body></html>", "Down"),
        ("no healthy upstream", "no healthy upstream"),
        ("a < b", "a < b"),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]},
            "body.messages.0: field required",
        ),
        ({"detail": "Not Found"}, "Not Found"),
        ({"message": {"detail": "deep"}}, "deep"),
        ({"error": "plain"}, "plain"),
        ([{"error": {"code": 503, "message": "google's"}}], "google's"),
        ({"fault": 7}, '{"fault": 7}'),
        ("", ""),
        (None, ""),
        ({}, ""),
        ([], ""),
        (b"", "b''"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_words_of_an_error_body(body, words):
    assert said(body) == words


def test_a_deep_error_body_does_no_harm():
    deep: dict = {}
    for _ in range(5000):
        deep = {"error": deep}
    assert said({"x": deep, "message": deep}) == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-7", 0.0), ("nan", None), ("soon", None), ("", None), ("inf", INFINITY),
     ("-inf", 0.0), ("1e308", 1e308), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Wed, 99 Foo 2030", None)],
)  # fmt: skip
def test_retry_after(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize("zone", [" GMT", " -0000", "", " +0000"])
def test_retry_after_as_a_date_is_in_utc(zone, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=100)).removesuffix(" +0000")
        assert 95 < retry_after({"retry-after": date + zone}) <= 100
    finally:
        monkeypatch.undo()
        time.tzset()
