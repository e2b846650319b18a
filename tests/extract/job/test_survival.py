"""Accidents during an extraction: kill -9, a full disk, a second writer, out of memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from extract import grading
from extract.backbone import capture
from extract.job import extraction, part
from extract.job.open import open_or_extract
from relope_jax.errors import ReLopeError
from relope_jax.io.locks import lock_folder
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard
from tests import ROOT
from tests.extract.job.plans import contents, tiny_plan


@pytest.fixture
def plan(tmp_path, toy):
    return tiny_plan(tmp_path, toy.tokenizer)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_again_and_again_the_store_is_the_same(plan, tmp_path, kills):
    """SIGKILL at random moments, restarted each time: states, table, blocks and manifest are equal to the byte."""
    command = [sys.executable, "-m", "tests.extract.job.kill_extraction", str(tmp_path), str(kills)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1].startswith(f"{kills} kills")


@contextlib.contextmanager
def small_disk(folder: Path, size: str):
    """A file system of this size mounted at `folder`; needs root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_full_disk_is_one_line_and_resumes_when_there_is_space(plan, tmp_path):
    whole = open_or_extract(plan)
    with small_disk(tmp_path / "disk", "400k"):
        small = dataclasses.replace(plan, store=tmp_path / "disk" / "store")
        for _ in range(2):
            with pytest.raises(ReLopeError, match=r"the disk of .* is full: free some space"):
                open_or_extract(small)
        assert (small.store / "parts" / "00000").exists()
        with pytest.raises(ReLopeError, match="unfinished"):
            Store(small.store)
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True)
        open_or_extract(small)
        assert contents(small.store) == contents(Path(whole.path))


def test_second_writer_is_refused_by_the_command(plan, tmp_path):
    plan.store.mkdir()
    with lock_folder(plan.store, Shard().lock), pytest.raises(ReLopeError, match=r"another process is writing .*store"):
        open_or_extract(plan)


def test_shards_make_the_same_store_and_the_last_one_finishes_it(plan, tmp_path):
    whole = open_or_extract(plan)
    sharded = dataclasses.replace(plan, store=tmp_path / "sharded")
    assert not extraction.extract_store(sharded, Shard(1, 3))
    assert not extraction.extract_store(sharded, Shard(0, 3))
    with pytest.raises(ReLopeError, match="unfinished"):
        Store(sharded.store)
    assert extraction.extract_store(sharded, Shard(2, 3))
    assert contents(sharded.store) == contents(Path(whole.path))


def out_of_memory_above(monkeypatch, prompts: int) -> list[int]:
    """An accelerator that fits only this many prompts; returns the sizes of all batches it was given."""
    sizes, run = [], part.PartExtractor._run

    def limited(self, queries, inputs, gathered):
        sizes.append(len(queries))
        if len(queries) > prompts:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        run(self, queries, inputs, gathered)

    monkeypatch.setattr(part.PartExtractor, "_run", limited)
    return sizes


def test_token_budget_halves_itself_when_memory_runs_out(plan, monkeypatch, capsys):
    plan = dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, part_size=12))
    roomy = open_or_extract(plan)
    sizes = out_of_memory_above(monkeypatch, 3)
    tight = open_or_extract(dataclasses.replace(plan, store=plan.store.with_name("tight")))
    assert sizes[0] == 12
    assert max(size for size in sizes if size <= 3) == 3
    assert sum(size for size in sizes if size <= 3) == 24  # every prompt once
    assert "out of memory: token budget" in capsys.readouterr().out
    assert tight.samples.equals(roomy.samples) or tight.column("response").tolist() == roomy.column("response").tolist()
    recorded = {piece.token_budget for piece in tight.manifest.parts}
    assert recorded != {plan.extract.token_budget}
    assert {piece.token_budget for piece in roomy.manifest.parts} == {plan.extract.token_budget}


def test_memory_that_runs_out_late_leaves_nothing_behind(plan, monkeypatch, tmp_path):
    """After the answers were generated: every row keeps its own embedding, and a bad image is listed once."""
    whole_image = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole_image[: len(whole_image) // 2])  # opens, but cannot be decoded
    plan = dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, part_size=12))
    whole = open_or_extract(plan)
    states, calls = capture.Capture.states, []

    def failing(self, layer):
        calls.append(layer)
        if len(calls) in (1, 3):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return states(self, layer)

    monkeypatch.setattr(capture.Capture, "states", failing)
    late = open_or_extract(dataclasses.replace(plan, store=plan.store.with_name("late")))
    np.testing.assert_allclose(late.output_embedding(), whole.output_embedding(), atol=1e-4)
    assert late.manifest.failed == whole.manifest.failed
    assert [entry["sample_id"] for entry in late.manifest.failed] == ["q03"]


def test_prompt_that_never_fits_is_left_out(plan, monkeypatch):
    run = part.PartExtractor._run

    def limited(self, queries, inputs, gathered):
        if any(query.sample.sample_id == "q03" for query in queries):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        run(self, queries, inputs, gathered)

    monkeypatch.setattr(part.PartExtractor, "_run", limited)
    store = open_or_extract(plan)
    assert [entry["sample_id"] for entry in store.manifest.failed] == ["q03"]
    assert "more memory than there is" in store.manifest.failed[0]["reason"]
    assert len(store.samples) == 23


def test_changed_groups_are_not_continued(plan, tmp_path):
    """New duplicates among the images would move later parts to other splits."""
    extraction.extract_store(plan, Shard(0, 2))
    shutil.copyfile(tmp_path / "3.png", tmp_path / "20.png")
    with pytest.raises(ReLopeError, match=r"started with other settings \(samples"):
        extraction.extract_store(plan, Shard(1, 2))


@pytest.mark.parametrize("change", ["image", "answer", "torchvision", "grader"])
def test_what_changes_states_or_labels_is_not_continued(plan, tmp_path, monkeypatch, change):
    extraction.extract_store(plan, Shard(0, 2))
    if change == "image":
        (tmp_path / "3.png").write_bytes((tmp_path / "4.png").read_bytes() + b"\0")
    elif change == "answer":
        path = Path(plan.dataset.path)
        path.write_text(path.read_text().replace('"answer": "x"', '"answer": "y"', 1))
    elif change == "torchvision":
        version = extraction._version
        monkeypatch.setattr(extraction, "_version", lambda name: "1" if name == "torchvision" else version(name))
    else:
        monkeypatch.setattr(grading, "VERSION", grading.VERSION + 1)
    with pytest.raises(ReLopeError, match="started with other settings"):
        extraction.extract_store(plan, Shard(1, 2))
