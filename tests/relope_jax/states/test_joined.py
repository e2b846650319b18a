"""Several stores that read like one: the rows are theirs, and stores of different models are refused."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.io.tables import prompts_of, stack_tables
from relope_jax.states.joined import JoinedStore
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from tests.builders import make_block, make_states
from tests.relope_jax.states.test_store import BLOCKS, IDENTITY

LENGTHS = [3, 1, 5, 2, 4, 2]
SPLITS = ("train", "validation", "test")


def write(
    path, name: str, blocks=BLOCKS, prefix=None, dataset=None, contents=None, groups=None, state_dtype="bfloat16"
):
    """A store of six prompts, two per split. `contents` identifies what they show; by default nothing is shared."""
    prefix = name if prefix is None else prefix
    states = make_states(np.random.default_rng(len(name)), LENGTHS)
    contents = contents or [[f"{name} image {i}"] for i in range(len(LENGTHS))]
    rows = [
        {"sample_id": f"{prefix}{i}", "group": f"g{i}", "split": SPLITS[i % 3], "contents": contents[i],
         "question": "q", "answer": "a", "response": "b", "label": i % 2, "n_tokens": n, "token_logprobs": [-0.5],
         "final_answer": f"{name} {i}"}
        for i, n in enumerate(LENGTHS)
    ]  # fmt: skip
    identity = dataclasses.replace(
        IDENTITY, dataset={"name": dataset or name, "path": ""}, part_size=len(LENGTHS), state_dtype=state_dtype
    )
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
    splits = {split: joined.column("sample_id")[joined.rows(split)].tolist() for split in SPLITS}
    assert splits == {
        "train": ["one/one0", "one/one3", "second/second0", "second/second3"],
        "validation": ["one/one1", "one/one4", "second/second1", "second/second4"],
        "test": ["target2", "target5"],
    }
    assert joined.identity.dataset["name"] == "target"
    assert joined.column("group").tolist()[-3:] == ["second/g4", "g2", "g5"]
    assert joined.left_out == {}


def single_states(joined):
    """Every row's states, read from the row's own store."""
    return [piece.store.states(np.array([row])) for piece in joined.pieces for row in piece.rows]


@pytest.mark.parametrize("rows", [None, [9, 0, 5, 5, 2, 8], [3], [0, 1, 2, 3], [9, 8, 7]])
def test_states_come_in_the_order_asked_for(stores, rows):
    target, *sources = stores
    joined = JoinedStore(target, sources)
    read, expected = joined.states(rows if rows is None else np.array(rows)), single_states(joined)
    for i, row in enumerate(range(len(expected)) if rows is None else rows):
        one = read.select(np.array([i]))
        np.testing.assert_array_equal(one.hidden, expected[row].hidden)
        np.testing.assert_array_equal(one.positions, expected[row].positions)
        np.testing.assert_array_equal(one.last_hidden, expected[row].last_hidden)
    np.testing.assert_array_equal(joined.last_hidden(), joined.states().last_hidden)


def test_reading_all_states_takes_the_memory_of_the_states(tmp_path):
    """One array for all stores. Concatenating and reordering pieces took three times the memory of the states."""
    n, length = 60, 200
    names = ("target", "one", "second")
    stores = []
    for i, name in enumerate(names):
        rows = [
            {
                "sample_id": f"{k}",
                "group": f"{k}",
                "split": SPLITS[k % 3],
                "contents": [f"{name} {k}"],
                "label": k % 2,
                "n_tokens": length,
            }
            for k in range(n)
        ]
        identity = dataclasses.replace(IDENTITY, dataset={"name": name, "path": ""}, part_size=n)
        with StoreWriter(tmp_path / name, identity) as writer:
            writer.write_part(0, {2: make_states(np.random.default_rng(i), [length] * n)}, rows, [])
            writer.finish(1, BLOCKS)
        stores.append(Store(tmp_path / name))
    joined = JoinedStore(stores[0], stores[1:])
    joined.states(np.array([0]))  # opens the arrays
    tracemalloc.start()
    try:
        states = joined.states()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(array.nbytes for array in (states.hidden, states.positions, states.offsets, states.last_hidden))
    assert size > 5e5
    assert peak < 1.4 * size


def test_digest_tells_apart_what_is_trained_on(stores):
    target, first, second = stores
    digests = {JoinedStore(target, sources).digest for sources in ([first], [second], [first, second])}
    assert len(digests | {target.digest}) == 4


def test_a_sample_without_a_prompt_is_asked_its_question(stores):
    target, first, _ = stores
    assert JoinedStore(target, [first]).prompts == ["q"] * 6
    table = target.samples
    asked = table.set_column(table.schema.get_field_index("prompt"), "prompt", pa.array(["q (a) (b)"] * len(table)))
    assert prompts_of(stack_tables([table, asked])) == ["q"] * len(table) + ["q (a) (b)"] * len(table)


def test_equal_ids_of_two_datasets_stay_two_samples(tmp_path):
    """As with files that all number their questions from 0, whether or not the chosen rows collide. Test rows keep
    their usual names."""
    target, first, second = (write(tmp_path, name, prefix="") for name in ("target", "one", "second"))
    renamed = [f"{name}/{i}" for name in ("one", "second") for i in (0, 1, 3, 4)]
    assert JoinedStore(target, [first, second]).column("sample_id").tolist() == [*renamed, "2", "5"]
    same = write(tmp_path, "again", prefix="", dataset="one")
    with pytest.raises(ReLopeError, match="questions in common"):
        JoinedStore(target, [first, same])


def shared(name, **at):
    """Contents of six prompts, all different except those given: `_3="x"` sets prompt 3's."""
    own = {int(key[1:]): value for key, value in at.items()}
    return [list(own[i]) if isinstance(own.get(i), tuple) else [own.get(i, f"{name} {i}")] for i in range(6)]


