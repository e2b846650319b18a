"""Stores from strangers: whatever was changed, reading one costs at most one error line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from relope_jax.io.inside import leads_inside
from tests.fuzz.mutations import fresh_copy, mutate_file
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.subjects import make_store, seal, use_store
from tests.fuzz.watch import make_canary, watched


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "store"
    make_store(path)
    assert use_store(path) == []  # also compiles
    return path


@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_store_costs_a_line(whole, tmp_path, examples):
    outside = make_canary(tmp_path)

    def attempt(rng: random.Random) -> None:
        path = tmp_path / "inside" / "stores" / "store"
        fresh_copy(whole, path)
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        for file in rng.sample(files, rng.choice([1, 1, 2])):
            if file.is_file():
                mutate_file(file, rng, outside)
        if rng.random() < 0.7:
            seal(path)
        if not leads_inside(tmp_path / "inside", path):
            return  # the user gives the folder, which may be a link
        with watched(outside):
            use_store(path)

    repeated(attempt, examples)
