"""The store on disk: round trip, resume, and every way in which it can be wrong."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.io.files import tree
from relope_jax.states.manifest import SCHEMA_VERSION, Identity
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard, StoreWriter
from tests.builders import make_block, make_spec, make_states

IDENTITY = Identity(
    model="m", source="s", commit="", adapter="", layers=[2], hidden_size=16, model_dtype="float32",
    state_dtype="bfloat16", attention="sdpa", device="cpu", device_map="", prompt_hash="h",
    dataset={"name": "d", "path": ""},
    graders=1, questions="q", samples="x",
    labels_from="", max_new_tokens=4, part_size=3, token_budget=64, versions={"torch": "1"},
)  # fmt: skip
PARTS = ([4, 1, 7], [2, 2])


def sample_rows(states, part: int) -> list[dict]:
    return [
        {
            "sample_id": f"p{part}s{i}",
            "group": f"g{i}",
            "split": ("train", "validation", "test")[i % 3],
            "question": "q",
            "answer": "a",
            "response": "b",
            "label": i % 2,
            "n_tokens": int(n),
        }
        for i, n in enumerate(states.lengths)
    ]


def part_states(part: int):
    return make_states(np.random.default_rng(part), PARTS[part])


BLOCKS = {2: make_block(np.random.default_rng(9))}


def write_part(writer: StoreWriter, part: int) -> None:
    states = part_states(part)
    writer.write_part(part, {2: states}, sample_rows(states, part), [])


def write_store(url, identity: Identity = IDENTITY) -> None:
    with StoreWriter(url, identity) as writer:
        for part in range(len(PARTS)):
            write_part(writer, part)
        writer.finish(len(PARTS), BLOCKS)


@pytest.fixture
def store_path(tmp_path):
    path = tmp_path / "store"
    write_store(path)
    return path


def test_round_trip(store_path):
    store = Store(store_path)
    states = store.states()
    expected = [part_states(part) for part in range(len(PARTS))]
    hidden = np.concatenate([s.hidden for s in expected])
    assert str(states.hidden.dtype) == "bfloat16"
    np.testing.assert_allclose(states.hidden.astype(np.float32), hidden, rtol=2**-8)  # 8 bits of mantissa
    np.testing.assert_array_equal(states.last_hidden, np.concatenate([s.last_hidden for s in expected]))
    np.testing.assert_array_equal(states.positions, np.concatenate([s.positions for s in expected]))
    assert states.lengths.tolist() == [4, 1, 7, 2, 2]
    assert store.column("sample_id").tolist() == ["p0s0", "p0s1", "p0s2", "p1s0", "p1s1"]
    assert store.rows("train").tolist() == [0, 3]
    block = BLOCKS[2]
    assert store.block.spec == block.spec
    assert store.block.weights.keys() == block.weights.keys()
    np.testing.assert_array_equal(store.block.weights["q.weight"], block.weights["q.weight"])
    store.verify()


def test_unfinished_store_is_refused_then_resumed(tmp_path):
    path = tmp_path / "store"
    with StoreWriter(path, IDENTITY) as writer:
        write_part(writer, 0)
    with pytest.raises(ReLopeError, match=r"unfinished \(1 parts"):
        Store(path)
    (path / "parts" / ".00001.tmp" / "positions").mkdir(parents=True)  # left behind by a killed writer
    with StoreWriter(path, IDENTITY) as writer:
        assert [writer.has_part(0), writer.has_part(1)] == [True, False]
        write_part(writer, 1)
        writer.finish(2, BLOCKS)
    assert len(Store(path).states()) == 5
    Store(path).verify()


def test_second_writer_is_refused(tmp_path):
    with StoreWriter(tmp_path, IDENTITY), pytest.raises(ReLopeError, match="another process"):
        StoreWriter(tmp_path, IDENTITY)
    StoreWriter(tmp_path, IDENTITY).close()


def test_shards_share_a_store_and_refuse_overlap(tmp_path):
    """Shards of one count run in parallel. Another count, the whole store, or the same shard twice is refused."""
    with StoreWriter(tmp_path, IDENTITY, Shard(0, 2)) as first, StoreWriter(tmp_path, IDENTITY, Shard(1, 2)) as second:
        for other in (Shard(0, 2), Shard(1, 3), Shard()):
            with pytest.raises(ReLopeError, match="another process"):
                StoreWriter(tmp_path, IDENTITY, other)
        write_part(second, 1)
        write_part(first, 0)
        assert first.has_part(1)
        first.finish(2, BLOCKS)
    with StoreWriter(tmp_path, IDENTITY, Shard(1, 3)):
        pass
    assert len(Store(tmp_path).states()) == 5


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "1/", "a/b", "0/0"])
def test_wrong_shards_are_refused(text):
    with pytest.raises(ReLopeError, match=r"not i/N"):
        Shard.parse(text)


def test_several_layers_share_a_store(tmp_path):
    identity = dataclasses.replace(IDENTITY, layers=[1, 2])
    states = part_states(0)
    other = dataclasses.replace(states, hidden=2 * states.hidden, last_hidden=3 * states.last_hidden)
    blocks = {1: make_block(np.random.default_rng(1), make_spec(layer=1)), **BLOCKS}
    with StoreWriter(tmp_path, identity) as writer:
        writer.write_part(0, {1: other, 2: states}, sample_rows(states, 0), [])
        writer.finish(1, blocks)
    with pytest.raises(ReLopeError, match=r"holds 1, 2"):
        Store(tmp_path).states()
    with pytest.raises(ReLopeError, match="does not hold layer 3"):
        Store(tmp_path, layer=3)
    first, second = Store(tmp_path, layer=1), Store(tmp_path, layer=2)
    np.testing.assert_array_equal(first.states().last_hidden, 3 * second.states().last_hidden)
    assert first.block.spec.layer == 1
    assert len(Store(tmp_path).samples) == 3
    first.verify()


def test_other_identity_is_refused(tmp_path):
    StoreWriter(tmp_path, IDENTITY).close()
    with pytest.raises(ReLopeError, match=r"layers: config \[3\], store \[2\]"):
        StoreWriter(tmp_path, dataclasses.replace(IDENTITY, layers=[3]))
    record = tmp_path / "identity.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "adapter"}))
    with pytest.raises(ReLopeError, match=r"adapter: config '', store None"):  # identities had no adapter then
        StoreWriter(tmp_path, IDENTITY)


def flip(path, where: float) -> None:
    data = bytearray(path.read_bytes())
    data[min(len(data) - 1, int(where * len(data)))] ^= 1
    path.write_bytes(data)


def test_flipped_byte_anywhere_is_found_and_named(store_path):
    """In every file of the store: at its start, in the middle and at its end."""
    names = [name for name in tree(store_path) if not name.startswith(".")]
    assert len(names) == 2 * 8 + 3  # eight files per part; manifest, identity, block
    for name in names:
        whole = (store_path / name).read_bytes()
        for where in (0, 0.3, 0.5, 0.8, 1):
            flip(store_path / name, where)
            with pytest.raises(ReLopeError, match=re.escape(name.split("/")[1] if "/" in name else name)):
                Store(store_path).verify()
            (store_path / name).write_bytes(whole)
    Store(store_path).verify()


@pytest.mark.parametrize(
    "name", ["layer-2/hidden/c/0/0", "positions/c/0/0", "layer-2/last_hidden/c/0/0", "positions/zarr.json"]
)
@pytest.mark.parametrize("where", [0.1, 0.6, 1])
def test_flipped_byte_is_never_read(store_path, name, where):
    flip(store_path / "parts" / "00001" / name, where)
    with pytest.raises(ReLopeError, match="part 00001"):
        Store(store_path).states()


@pytest.mark.parametrize("name", ["layer-2/hidden/c/0/0", "layer-2/last_hidden/zarr.json", "samples.parquet"])
def test_missing_file_is_found_and_named(store_path, name):
    """TensorStore alone would read a missing chunk as zeros."""
    (store_path / "parts" / "00001" / name).unlink()
    with pytest.raises(ReLopeError, match="part 00001"):
        Store(store_path).states()


@pytest.mark.parametrize("rows", [[0], [4, 3], [4, 0, 2], [1, 1, 3], [0, 1, 2, 3, 4]])
def test_states_of_chosen_rows(store_path, rows):
    store = Store(store_path)
    chosen, expected = store.states(np.array(rows)), store.states().select(np.array(rows))
    np.testing.assert_array_equal(chosen.hidden, expected.hidden)
    np.testing.assert_array_equal(chosen.last_hidden, expected.last_hidden)
    np.testing.assert_array_equal(chosen.offsets, expected.offsets)


def test_changed_block_is_found(store_path):
    path = store_path / "block-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ReLopeError, match="missing or changed"):
        _ = Store(store_path).block


def test_truncated_or_newer_manifest_is_refused(store_path):
    manifest = store_path / "manifest.json"
    whole = manifest.read_text()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        manifest.write_text(whole[:cut])
        with pytest.raises(ReLopeError, match="damaged"):
            Store(store_path)
    for other in (SCHEMA_VERSION - 1, SCHEMA_VERSION + 1):
        manifest.write_text(json.dumps(json.loads(whole) | {"schema_version": other}))
        with pytest.raises(ReLopeError, match=f"schema version {other}"):
            Store(store_path)


def test_damaged_or_half_copied_part_of_an_unfinished_store_is_made_again(tmp_path):
    with StoreWriter(tmp_path, IDENTITY) as writer:
        write_part(writer, 0)
        write_part(writer, 1)
    record = tmp_path / "parts" / "00000" / "part.json"
    record.write_text(record.read_text().replace('"n_samples": 3', '"n_samples": 2'))
    (tmp_path / "parts" / "00001" / "part.json").unlink()
    with StoreWriter(tmp_path, IDENTITY) as writer:
        assert [writer.has_part(0), writer.has_part(1)] == [False, False]
        write_part(writer, 0)
        write_part(writer, 1)
        writer.finish(2, BLOCKS)
    Store(tmp_path).verify()


def test_unfinished_store_of_another_schema_is_not_continued(tmp_path):
    StoreWriter(tmp_path, IDENTITY).close()
    path = tmp_path / "identity.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"a_newer_field": 1}))
    with pytest.raises(ReLopeError, match=r"started with other settings \(a_newer_field: config None, store 1\)"):
        StoreWriter(tmp_path, IDENTITY)
    for other in (SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, None):
        path.write_text(json.dumps(whole | {"schema_version": other}))
        for use in (lambda: StoreWriter(tmp_path, IDENTITY), lambda: Store(tmp_path)):
            with pytest.raises(
                ReLopeError, match=rf"schema version {other}, but this software .* {SCHEMA_VERSION} \(since"
            ):
                use()
    for torn in (b"", b"[]", b'{"model'):
        path.write_bytes(torn)
        with pytest.raises(ReLopeError, match=r"is damaged|started with other settings"):
            StoreWriter(tmp_path, IDENTITY)


def test_place_that_cannot_be_used_is_one_line(tmp_path, store_path):
    (tmp_path / "a file").write_text("x")
    for wrong in (tmp_path / "a file", tmp_path / "a file" / "store"):
        with pytest.raises(ReLopeError, match="cannot use"):
            StoreWriter(wrong, IDENTITY)
        with pytest.raises(ReLopeError, match=r"cannot use|no store at"):
            Store(wrong)
    (store_path / "manifest.json").unlink()
    (store_path / "manifest.json").mkdir()
    with pytest.raises(ReLopeError, match="cannot use"):
        Store(store_path)


def test_missing_store_says_how_to_make_one(tmp_path):
    with pytest.raises(ReLopeError, match=r"extract\.run"):
        Store(tmp_path / "nowhere")
    (tmp_path / "a file").touch()
    with pytest.raises(ReLopeError, match="not a token-state store"):
        Store(tmp_path)


def test_non_finite_state_is_refused_with_its_sample(tmp_path):
    states = part_states(0)
    states.hidden[5, 3] = np.inf  # row 5 belongs to the third prompt
    with StoreWriter(tmp_path, IDENTITY) as writer, pytest.raises(ReLopeError, match="sample p0s2 "):
        writer.write_part(0, {2: states}, sample_rows(states, 0), [])
    assert not (tmp_path / "parts" / "00000").exists()


def test_all_zero_states_and_failed_samples_survive(tmp_path):
    """All-zero chunks must be stored, or they would look missing. A part may have only failures."""
    states = part_states(0)
    states.hidden[:] = 0.0
    failed = [{"sample_id": "x", "reason": "unreadable image"}]
    with StoreWriter(tmp_path, IDENTITY) as writer:
        writer.write_part(0, {2: states}, sample_rows(states, 0), [])
        writer.write_part(1, {}, [], failed)
        writer.finish(2, BLOCKS)
    store = Store(tmp_path)
    assert np.all(store.states().hidden.astype(np.float32) == 0.0)
    assert store.manifest.failed == failed
    store.verify()
