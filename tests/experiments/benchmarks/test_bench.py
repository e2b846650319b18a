"""The benchmark command with shapes that take seconds: same programs, same checks, same output."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from experiments import bench
from experiments.benchmarks import block, extract, measure, sampling, store
from experiments.benchmarks.random_llava import RandomModel
from extract.backbone.prompts import build_inputs
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.store import Store
from tests import ROOT

FIELDS = ["name", "value", "unit", "baseline", "ratio", "floor", "fraction_of_floor"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(measure, "SIZE", 64)
    monkeypatch.setattr(measure, "BLOCK", 2**16)
    monkeypatch.setattr(measure, "LONG_ENOUGH", 0.0)
    shape = block.BlockShape("tiny", block.llama(32, 4, 2, 8, 48), batch=3, n=10, rank=4, rounds=1)
    monkeypatch.setattr(block, "SHAPES", (shape,))
    for module in (extract, sampling, store):
        monkeypatch.setattr(module, "ROUNDS", 1)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's own
def test_every_line_is_one_json_object(small, tmp_path, capsys):
    """Before timing, the run checks the LoRA gradients of torch with PEFT against ours."""
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


TINY = RandomModel("tiny", 32, 4, 2, 48, n_layers=3, layer=2, words=12, prompts=4)


def require_comparisons(records, names) -> None:
    """Check that these records exist, each with a competitor and a finite ratio."""
    assert [record.name for record in records] == names
    for record in records:
        assert record.value > 0
        assert math.isfinite(record.ratio)
        assert record.ratio == pytest.approx(record.value / record.baseline)


@pytest.mark.slow
def test_extract_benchmark(small, toy, monkeypatch, tmp_path):
    """Before timing, the bare forward pass's states are compared with the captured ones."""
    monkeypatch.chdir(tmp_path)
    records = [
        *extract.run_toy(toy, DatasetSpec(max_questions=4), layer=2),
        extract.run_random(TINY, toy.tokenizer),
        extract.run_memory(dataclasses.replace(TINY, prompts=3), toy.tokenizer),
    ]
    names = [
        "extract/toy/captured_prefill_vs_bare_forward",
        "extract/toy/whole_extraction_vs_generate",
        "extract/tiny/captured_prefill_vs_bare_forward",
        "extract/memory/extracting_4x_prompts",
    ]
    require_comparisons(records, names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_sampling_benchmark(small, toy):
    """Both sample the same number of answers with the same maximum number of tokens."""
    spec = DatasetSpec(max_questions=3)
    require_comparisons(
        [sampling.run_sampling("toy", toy, spec)], ["sampling/toy/shared_prefill_vs_num_return_sequences"]
    )
    inputs = build_inputs(toy, [("what is this?", None), ("is it red?", None)])
    ours = sampling.shared_draws(toy, inputs)
    theirs = sampling.copied_draws(toy, inputs)[:, inputs["input_ids"].shape[1] :]
    assert len(ours) * 2 == len(theirs) == sampling.DRAWS * 2
    longest = max(answer.n_tokens for drawn in ours for answer in drawn.answers)
    assert longest <= sampling.TOKENS >= theirs.shape[1]


def test_different_states_are_not_timed(small, toy, monkeypatch):
    true = extract.captured_prefill

    def one_layer_off(backbone, layer, inputs, dtype=torch.bfloat16):
        return true(backbone, layer - 1, inputs, dtype)

    monkeypatch.setattr(extract, "captured_prefill", one_layer_off)
    with pytest.raises(ReLopeError, match=r"captured Z\^\(l-1\) differs from the bare forward's by .*nothing is timed"):
        list(extract.run_toy(toy, DatasetSpec(max_questions=3), layer=3))


def test_store_benchmark(small, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "SHAPES", (store.StoreShape("tiny", 16, 8, prompts=40, parts=2),))
    monkeypatch.setattr(store, "GROWING", store.StoreShape("memory", 16, 8, prompts=40, parts=2))
    records = [record for record in store.run() if record.baseline is not None]
    names = [
        "store/tiny/random_batches_vs_sequential",
        "store/tiny/random_batches_vs_sequential_in_place",
        "store/tiny/write_part_vs_plain_file",
        "store/memory/reading_2x_prompts",
    ]
    require_comparisons(records, names)
    assert list(tmp_path.iterdir()) == []


def test_both_ways_of_reading_read_every_byte(tmp_path):
    shape = store.StoreShape("tiny", 16, 8, prompts=40, parts=2)
    written = Store(store.write_store(shape, tmp_path / "store"))
    parts = [store.make_part(shape, rng) for rng in [np.random.default_rng(0)] for _ in range(shape.parts)]
    states = written.states()
    assert store.stored_bytes(states) == sum(map(store.stored_bytes, parts))
    np.testing.assert_array_equal(states.hidden, np.concatenate([part.hidden for part in parts]))
    assert set(store.read_programs(written, shape)) == {"random", "sequential", "sequential_in_place"}


def test_mistakes_fail_before_anything_is_measured(tmp_path):
    with pytest.raises(ReLopeError, match=r"unknown benchmark 'blok' .did you mean 'block'"):
        bench.run(["blok"])
    with pytest.raises(ReLopeError, match=r"cannot write --out=.*No such file"):
        bench.run(["block"], str(tmp_path / "missing" / "lines.jsonl"))


def test_command():
    """The flags as a user types them."""
    command = [sys.executable, "-m", "experiments.bench", "--only=blok"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: unknown benchmark 'blok'")
