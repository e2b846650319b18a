"""Several stores that read like one: the rows are those of the stores, and other models are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.states.joined import JoinedStore
from relope_jax.states.store import Store
from relope_jax.states.tables import prompts_of, stack_tables
from relope_jax.states.writer import StoreWriter
from tests.builders import make_block, make_states
from tests.relope_jax.states.test_store import BLOCKS, IDENTITY

LENGTHS = [3, 1, 5, 2, 4, 2]


def write(path, name: str, blocks=BLOCKS, prefix=None, dataset=None) -> Store:
    prefix = name if prefix is None else prefix
    states = make_states(np.random.default_rng(len(name)), LENGTHS)
    rows = [
        {"sample_id": f"{prefix}-{i}", "group": f"{name}-g{i}", "split": ("train", "validation", "test")[i % 3],
         "question": "q", "answer": "a", "response": "b", "label": i % 2, "n_tokens": n}
        for i, n in enumerate(LENGTHS)
    ]  # fmt: skip
    identity = dataclasses.replace(IDENTITY, dataset={"name": dataset or name}, part_size=len(LENGTHS))
    with StoreWriter(path / name, identity) as writer:
        writer.write_part(0, {2: states}, rows, [])
        writer.finish(1, blocks)
    return Store(path / name)


@pytest.fixture
def stores(tmp_path):
    return [write(tmp_path, name) for name in ("target", "one", "second")]


def test_rows_are_the_training_rows_of_the_sources_and_the_test_rows_of_the_target(stores):
    target, *sources = stores
    joined = JoinedStore(target, sources)
    splits = {
        split: joined.column("sample_id")[joined.rows(split)].tolist() for split in ("train", "validation", "test")
    }
    assert splits == {
        "train": ["one-0", "one-3", "second-0", "second-3"],
        "validation": ["one-1", "one-4", "second-1", "second-4"],
        "test": ["target-2", "target-5"],
    }
    assert joined.identity.dataset["name"] == "target"


def test_states_come_in_the_order_asked_for(stores):
    target, *sources = stores
    joined = JoinedStore(target, sources)
    by_id = {}
    for store in stores:
        for row, sample_id in enumerate(store.column("sample_id")):
            by_id[sample_id] = store.states(np.array([row]))
    for rows in (None, np.array([9, 0, 5, 5, 2, 8])):
        read = joined.states(rows)
        asked = joined.column("sample_id") if rows is None else joined.column("sample_id")[rows]
        for i, sample_id in enumerate(asked):
            one, expected = read.select(np.array([i])), by_id[sample_id]
            np.testing.assert_array_equal(one.hidden, expected.hidden)
            np.testing.assert_array_equal(one.positions, expected.positions)
            np.testing.assert_array_equal(one.last_hidden, expected.last_hidden)
    np.testing.assert_array_equal(joined.last_hidden(), joined.states().last_hidden)


def test_digest_tells_apart_what_is_trained_on(stores):
    target, first, second = stores
    digests = {JoinedStore(target, sources).digest for sources in ([first], [second], [first, second])}
    assert len(digests | {target.digest}) == 4


def test_prompts_of_stores_from_before_they_were_kept_are_the_questions(stores, tmp_path):
    target, first, _ = stores
    assert JoinedStore(target, [first]).prompts == ["q"] * 6
    table = target.samples
    newer = table.set_column(table.schema.get_field_index("prompt"), "prompt", pa.array(["q (a) (b)"] * len(table)))
    older = table.drop_columns(["prompt"])
    assert prompts_of(older) == ["q"] * len(table)
    assert prompts_of(stack_tables([older, newer])) == ["q"] * len(table) + ["q (a) (b)"] * len(table)


def test_ids_that_two_datasets_share_are_told_apart(tmp_path):
    """As of two files that both number their questions from 0; the test rows keep the names they have everywhere."""
    target, first, second = (write(tmp_path, name, prefix="") for name in ("target", "one", "second"))
    renamed = [f"{name}/-{i}" for name in ("one", "second") for i in (0, 1, 3, 4)]
    assert JoinedStore(target, [first, second]).column("sample_id").tolist() == [*renamed, "-2", "-5"]
    same = write(tmp_path, "again", prefix="", dataset="one")
    with pytest.raises(ReLopeError, match="questions in common"):
        JoinedStore(target, [first, same])


def test_other_models_and_the_same_samples_are_refused(stores, tmp_path):
    target, first, _ = stores
    other = write(tmp_path, "other", {2: make_block(np.random.default_rng(3))})
    with pytest.raises(ReLopeError, match="different models or layers"):
        JoinedStore(target, [other])
    with pytest.raises(ReLopeError, match="questions in common"):
        JoinedStore(target, [first, first])
