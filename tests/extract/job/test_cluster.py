"""Extraction on a Ray cluster on this machine: a killed worker, one-line errors, and what needs no cluster."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.job import extraction
from extract.job.cluster import Cluster, PublishedSamples, extract_on_cluster, extract_shard
from relope_jax.errors import ReLopeError
from relope_jax.io.locks import Locked
from relope_jax.io.place import LocalPlace
from relope_jax.states.manifest import PART
from relope_jax.states.writer import Shard, part_name
from tests import ROOT
from tests.extract.job.plans import contents, tiny_plan

TOKENS = 200  # per answer, so many that a shard of 6 parts takes seconds
PATIENCE = 240.0  # seconds; an idle machine needs 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy) -> Path:
    """Working directory of the commands: a tiny model in `model` and its questions in `data.jsonl`."""
    folder = tmp_path_factory.mktemp("cluster")
    tiny_plan(folder, toy.tokenizer)
    return folder


@pytest.fixture
def ray_folder():
    """Where Ray keeps sockets and logs; short, because a socket's path has at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path, command: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A command with relative paths in a separate process; its stderr goes to `folder/errors`."""
    fields = {
        "model.name": "model",
        "model.device": "cpu",
        "dataset.name": "jsonl",
        "dataset.path": "data.jsonl",
        "extract.layer": "2",
        "extract.part_size": "2",
        "extract.max_new_tokens": str(TOKENS),
    }
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    # The same number of threads in every process, because PyTorch's split of a sum affects its last bits.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    with open(folder / "errors", "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", command, "--config=quickstart.py", *overrides, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def start_cluster(folder: Path, ray_folder: str, *arguments: str) -> subprocess.Popen[str]:
    """The command on a new cluster with room for two workers."""
    resources = {"RAY_TMPDIR": ray_folder, "RAY_OVERRIDE_RESOURCES": '{"CPU": 2, "GPU": 0}'}
    return start(folder, "extract.cluster", "--shards=2", *arguments, **resources)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "the command ended too early"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_worker_is_replaced_and_the_store_is_the_same(folder, ray_folder):
    def workers() -> list[int]:
        return [int(pid) for pid in re.findall(r"shard 1/2 on node .*, process (\d+)", (folder / "errors").read_text())]

    command = start_cluster(folder, ray_folder, "--config.store=store")
    try:
        wait_for((folder / "store" / part_name(1) / PART).exists, command)
        published = (folder / "store" / part_name(1) / PART).stat().st_mtime_ns
        (killed,) = workers()
        os.kill(killed, signal.SIGKILL)
        output, _ = command.communicate(timeout=PATIENCE)
    finally:
        command.terminate()
    assert command.returncode == 0
    errors = (folder / "errors").read_text()
    assert "shard 1/2 was lost with its process or node: restarting it (3 tries left)" in errors
    assert errors.count(" was lost ") == 1
    first, second = workers()
    assert first == killed != second
    assert (folder / "store" / part_name(1) / PART).stat().st_mtime_ns == published  # not extracted again

    plain = start(folder, "extract.run", "--config.store=plain")
    printed, _ = plain.communicate(timeout=PATIENCE)
    closing = printed.splitlines()[-1]
    assert closing.startswith("plain: 24 prompts, ")
    assert output.splitlines()[-1] == closing.replace("plain", "store")
    assert contents(folder / "store") == contents(folder / "plain")


LISTENING = """
import os, sys, psutil
from extract.job.cluster import connected, import_ray
ray = import_ray("")
with connected(ray, ""):
    class Worker:
        def pid(self):
            return os.getpid()
    worker = ray.remote(Worker).remote()
    pids = {os.getpid(), ray.get(worker.pid.remote())}
    pids |= {process.pid for process in psutil.Process().children(recursive=True)}
    for connection in psutil.net_connections():
        if connection.status == "LISTEN" and connection.pid in pids:
            print(connection.laddr.ip)
"""


@pytest.mark.parametrize(
    "code",
    [LISTENING, pytest.param("import ray\n" + LISTENING, marks=pytest.mark.slow)],
    ids=["fresh", "imported before"],
)
def test_a_cluster_of_this_machine_listens_to_it_alone(ray_folder, code):
    resources = {"RAY_TMPDIR": ray_folder, "RAY_OVERRIDE_RESOURCES": '{"CPU": 2, "GPU": 0}', "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | resources, capture_output=True, text=True, timeout=PATIENCE
    )
    if code != LISTENING:
        assert "ReLopeError: Ray also serves other machines: set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in done.stderr
        assert done.stdout == ""
        return
    assert done.returncode == 0, done.stderr
    addresses = done.stdout.split()
    assert len(addresses) > 4  # the driver, the scheduler, the control store, an agent, the worker
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


@pytest.mark.slow
def test_error_in_a_worker_is_one_line_and_not_tried_again(folder, ray_folder):
    command = start_cluster(folder, ray_folder, "--config.store=other", "--config.extract.layer=99")
    assert command.communicate(timeout=PATIENCE)[0] == ""
    assert command.returncode == 1
    errors = (folder / "errors").read_text()
    told = r"^error: shard ./2: layer 99 of extract.layer and extract.layers does not exist: model has .*$"
    assert re.search(told, errors, re.MULTILINE)
    assert len(re.findall(r"^error: ", errors, re.MULTILINE)) == 1
    assert "Traceback" not in errors
    assert " was lost " not in errors
    assert not contents(folder / "other")  # the file for the workers' check is removed too


def test_ray_is_asked_for_when_it_is_absent(folder, monkeypatch, tmp_path, toy):
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = tiny_plan(tmp_path, toy.tokenizer)
    with pytest.raises(ReLopeError, match=r"^this command needs Ray: pip install ray$"):
        extract_on_cluster(plan, 2, Cluster())
    assert not plan.store.exists()


def test_shard_waits_for_the_lock_of_a_killed_worker(tmp_path, monkeypatch, toy):
    plan, shard = tiny_plan(tmp_path, toy.tokenizer), Shard(1, 2)
    made, waited = [], []
    monkeypatch.setattr(extraction, "extract_store", lambda *arguments: made.append(arguments))
    lock = LocalPlace(plan.store).lock(shard.lock)
    lock.__enter__()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            lock.__exit__(None, None, None)

    monkeypatch.setattr("extract.job.cluster.time.sleep", sleep)
    extract_shard(plan, shard)
    assert made == [(plan, shard)]
    assert len(waited) == 3
    monkeypatch.setattr("extract.job.cluster.PATIENCE", -1.0)
    with LocalPlace(plan.store).lock(shard.lock), pytest.raises(Locked):
        extract_shard(plan, shard)


def test_progress_counts_published_parts(tmp_path):
    progress = PublishedSamples(LocalPlace(tmp_path), n_samples=11, part_size=2, count=4)

    def publish(*parts: int) -> None:
        for part in parts:
            (tmp_path / part_name(part)).mkdir(parents=True)
            (tmp_path / part_name(part) / PART).touch()

    assert progress.update() == 0
    assert progress.unfinished() == [Shard(i, 4) for i in range(4)]
    publish(0, 3, 5)  # part 5 has one sample, and its shard has not published part 1 yet
    assert progress.update() == 4
    publish(1)
    assert progress.update() == 3
    assert progress.update() == 0
    assert progress.unfinished() == [Shard(0, 4), Shard(2, 4)]
    publish(2, 4)
    progress.update()
    assert progress.done == 11
    assert progress.unfinished() == [Shard(0, 4)]  # writes the manifest
