"""Answers from a real local server process: grades, faults, cache, cost, and what must never leave the machine."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest

from relope_jax.errors import ReLopeError
from relope_jax.states.answers import Answers, answer_names
from tests import ROOT
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server

KEY = "sk-very-secret-0123456789"


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


def test_answers_grades_and_costs(plan, server, capsys):
    answers = ask(plan, server, price_in=2.0, price_out=10.0)
    rows = answers.table.to_pylist()
    assert [row["sample_id"] for row in rows] == [f"q{i}" for i in range(10)]
    assert [row["response"] for row in rows] == [*["red", "green", "blue"] * 3, "yes"]
    assert [row["label"] for row in rows] == [1] * 8 + [0, 1]
    assert answers.labels(["q9", "q8", "q0"]).tolist() == [1, 0, 1]
    assert {(row["style"], row["index"], row["finish_reason"]) for row in rows} == {("direct", 0, "stop")}
    assert all(row["token_logprobs"] == [0.0] for row in rows)
    assert all(row["cost"] == pytest.approx((100 * 2.0 + 1 * 10.0) / 1e6) for row in rows)
    assert answers.settings["cost"] == pytest.approx(10 * 210e-6)
    assert (answers.settings["prompt_tokens"], answers.settings["completion_tokens"]) == (1000, 10)
    assert answers.settings["served_models"] == ["toy-large-2026"]
    assert answers.settings["fingerprints"] == ["fp_1"]
    assert answers.settings["accuracy"] == 0.9
    said = capsys.readouterr().out
    assert "accuracy 0.900 of 10 answers, 1000 prompt and 10 answer tokens, 0.0021 $" in said
    assert "this run paid for 10 of 10 answers: 0.0021 $" in said
    assert all(body["temperature"] == 0.0 and body["logprobs"] is True for body in server.stats["bodies"])
    assert answer_names(plan.store) == ["large"]


def test_second_run_asks_nothing(plan, server, capsys):
    first = ask(plan, server, price_in=1.0)
    server.control()
    second = ask(plan, server, price_in=1.0)
    assert server.stats["requests"] == 0
    assert second == dataclasses.replace(first, table=second.table)
    assert second.table == first.table
    assert "paid for 0 of 10 answers: 0 $" in capsys.readouterr().out


def test_sampled_answers_under_two_prompts(plan, server):
    answers = ask(plan, server, samples=2, temperature=0.7, splits=("test",))
    rows = answers.table.to_pylist()
    assert {row["sample_id"] for row in rows} == {"q2", "q5", "q8"}
    assert [(row["style"], row["index"]) for row in rows[:4]] == [
        ("direct", 0),
        ("direct", 1),
        ("steps", 0),
        ("steps", 1),
    ]
    assert [row["final_answer"] for row in rows[:4]] == ["blue", "purple", "blue", "purple"]
    assert [row["label"] for row in rows[:4]] == [1, 0, 1, 0]
    assert "I think so." in rows[2]["response"]
    assert answers.sampled("final_answer", "steps", ["q5", "none"]) == [["blue", "purple"], []]
    assert answers.has(["q5", "q0"]).tolist() == [True, False]
    assert {(body["temperature"], body["seed"]) for body in server.stats["bodies"]} == {(0.7, 0), (0.7, 1)}
    with pytest.raises(ReLopeError, match="are sampled, 2 per prompt"):
        answers.labels(["q5"])


def test_failures_that_pass_are_tried_again(plan, server, capsys):
    server.control(statuses=[429, 503, 500, 408, 409], retry_after=0.1, hang=1, drop=2)
    answers = ask(plan, server, timeout=1.0, retries=8)
    assert answers.settings["accuracy"] == 0.9
    assert server.stats["requests"] == 10 + 5 + 1 + 2
    said = capsys.readouterr().out
    assert "made to fail with 429; trying again" in said
    assert "no answer within 1 seconds; trying again" in said


def test_retry_after_is_honoured(plan, server):
    server.control(statuses=[429], retry_after=1)
    start = time.monotonic()
    ask(plan, server)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("faults", "changes", "message"),
    [
        (
            {"statuses": [503] * 99},
            {},
            r"no question was answered.*no answer after 4 tries: made to fail with 503; see that",
        ),
        ({"statuses": [429] * 99}, {}, r"made to fail with 429: .*lower answers.concurrency.*continues from there"),
        ({"statuses": [429] * 99, "retry_after": 9999}, {}, "asks to wait 9999 seconds"),
        (
            {"statuses": [429], "code": "insufficient_quota"},
            {},
            "made to fail with 429; what was answered is kept, run",
        ),
        ({"drop": 99}, {}, "no answer after 4 tries: .*disconnected.*see that the server works"),
        ({"hang": 99}, {"timeout": 0.1, "retries": 1}, "no answer within 0.1 seconds"),
        ({"key": KEY}, {}, r"asks for a key \(status 401\): set the environment variable OPENAI_API_KEY"),
        ({"key": KEY}, {"key_env": ""}, "name an environment variable with answers.key_env"),
        (
            {},
            {"model": "toy-larg"},
            r"no model 'toy-larg' \(did you mean 'toy-large'\?\); it offers: toy-large, toy-sm",
        ),
        ({}, {"model": ""}, "name the model with --config.answers.model=...; .* offers: toy-large, toy-small"),
        ({"statuses": [400] * 99}, {}, r"no question was answered; the first, q\d: refused \(400\): made to fail"),
        ({"statuses": [418] * 99}, {}, "answers with status 418: made to fail"),
        ({"body": {}}, {}, "no answer after 4 tries: the reply holds no answer"),
        ({"body": "<html>"}, {}, r"not a chat completion \(does answers.base_url end in /v1\?\) but says: <html>"),
        ({"body": {"choices": [1]}}, {}, "no answer after 4 tries: the reply holds no answer"),
    ],
)
def test_a_server_that_cannot_be_used_gives_one_line(plan, server, faults, changes, message):
    server.control(**faults)
    with pytest.raises(ReLopeError, match=message) as error:
        ask(plan, server, concurrency=2, **changes)
    assert "\n" not in str(error.value)
    assert answer_names(plan.store) == []


def test_no_server_and_a_wrong_path_give_one_line(plan, server):
    with pytest.raises(ReLopeError, match=r"failed 2 times in a row.*refused.*see that the server is running"):
        ask(plan, server, base_url="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(ReLopeError, match=r"status 404 \(Not Found\): does answers.base_url end in /v1"):
        ask(plan, server, base_url=server.url.removesuffix("/v1"))


def test_refused_question_is_left_out_and_tried_again(plan, server, capsys):
    server.control(refuse="number 4")
    answers = ask(plan, server)
    assert answers.settings["left_out"] == [
        {"sample_id": "q4", "answer": "direct 0", "reason": "refused (400): this question is not allowed"}
    ]
    assert answers.has(["q3", "q4"]).tolist() == [True, False]
    with pytest.raises(ReLopeError, match="lack 1 of 2 samples, the first 'q4'"):
        answers.labels(["q3", "q4"])
    assert "left out q4: refused (400)" in capsys.readouterr().out
    server.control()
    assert ask(plan, server).has(["q4"]).all()
    assert server.stats["requests"] == 1


def test_question_that_always_breaks_the_server_is_left_out(plan, server):
    server.control(**{"break": "number 4", "delay": 0.02})
    answers = ask(plan, server, concurrency=2)
    assert [entry["sample_id"] for entry in answers.settings["left_out"]] == ["q4"]
    assert "no answer after 4 tries: internal error" in answers.settings["left_out"][0]["reason"]


def test_unreadable_image_is_left_out(plan, server):
    (plan.store.parent / "3.png").write_bytes(b"\x89PNG not a picture")
    answers = ask(plan, server)
    assert [entry["sample_id"] for entry in answers.settings["left_out"]] == ["q3"]
    assert len(answers.table) == 9


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency_is_bounded_and_used(plan, server, concurrency):
    server.control(delay=0.05)
    ask(plan, server, concurrency=concurrency)
    assert server.stats["max_in_flight"] == concurrency


def test_server_without_logprobs_and_counts(plan, server, capsys):
    server.control(logprobs=False, usage=False)
    rows = ask(plan, server, price_in=1.0).table.to_pylist()
    assert all(row["token_logprobs"] is row["prompt_tokens"] is row["cost"] is None for row in rows)
    assert "10 answers came without token counts" in capsys.readouterr().out


def test_extra_fields_are_sent_and_null_removes_one(plan, server):
    ask(plan, server, extra='{"top_k": 20, "seed": null}', image_detail="low")
    body = server.stats["bodies"][0]
    assert body["top_k"] == 20
    assert "seed" not in body
    assert {
        piece["image_url"]["detail"]
        for b in server.stats["bodies"]
        for piece in b["messages"][0]["content"]
        if isinstance(piece, dict) and piece["type"] == "image_url"
    } == {"low"}


def test_other_settings_under_the_same_name_are_refused(plan, server):
    ask(plan, server)
    with pytest.raises(ReLopeError, match=r"model: 'toy-small' != 'toy-large'.*choose another"):
        ask(plan, server, model="toy-small")
    assert ask(plan, server, concurrency=2, price_in=5.0).settings["price_in"] == 5.0
    ask(plan, server, model="toy-small", name="other")
    assert answer_names(plan.store) == ["large", "other"]


def test_key_reaches_the_server_and_nothing_else(plan, server, monkeypatch, capfd):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    server.control(key=KEY)
    ask(plan, server, key_env="MY_KEY")
    assert set(server.stats["keys"]) == {f"Bearer {KEY}"}
    monkeypatch.setenv("MY_KEY", f"{KEY}-wrong")
    with pytest.raises(ReLopeError, match="refuses the key in the environment variable MY_KEY") as error:
        ask(plan, server, key_env="MY_KEY", name="again", model="toy-small")
    server.control(statuses=[503] * 99, echo=True)
    with pytest.raises(ReLopeError, match=r"Bearer \*\*\*") as echoed:
        ask(plan, server, key_env="MY_KEY", name="again", model="toy-small", retries=1)
    monkeypatch.setenv("MY_KEY", f"{KEY}\x01")
    with pytest.raises(ReLopeError, match="MY_KEY holds no valid key"):
        ask(plan, server, key_env="MY_KEY", name="again", model="toy-small")
    assert KEY not in f"{error.value} {echoed.value}"
    assert KEY not in "".join(capfd.readouterr())
    written = [path for path in plan.store.parent.rglob("*") if path.is_file()]
    assert any(path.name == "answers.sqlite" for path in written)
    assert not any(KEY.encode() in path.read_bytes() for path in written)


CONFIG = """
from experiments.configs import base

