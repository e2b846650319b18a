"""Odd replies of a real local server: which are retried, left out, cached, and never cached."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3

import pytest

from relope_jax.errors import ReLopeError
from tests.extract.answers.asking import THOUGHT, ask, completion, made_ready, make_plan, running_server
from tests.extract.answers.openai_server import REMOVED

SPLIT = ("test",)  # q2 and q5, both blue, and q8
NAN = float("nan")


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


BAD = {
    "C31-int": {"patch": {"message": {"content": 3}}},
    "C31-object": {"patch": {"message": {"content": {"text": "blue"}}}},
    "C35-error": {"patch": {"message": {"content": ""}, "choice": {"finish_reason": "error"}}},
    "C35-abort": {"patch": {"choice": {"finish_reason": "abort"}}},
    "C35-cancelled": {"patch": {"choice": {"finish_reason": "CANCELLED"}}},
    "C35-resources": {"patch": {"choice": {"finish_reason": "insufficient_system_resource"}}},
    "C35-network": {"patch": {"choice": {"finish_reason": "network_error"}}},
    "choice-error": {"patch": {"choice": {"error": {"code": 502, "message": "upstream"}, "message": REMOVED}}},
    "error-in-200": {"patch": {"reply": {"error": {"message": "try later", "code": 503}, "choices": REMOVED}}},
    "no-choices": {"patch": {"reply": {"choices": []}}},
    "choices-object": {"patch": {"reply": {"choices": {}}}},
    "null-message": {"patch": {"choice": {"message": None}}},
    "html": {"raw": {"text": "<html><title>Welcome</title></html>", "headers": {"Content-Type": "text/html"}}},
    "plain": {"raw": {"text": "ok", "headers": {"Content-Type": "text/plain"}}},
    "empty": {"raw": {"text": ""}},
    "204": {"raw": {"status": 204}},
    "stream": {"raw": {"text": 'data: {"choices": []}\n\n', "headers": {"Content-Type": "text/event-stream"}}},
    "cut-off-body": {"raw": {"text": json.dumps(completion()), "cut": 20}},
    "bad-gzip": {"raw": {"text": json.dumps(completion()), "headers": {"Content-Encoding": "gzip"}}},
    "bad-charset": {"raw": {"status": 500, "text": "ab", "headers": {"Content-Type": "text/html; charset=hex"}}},
    "odd-charset": {"raw": {"status": 500, "text": "ab", "headers": {"Content-Type": "text/html; charset=undefined"}}},
    "bad-length": {"raw": {"text": "{}", "headers": {"Content-Length": "x"}}},
    "bad-gateway": {"raw": {"status": 502, "text": "<html><title>502 Bad Gateway</title>" + "x" * 5000}},
    "unknown-status": {"raw": {"status": 599, "text": ""}},
    "conflict": {"raw": {"status": 409, "text": '{"detail": [{"loc": ["body"], "msg": "busy"}]}'}},
}


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD)
def test_a_bad_reply_is_tried_again(plan, server, fault):
    server.control(**fault, times=2)
    answers = ask(plan, server, splits=SPLIT)
    assert answers.table["response"].to_pylist() == ["blue"] * 3
    assert answers.settings["left_out"] == []
    assert server.stats["requests"] == 3 + 2


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("fault", BAD.values(), ids=BAD)
def test_a_question_with_bad_replies_alone_is_left_out_and_never_cached(plan, server, capsys, fault, concurrency):
    server.control(**fault, only="number 5")
    for requests in (2 + 2 + 1, 2 + 1):  # 1: one more try at the end. In the second run the others are cached
        before = server.stats["requests"]
        answers = ask(plan, server, splits=SPLIT, retries=1, concurrency=concurrency)
        assert answers.has(["q2", "q5", "q8"]).tolist() == [True, False, True]
        (entry,) = answers.settings["left_out"]
        assert entry["sample_id"] == "q5"
        assert len(entry["reason"]) <= 300
        assert server.stats["requests"] - before == requests
    server.control()
    assert ask(plan, server, splits=SPLIT).has(["q2", "q5", "q8"]).all()
    assert server.stats["requests"] == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) < 500


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD)
def test_a_server_with_bad_replies_alone_gives_one_line(plan, server, fault):
    server.control(**fault)
    with pytest.raises(
        ReLopeError, match=r"no question was answered; the first, q\d: no answer after 2 tries"
    ) as error:
        ask(plan, server, splits=SPLIT, retries=1)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    server.control()
    assert ask(plan, server, splits=SPLIT).settings["answers"] == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"raw": {"status": 401, "text": "no"}}, r"asks for a key \(status 401\)"),
        ({"patch": {"reply": {"error": {"code": 401, "message": "no"}}}}, r"asks for a key \(status 401\)"),
        ({"patch": {"reply": {"error": {"code": 404, "message": "gone"}}}}, r"answers with status 404 \(.*gone\)"),
        ({"patch": {"reply": {"error": {"code": 402, "message": "pay"}}}}, r"answers with status 402: .*pay"),
        ({"patch": {"reply": {"error": {"code": 429, "message": "slow"}}}}, "no question was answered.*slow; see"),
        (
            {"patch": {"reply": {"error": {"type": "insufficient_quota", "message": "pay"}}}},
            "pay; what was answered is kept, run the same command later",
        ),
        ({"raw": {"status": 404, "text": "<html><title>404 Not Found</title>"}}, r"status 404 \(404 Not Found\)"),
        ({"raw": {"status": 418, "text": ""}}, "answers with status 418: status 418 I'm a Teapot"),
        *(
            (
                {"raw": {"status": status, "headers": {"Location": "/v1/chat/completions?token=sk-secret"}}},
                rf"redirects to /v1/chat/completions \(status {status}\): give that address as the base_url",
            )
            for status in (301, 302, 307, 308)
        ),
        ({"raw": {"status": 304}}, r"status 304"),
        ({"raw": {"status": 429, "headers": {"Retry-After": "1e308"}}}, r"asks to wait 1e\+308 seconds"),
        ({"raw": {"status": 503, "headers": {"Retry-After": "inf"}}}, "asks to wait inf seconds"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_no_other_try_changes_ends_the_run(plan, server, fault, message):
    server.control(**fault)
    with pytest.raises(ReLopeError, match=message) as error:
        ask(plan, server, splits=SPLIT, retries=1)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("wait", ["-5", "nan", "never", "Wed, 21 Oct 2015 07:28:00"])
def test_odd_retry_after_does_not_stop_the_run(plan, server, wait):
    server.control(raw={"status": 429, "headers": {"Retry-After": wait}}, times=1)
    assert ask(plan, server, splits=SPLIT).settings["answers"] == 3


@pytest.mark.parametrize("code", [400, 413, 422, "context_length_exceeded"])
def test_an_error_in_a_reply_that_refuses_the_question_is_not_tried_again(plan, server, code):
    server.control(patch={"reply": {"error": {"code": code, "message": "too long"}}}, only="number 5")
    (entry,) = ask(plan, server, splits=SPLIT).settings["left_out"]
    assert entry["reason"].startswith("refused (4")
    assert entry["reason"].endswith("too long")
    assert server.stats["requests"] == 3


def test_a_forbidden_question_is_left_out_when_there_is_a_key(plan, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key")
    server.control(raw={"status": 403, "text": "<html><title>Flagged for sk-a-key</title>"}, only="number 5")
    (entry,) = ask(plan, server, splits=SPLIT).settings["left_out"]
    assert entry["reason"] == "refused (403): Flagged for ***"


def test_the_key_is_in_no_reason_even_where_a_reason_is_cut(plan, server, monkeypatch, capfd):
    key = "sk-" + "very-secret-" * 10
    monkeypatch.setenv("OPENAI_API_KEY", key)
    texts = [f"{'x' * n}{key}" for n in (0, 85, 150, 210, 250, 290)]
    texts += [f"<html><title>{'x' * 280}{key}</title>", json.dumps([{"msg": f"{'y' * 290}{key}"}])]
    texts += [json.dumps({"odd": f"{'y' * 270}{key}"})]
    for text in texts:
        for status in (200, 400, 500):
            server.control(raw={"status": status, "text": text}, only="number 5")
            (entry,) = ask(plan, server, splits=SPLIT, retries=1).settings["left_out"]
            assert "very" not in entry["reason"]
    assert "very" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"status": 502, "text": "<html><title>502 Bad Gateway</title>" + "x" * 5000}, "502 Bad Gateway"),
        ({"status": 502, "text": "no healthy upstream\n"}, "no healthy upstream"),
        ({"status": 502, "text": ""}, "status 502 Bad Gateway"),
        ({"status": 503, "text": '[{"error": {"message": "busy"}}]'}, "busy"),
        ({"status": 422, "text": '{"detail": [{"loc": ["body", "n", 0], "msg": "too\\nbig"}]}'}, "body.n.0: too big"),
        ({"status": 400, "text": "[" * 100_000}, "[" * 200),
        ({"status": 500, "text": json.dumps("z" * 100_000)}, "z" * 200),
        (
            {"text": "<html><title>Sign in</title>"},
            "does answers.base_url end in /v1?) but says: Sign in",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_reason_is_one_short_line_of_the_servers_words(plan, server, raw, reason):
    server.control(raw=raw, only="number 5")
    (entry,) = ask(plan, server, splits=SPLIT, retries=0).settings["left_out"]
    assert reason in entry["reason"]
    assert len(entry["reason"]) <= 300
    assert "\n" not in entry["reason"]


def test_a_reply_that_never_ends_is_given_up(plan, server, monkeypatch):
    drip = {"text": "", "headers": {"Content-Length": 10_000}, "drip": 0.1}
    server.control(raw=drip, only="number 5")
    (entry,) = ask(plan, server, splits=SPLIT, retries=1, timeout=0.5).settings["left_out"]
    assert entry["reason"] == "no answer after 2 tries: the reply did not end within 0.5 seconds"
    monkeypatch.setenv("RELOPE_MAX_REPLY_MB", "1")
    server.control(patch={"message": {"content": "x" * 2**20}}, only="number 8")
    (entry,) = ask(plan, server, splits=SPLIT, retries=1, max_tokens=9, name="other").settings["left_out"]
    assert entry["reason"] == "no answer after 2 tries: the reply is longer than 1048576 bytes (RELOPE_MAX_REPLY_MB)"


def test_gzip_and_other_encodings_are_read(plan, server):
    data = base64.b64encode(gzip.compress(b"\xef\xbb\xbf" + json.dumps(completion("blue \ud83d")).encode())).decode()
    server.control(raw={"base64": data, "headers": {"Content-Encoding": "gzip", "Content-Type": "text/plain"}})
    assert ask(plan, server, splits=SPLIT).table["response"].to_pylist() == ["blue \ufffd"] * 3


ODD = {
    "C31-chunks": {"message": {"content": [THOUGHT, {"type": "text", "text": "blue"}]}},
    "C32-surrogate": {"message": {"content": "blue \ud83d"}, "reply": {"system_fingerprint": "f\udc00"}},
    "C33-null": {"choice": {"logprobs": {"content": [{"token": "blue", "logprob": None}]}}},
    "C33-nan": {"choice": {"logprobs": {"content": [{"token": "blue", "logprob": NAN}]}}},
    "null-finish": {"choice": {"finish_reason": None}},
    "M7-usage": {"reply": {"usage": {"prompt_tokens": 40.0, "completion_tokens": 2.0}}},
    "no-usage": {"reply": {"usage": REMOVED}},
    "odd-usage": {"reply": {"usage": {"prompt_tokens": "40", "completion_tokens": -2}}},
    "huge-usage": {"reply": {"usage": {"prompt_tokens": 10**15, "completion_tokens": 1e30}}},
    "odd-model": {"reply": {"model": 3, "system_fingerprint": ["f"]}},
}


@pytest.mark.parametrize("patch", ODD.values(), ids=ODD)
def test_flaws_beside_the_answer_cost_nothing(plan, server, capsys, patch):
    server.control(patch=patch)
    answers = ask(plan, server, splits=SPLIT, price_in=1.0)
    assert {response[:4] for response in answers.table["response"].to_pylist()} == {"blue"}
    assert server.stats["requests"] == 3
    if patch is ODD["M7-usage"]:
        assert "120 prompt and 6 answer tokens" in capsys.readouterr().out
    again = ask(plan, server, splits=SPLIT, price_in=1.0)
    assert again.table == answers.table
    assert server.stats["requests"] == 3


@pytest.mark.parametrize(
    "entry",
    ["", "{", "3", "null", "[1]", "{}", '{"text": 1}', "{{whole}, \"other\": 1}", "[" * 10_000, b"\xff\xfe", 7, 1.5,
     '{"text": ["blue"]}', '{"text": "\\ud83d"}', '{"prompt_tokens": 40.0}', '{"completion_tokens": -1}',
     '{"token_logprobs": [NaN]}', '{"token_logprobs": [null]}', '{"finish_reason": "error"}', '{"model": null}'],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_cache_entry_that_is_no_response_is_asked_again(plan, server, entry):
    first = ask(plan, server, splits=SPLIT)
    cache = plan.store.parent / "cache" / "answers.sqlite"
    with sqlite3.connect(cache) as rows:
        keys = rows.execute("SELECT key, response FROM responses").fetchall()
        if isinstance(entry, str) and entry.startswith('{"'):  # one field of a good response is broken
            entry = json.dumps(json.loads(keys[0][1]) | json.loads(entry))
        rows.execute("UPDATE responses SET response = ? WHERE key = ?", (entry, keys[0][0]))
    rows.close()
    server.control()
    assert ask(plan, server, splits=SPLIT).table == first.table
    assert server.stats["requests"] == 1
    ask(plan, server, splits=SPLIT)
    assert server.stats["requests"] == 1


def test_a_server_that_goes_bad_for_good_ends_the_run(plan, server, monkeypatch):
    monkeypatch.setattr("extract.answers.collect.FEW", 1)
    server.control(patch={"choice": {"finish_reason": "error"}}, only="number")
    with pytest.raises(ReLopeError, match=r"4 questions in a row got no answer, the last, q\d: .*continues from there"):
        ask(plan, server, concurrency=1, retries=0)
