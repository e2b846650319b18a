"""PEFT adapters from strangers: whatever was changed, reading one costs at most one error line."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from relope_jax.block.peft import CONFIG, load_peft, save_peft
from relope_jax.block.spec import PROJECTIONS, Block, LoRASpec
from relope_jax.io.inside import leads_inside
from tests.builders import make_adapters, make_block
from tests.fuzz.mutations import fresh_copy, mutate_file
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.subjects import refusable
from tests.fuzz.watch import make_canary, watched

MODULES = {name: f"model.layers.1.{name}_proj" for name in PROJECTIONS}


@pytest.fixture(scope="module")
def block() -> Block:
    return dataclasses.replace(make_block(np.random.default_rng(0)), modules=MODULES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, block) -> Path:
    path = tmp_path_factory.mktemp("whole") / "adapter"
    matrices = make_adapters(np.random.default_rng(1), block.spec, PROJECTIONS)
    save_peft(path, block, LoRASpec(rank=3, alpha=6.0), matrices)
    assert load_peft(path, block)
    return path


@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_adapter_costs_a_line(whole, block, tmp_path, examples):
    outside = make_canary(tmp_path)

    def attempt(rng: random.Random) -> None:
        path = tmp_path / "inside" / "adapters" / "adapter"
        fresh_copy(whole, path)
        for file in rng.sample(sorted(path.glob("adapter*")), rng.choice([1, 1, 2])):
            if file.is_file():
                mutate_file(file, rng, outside)
        if not leads_inside(tmp_path / "inside", path):
            return  # the user gives the folder, which may be a link
        with watched(outside):
            refusable(lambda: load_peft(path, block))

    repeated(attempt, examples)


PATTERNS = ["(a+)+$", "(.*)*b", "(x|x)*y", "(?:a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(" * 500, "a{99999}{99999}"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_of_an_adapter_ends(whole, block, tmp_path, field, pattern):
    path, long = tmp_path / "adapter", "a" * 60
    shutil.copytree(whole, path)
    config = json.loads((path / CONFIG).read_text())
    (path / CONFIG).write_text(json.dumps(config | {field: {pattern: 3}}))
    elsewhere = dataclasses.replace(block, modules={name: f"model.{long}.{name}_proj" for name in PROJECTIONS})
    with watched(make_canary(tmp_path)):
        refusable(lambda: load_peft(path, block))
        refusable(lambda: load_peft(path, elsewhere))