def get_config():
    config = base.get_config()
    config.model.device = "cpu"
    config.store, config.dataset.name, config.dataset.path = {store!r}, "jsonl", {data!r}
    config.answers.cache, config.answers.model, config.answers.concurrency = {cache!r}, "toy-large", 2
    return config
"""


@pytest.fixture
def command(plan, server) -> list[str]:
    """The command with a config for `plan` and the server."""
    folder = plan.store.parent
    paths = {"store": str(plan.store), "data": plan.dataset.path, "cache": str(folder / "cache" / "answers.sqlite")}
    (folder / "config.py").write_text(CONFIG.format(**paths))
    config = [f"--config={folder / 'config.py'}", f"--config.answers.base_url={server.url}"]
    return [sys.executable, "-m", "extract.answer", *config]


def test_killed_command_goes_on_where_it_stopped(plan, server, command):
    server.control(delay=0.3)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        while server.stats["answered"] < 4:
            assert child.poll() is None, child.stdout.read().decode()
            time.sleep(0.02)
        child.kill()
    time.sleep(0.5)
    had = server.stats["answered"]
    assert 4 <= had < 10
    assert answer_names(plan.store) == []
    server.control()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Everything that arrived is in the cache; requests in flight when the process died are sent again.
    asked = server.stats["requests"]
    assert 10 - had <= asked <= 10 - had + 2
    assert f"accuracy 0.900 of 10 answers, 1000 prompt and 10 answer tokens, 0 $; this run paid for {asked} of 10" in (
        done.stdout
    )
    assert Answers.load(plan.store, "large").labels([f"q{i}" for i in range(10)]).sum() == 9


def test_command_gives_one_line_for_what_a_user_can_mend(server, command):
    server.control(key=KEY)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "set the environment variable OPENAI_API_KEY" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("variant", ["noise:1", "question_only", "caption"])
def test_questions_are_asked_in_the_variant_of_the_store(plan, server, variant):
    plan = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, variant=variant))
    answers = ask(plan, server)
    contents = [body["messages"][0]["content"] for body in server.stats["bodies"]]
    assert answers.settings["variant"] == variant
    if variant == "noise:1":
        assert sum(isinstance(content, list) for content in contents) == 9
        assert "unknown" in answers.table["response"].to_pylist()  # pixels are no longer pure
    else:
        assert all(isinstance(content, str) for content in contents)
        assert any("what q3 shows" in content for content in contents) == (variant == "caption")
