"""The reader's cache in memory: it returns the same as reading prompt by prompt, and never hides a change on disk from
a store opened later."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.states import reader
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from tests.relope_jax.states.test_store import BLOCKS, IDENTITY, flip, part_states, sample_rows, write_store


def test_too_large_to_keep(tmp_path, monkeypatch):
    write_store(tmp_path)
    rows = np.array([4, 0, 2, 2])
    kept = Store(tmp_path).states(rows)
    monkeypatch.setattr(reader, "KEPT_BYTES", 0)
    read = Store(tmp_path).states(rows)
    for field in ("hidden", "positions", "offsets", "last_hidden"):
        np.testing.assert_array_equal(getattr(read, field), getattr(kept, field))


@pytest.mark.parametrize("limit", [0, 2**28])
@pytest.mark.parametrize("name", ["positions", "layer-2/last_hidden"])
def test_damage_after_an_earlier_read_is_found(tmp_path, monkeypatch, name, limit):
    monkeypatch.setattr(reader, "KEPT_BYTES", limit)
    write_store(tmp_path)
    Store(tmp_path).states()
    flip(tmp_path / "parts" / "00001" / name / "c/0/0", 0.1)
    with pytest.raises(ReLopeError, match="part 00001"):
        Store(tmp_path).states()


def test_another_store_in_the_same_place_is_read(tmp_path):
    write_store(tmp_path)
    Store(tmp_path).states()
    shutil.rmtree(tmp_path)
    states = part_states(0)
    other = dataclasses.replace(states, positions=states.positions + 1, last_hidden=2 * states.last_hidden)
    with StoreWriter(tmp_path, IDENTITY) as writer:
        writer.write_part(0, {2: other}, sample_rows(states, 0), [])
        writer.finish(1, BLOCKS)
    read = Store(tmp_path).states()
    np.testing.assert_array_equal(read.positions, other.positions)
    np.testing.assert_array_equal(read.last_hidden, other.last_hidden)
