"""The cache: nothing is requested twice, it returns what it holds, and a foreign file costs one error line."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extract.answers import cache as cache_module
from extract.answers.cache import TABLES, Cache
from extract.answers.request import Response
from relope_jax.errors import ReLopeError
from tests import ROOT
from tests.extract.answers.asking import ask, made_ready, make_plan, running_server, write_store

RED = Response("red", [-0.1], 10, 1, "stop", "m", "fp")
BLUE = dataclasses.replace(RED, text="blue")


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


def test_the_first_answer_stays_and_is_what_everybody_gets(tmp_path):
    with Cache(tmp_path / "a") as one, Cache(tmp_path / "a") as other:
        assert one.put("k", RED) == RED
        assert other.put("k", BLUE) == RED
        assert one.get("k") == other.get("k") == RED


def test_a_key_is_asked_by_one_at_a_time(tmp_path):
    with Cache(tmp_path / "a") as one, Cache(tmp_path / "a") as other:
        assert one.take(["k", "l"]) == ({}, {"k", "l"})
        assert one.take(["k"]) == ({}, set())  # another thread of the same process
        assert other.take(["k", "l", "m"]) == ({}, {"m"})
        one.put("k", RED)
        one.release(["l"])  # it failed
        assert other.take(["k", "l"]) == ({"k": RED}, {"l"})
        one.close()
        assert other.take(["m"]) == ({}, set())


def test_claims_of_a_process_that_stopped_renewing_run_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CLAIM_SECONDS", 0.2)
    with Cache(tmp_path / "a") as one, Cache(tmp_path / "a") as other:
        one.take(["k"])
        time.sleep(0.5)
        assert other.take(["k"]) == ({}, set())  # its owner is alive and renews it
        one._closed.set()
        one._renewing.join()
        time.sleep(0.3)
        assert other.take(["k"]) == ({}, {"k"})


@pytest.mark.parametrize("expires", [1e300, "soon", b"\xff", -1.0], ids=repr)
def test_a_claim_that_nobody_can_have_made_does_not_hang(tmp_path, expires):
    with Cache(tmp_path / "a") as cache:
        cache._rows.execute("INSERT INTO claims VALUES ('k', 'x', ?)", (expires,))
        assert cache.take(["k"]) == ({}, {"k"})


def test_claims_of_a_killed_process_end_at_once(tmp_path):
    code = (
        "import os, sys, signal; from extract.answers.cache import Cache\n"
        "Cache(sys.argv[1]).take(['k']); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], cwd=ROOT)
    with Cache(tmp_path / "a") as cache:
        assert cache._rows.execute("SELECT count(*) FROM claims").fetchone() == (1,)
        assert cache.take(["k"]) == ({}, {"k"})


def test_two_jobs_that_share_a_cache_ask_every_question_once(plan, server, tmp_path):
    """Each has its own store, connection and order. Together they pay for ten answers, not for twenty."""
    twin = dataclasses.replace(plan, store=tmp_path / "twin")
    write_store(twin, [f"q{i}" for i in range(10)], seed=1)
    server.control(delay=0.1)
    cache = str(tmp_path / "shared.sqlite")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda p: ask(p, server, concurrency=4, cache=cache), (plan, twin))
    assert server.stats["requests"] == 10
    assert one.table == other.table


def test_two_samples_with_the_same_prompt_and_image_have_draws_of_their_own(plan, server):
    """Nine of them, asked in sequence: a shared entry would save requests."""
    path = Path(plan.dataset.path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line | {"question": "Which colour?", "image": "0.png"} for line in lines[:9]]
    path.write_text("\n".join(map(json.dumps, [*lines, {"id": "q9", "question": "Say yes.", "answer": "yes"}])))
    first = ask(plan, server, samples=1, concurrency=1)
    assert server.stats["requests"] == 20
    assert ask(plan, server, samples=1).table == first.table
    assert server.stats["requests"] == 20


def test_threads_that_ask_for_one_key_ask_once(tmp_path):
    asked, start = [], threading.Barrier(8)

    def answer() -> Response:
        start.wait()
        while True:
            known, mine = cache.take(["k"])
            if known:
                return known["k"]
            if mine:
                asked.append(1)
                time.sleep(0.05)
                return cache.put("k", RED)
            time.sleep(0.01)

    with Cache(tmp_path / "a") as cache, ThreadPoolExecutor(8) as pool:
        assert {future.result().text for future in [pool.submit(answer) for _ in range(8)]} == {"red"}
    assert len(asked) == 1


def poison(path: Path, *statements: str) -> None:
    rows = sqlite3.connect(path)
    for statement in statements:
        rows.execute(statement)
    rows.commit()
    rows.close()


HOSTILE = {
    "another-table": ["CREATE TABLE other (x)"],
    "view": [TABLES["claims"], "CREATE VIEW responses AS SELECT 'k' AS key, randomblob(9) AS response"],
    "endless-view": [
        "CREATE VIEW responses AS WITH RECURSIVE n(key, response) AS (SELECT 0, 0 UNION ALL SELECT key + 1, 0 FROM n) "
        "SELECT * FROM n"
    ],
    "trigger": [
        *TABLES.values(),
        "CREATE TRIGGER t AFTER INSERT ON claims BEGIN DELETE FROM responses; END",
    ],
    "generated-column": [
        "CREATE TABLE responses (key TEXT PRIMARY KEY, response TEXT NOT NULL, x AS (abs(key)) STORED)"
    ],
    "check": ["CREATE TABLE responses (key TEXT PRIMARY KEY, response TEXT NOT NULL CHECK (length(response) > 9))"],
    "other-columns": ["CREATE TABLE responses (key, response)"],
    "index": [*TABLES.values(), "CREATE INDEX i ON responses (upper(response))"],
}


@pytest.mark.parametrize("statements", HOSTILE.values(), ids=HOSTILE)
def test_a_database_that_holds_anything_else_is_refused_and_left_alone(tmp_path, statements):
    path = tmp_path / "answers.sqlite"
    poison(path, *statements)
    before = path.read_bytes()
    with pytest.raises(ReLopeError, match=r"cannot use the answer cache .*another program's database") as error:
        Cache(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_a_damaged_cache_gives_one_line(tmp_path):
    path = tmp_path / "answers.sqlite"
    with Cache(path) as cache:
        for i in range(200):
            cache.put(str(i), RED)
    whole, said = path.read_bytes(), []
    for at in range(0, len(whole), 997):
        path.write_bytes(whole[:at] + b"\xa5" * 40 + whole[at + 40 :])
        try:
            with Cache(path) as cache:
                known, mine = cache.take([str(i) for i in range(200)])
                assert all(response == RED for response in known.values())
                for key in mine:
                    cache.put(key, RED)
        except ReLopeError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in line for line in said)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_no_cache(tmp_path, make):
    make(tmp_path / "cache")
    with pytest.raises(ReLopeError, match=r"cannot use the answer cache .*it is not a file"):
        Cache(tmp_path / "cache")


def test_a_huge_entry_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "LARGEST_ENTRY", 10_000)
    path = tmp_path / "a"
    poison(path, *TABLES.values(), "INSERT INTO responses VALUES ('k', zeroblob(100000))")
    with Cache(path) as cache:
        assert cache.get("k") is None
        assert cache.put("k", RED) == RED
        assert cache.get("k") == RED