def test_folders_of_one_name_are_told_apart(tmp_path):
    sources = [
        write(tmp_path / folder, "one", prefix="", dataset=folder, contents=shared(folder)) for folder in ("a", "b")
    ]
    ids = JoinedStore(write(tmp_path, "target"), sources).column("sample_id").tolist()
    assert ids[:8] == [f"one-{k}/{i}" for k in (1, 2) for i in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("target", "one", "second", "left", "kept"),
    [
        pytest.param(
            {"_2": "x"}, {"_0": "x"}, {}, {"train": 1}, ["one/3", "second/0", "second/3"], id="train-and-test",
        ),
        pytest.param(
            {"_5": "x"}, {"_4": "x"}, {}, {"validation": 1}, ["one/0", "one/3", "second/0", "second/3"],
            id="validation-and-test",
        ),
        pytest.param(
            {}, {"_0": "x"}, {"_1": "x"}, {"train": 1}, ["one/3", "second/0", "second/3"],
            id="train-of-one-validation-of-another",
        ),
        pytest.param(
            {"_2": "x"}, {"_0": "y"}, {"_3": ("x", "y")}, {"train": 2}, ["one/3", "second/0"],
            id="a-chain-of-two-images",
        ),
        pytest.param({"_0": "x"}, {"_0": "x"}, {}, {}, ["one/0", "one/3", "second/0", "second/3"],
                     id="what-the-target-trains-on-is-not-read"),
        pytest.param({}, {"_0": "x"}, {"_3": "x"}, {}, ["one/0", "one/3", "second/0", "second/3"], id="one-side"),
    ],
)  # fmt: skip
def test_an_image_is_on_one_side_of_the_split_across_stores(tmp_path, target, one, second, left, kept):
    target, one, second = (
        write(tmp_path, name, prefix="", contents=shared(name, **at))
        for name, at in (("target", target), ("one", one), ("second", second))
    )
    joined = JoinedStore(target, [one, second])
    assert joined.left_out == left
    assert joined.column("sample_id")[joined.rows("train")].tolist() == kept
    assert joined.column("sample_id")[joined.rows("test")].tolist() == ["2", "5"]
    assert len(joined.states()) == len(joined.samples) == sum(len(piece.rows) for piece in joined.pieces)
    read = [f"{store.path.rsplit('/', 1)[1]} {row}" for store, rows in joined.pieces for row in rows]
    assert joined.column("final_answer").tolist() == read, "the rows of the stores are those of the table"


def test_one_image_in_two_sources_is_one_group(tmp_path):
    """Intervals count groups. Equal group names in two stores mean nothing."""
    target = write(tmp_path, "target")
    one = write(tmp_path, "one", contents=shared("one", _1="x"))
    second = write(tmp_path, "second", contents=shared("second", _4="x"))
    joined = JoinedStore(target, [one, second])
    groups = joined.column("group")[joined.rows("validation")].tolist()
    assert groups == ["one/g1", "one/g4", "second/g1", "one/g1"]


def test_a_store_that_does_not_say_what_its_images_are_is_refused(tmp_path):
    target = write(tmp_path, "target")
    old = write(tmp_path, "old", contents=[None] * 6)
    with pytest.raises(ReLopeError, match=r"old does not record which images .*: delete it and extract it again"):
        JoinedStore(target, [old])
    with pytest.raises(ReLopeError, match=r"old does not record which images"):
        JoinedStore(old, [target])


def test_other_models_and_the_same_samples_are_refused(stores, tmp_path):
    target, first, _ = stores
    other = write(tmp_path, "other", {2: make_block(np.random.default_rng(3))})
    with pytest.raises(ReLopeError, match="different models or layers"):
        JoinedStore(target, [other])
    wide = write(tmp_path, "wide", state_dtype="float32")
    with pytest.raises(ReLopeError, match=r"wide holds states in float32, .*target in bfloat16"):
        JoinedStore(target, [wide])
    with pytest.raises(ReLopeError, match="questions in common"):
        JoinedStore(target, [first, first])
