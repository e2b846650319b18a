"""The benchmark command on shapes that take seconds: same programs, same checks, same lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import bench
from experiments.benchmarks import block, measure
from relope_jax.errors import ReLopeError

FIELDS = ["name", "value", "unit", "baseline", "ratio", "floor", "fraction_of_floor"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(measure, "SIZE", 64)
    monkeypatch.setattr(measure, "BLOCK", 2**16)
    monkeypatch.setattr(measure, "LONG_ENOUGH", 0.0)
    shape = block.Shape("tiny", block.llama(32, 4, 2, 8, 48), batch=3, n=10, rank=4, rounds=1)
    monkeypatch.setattr(block, "SHAPES", (shape,))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's own
def test_every_line_is_one_json_object(small, tmp_path, capsys):
    """The run checks the LoRA gradients of torch, with PEFT, against ours before it times anything."""
    out = tmp_path / "bench.jsonl"
    bench.run(["block"], str(out))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(list(line) == FIELDS for line in lines)
    compared = {line["name"] for line in lines if line["unit"] == "ms"}
    rivals = ("full_peft_float32", "full_peft_bfloat16", "last_token_peft_float32", "last_token_peft_bfloat16")
    for states in ("float32", "bfloat16"):
        for rival in (*rivals, "without_key_cache"):
            assert f"block/tiny/{states}_states/absorbed_vs_{rival}" in compared
    for line in lines:
        if line["unit"] == "ms":
            assert line["ratio"] == pytest.approx(line["baseline"] / line["value"], rel=1e-2)
            assert line["fraction_of_floor"] == pytest.approx(line["floor"] / line["value"], rel=1e-2)


def test_different_gradients_are_not_timed(small, monkeypatch):
    true = block.torch_block.adapt
    monkeypatch.setattr(block.torch_block, "adapt", lambda layer, rank, alpha: true(layer, rank, 2 * alpha))
    with pytest.raises(ReLopeError, match=r"gradients of '.*' differ from PEFT's by .*: nothing is timed"):
        list(block.run())


def test_mistakes_fail_before_anything_is_measured(tmp_path):
    with pytest.raises(ReLopeError, match=r"unknown benchmark 'blok' .did you mean 'block'"):
        bench.run(["blok"])
    with pytest.raises(ReLopeError, match=r"cannot write --out=.*No such file"):
        bench.run(["block"], str(tmp_path / "missing" / "lines.jsonl"))


def test_command():
    """The flags, as a user types them."""
    command = [sys.executable, "-m", "experiments.bench", "--only=blok"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: unknown benchmark 'blok'")
