"""Arrays, sample tables and embeddings of a store resealed by others are compared with the part and the disk before
memory is allocated."""

from __future__ import annotations

import json
import os
import resource
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from relope_jax.errors import ReLopeError
from relope_jax.states.embeddings import load_embeddings, save_embeddings
from relope_jax.states.reader import METADATA
from relope_jax.states.store import Store
from relope_jax.states.writer import SAMPLE_SCHEMA
from tests.builders import make_block, make_spec
from tests.relope_jax.states.hostile import change_manifest, line_of, trust_files, values
from tests.relope_jax.states.test_hostile_manifests import fields, put
from tests.relope_jax.states.test_store import write_store

FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ARRAYS = ["layer-2/hidden", "layer-2/last_hidden", "positions"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "store"
    write_store(path)
    return path


@pytest.fixture
def store_path(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")


def peak_bytes() -> int:
    """Not `tracemalloc`, which crashes when TensorStore's threads free memory while it stops."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_all(path) -> None:
    store = Store(path)
    _ = store.samples, store.block, store.states(), store.last_hidden(), store.prompts, store.texts("question")
    for name in store.samples.column_names:
        if pa.types.is_list(store.samples.schema.field(name).type):
            continue
        line_of(lambda name=name: store.column(name))


def change_array(path, name: str, change) -> None:
    file = path / "parts" / "00001" / name / METADATA
    record = json.loads(file.read_bytes())
    change(record)
    file.write_text(json.dumps(record))
    trust_files(path)


@FEW
@given(st.data())
def test_no_description_of_an_array_gives_more_than_a_line(store_path, data):
    name = data.draw(st.sampled_from(ARRAYS))
    file = store_path / "parts" / "00001" / name / METADATA
    whole = file.read_bytes()
    record = json.loads(whole)
    path = data.draw(st.sampled_from([p for p in fields(record) if p]))
    change_array(store_path, name, lambda record: put(record, path, data.draw(values)))
    line_of(lambda: read_all(store_path))
    file.write_bytes(whole)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.update(shape=[2**50, a["shape"][1]]),
        lambda a: a.update(shape=[a["shape"][0], 2**40]),
        lambda a: a.update(shape=[a["shape"][0] + 1, a["shape"][1]]),
        lambda a: a.update(shape=[0, 0]),
        lambda a: a.update(shape=[-1, 4]),
        lambda a: a.update(shape=[]),
        lambda a: a.update(shape=[10**400, 1]),
        lambda a: a.update(data_type="float64"),
        lambda a: a.update(data_type="json"),
        lambda a: a.update(fill_value="NaN"),
        lambda a: a.update(codecs=[]),
        lambda a: a.update(codecs=[{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 9}}]),
        lambda a: a.update(codecs=[{"name": "blosc"}]),
        lambda a: a.update(node_type="group"),
        lambda a: a["codecs"][0]["configuration"].update(chunk_shape=[1, 2**40]),
        lambda a: a["codecs"][0]["configuration"].update(chunk_shape=[0, 16]),
        lambda a: a["codecs"][0]["configuration"]["codecs"].append({"name": "zstd"}),
        lambda a: a["chunk_grid"]["configuration"].update(chunk_shape=[2**50, 16]),
        lambda a: a.update(chunk_key_encoding={"name": "v2", "configuration": {"separator": "/../"}}),
        lambda a: a.update(storage_transformers=[{"name": "x"}]),
        lambda a: a.clear(),
    ],
)
def test_an_array_that_the_part_does_not_have_is_refused_before_it_takes_memory(store_path, name, change):
    change_array(store_path, name, change)
    before = peak_bytes()
    assert "part 00001" in line_of(lambda: read_all(store_path))
    assert peak_bytes() - before < 100e6


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("size", [0, 10, -1, +1, 2**40])
def test_an_array_of_another_size_on_the_disk_is_refused(store_path, name, size):
    shard = store_path / "parts" / "00001" / name / "c" / "0" / "0"
    os.truncate(shard, size if size in (0, 10, 2**40) else shard.stat().st_size + size)
    assert "part 00001" in line_of(lambda: read_all(store_path))


def test_counts_that_the_arrays_do_not_have_are_refused_before_they_take_memory(store_path):
    def grow(record) -> None:
        for part in record["parts"]:
            part["n_samples"] = part["n_tokens"] = 2**40

    change_manifest(store_path, grow)
    for read in (Store.states, Store.last_hidden, lambda store: store.samples, lambda store: store.block):
        assert "part 00000" in line_of(lambda read=read: read(Store(store_path)))


def test_prompts_longer_than_the_arrays_are_refused_before_they_take_memory(store_path):
    write_table(store_path, set_column("n_tokens", [2**31 - 1, 2**31 - 1])(table_of(store_path)))
    change_manifest(store_path, lambda record: record["parts"][1].update(n_tokens=2**32 - 2))
    assert "does not have the recorded shape or size" in line_of(lambda: Store(store_path).states())


def table_of(path) -> pa.Table:
    return pq.read_table(path / "parts" / "00001" / "samples.parquet")


def set_column(name: str, values: list, kind: pa.DataType | None = None):
    def change(table: pa.Table) -> pa.Table:
        i = table.schema.get_field_index(name)
        return table.set_column(i, name, pa.array(values, kind or SAMPLE_SCHEMA.field(name).type))

    return change


def write_table(path, table: pa.Table, **how) -> None:
    pq.write_table(table, path / "parts" / "00001" / "samples.parquet", **how)
    trust_files(path)


@pytest.mark.parametrize(
    "change",
    [
        set_column("n_tokens", [2, 3]), set_column("n_tokens", [4, 0]), set_column("n_tokens", [-1, 5]),
        set_column("n_tokens", [2, None]), set_column("n_tokens", [2, 2], pa.int64()),
        set_column("n_tokens", [2.0, 2.0], pa.float32()), set_column("n_tokens", ["2", "2"], pa.string()),
        set_column("label", [0, 2]), set_column("label", [-1, 0]), set_column("label", [0, 1], pa.float32()),
        set_column("split", ["train", "dev"]), set_column("split", ["", None]),
        set_column("split", ["train\n", "test"]),
        set_column("sample_id", [None, "x"]), set_column("sample_id", ["p0s0", "x"]),
        set_column("sample_id", ["x", "x"]),
        set_column("sample_id", [1, 2], pa.int64()), set_column("image_start", [-2, 0]),
        set_column("image_tokens", [-1, 0]), set_column("image_tokens", [2**31 - 1, 0]),
        set_column("grid_height", [-5, 5]), set_column("grid_width", [0, 2**31 - 1]),
        set_column("token_logprobs", [[float("nan")], [0]]), set_column("token_logprobs", [[None], []]),
        set_column("token_logprobs", [[-float("inf")], []]), set_column("first_token_entropy", [float("inf"), 0]),
        lambda t: t.slice(0, 1), lambda t: t.slice(0, 0),
        lambda t: pa.concat_tables([t, t]), lambda t: t.drop_columns(["label"]), lambda t: t.select([]),
        lambda t: t.append_column("more", pa.array([1, 2])),
        lambda t: t.append_column("label", t["label"]),
        lambda t: t.set_column(0, "sample_id", pa.array(["a", "b"]).dictionary_encode()),
    ],
)  # fmt: skip
def test_a_sample_table_that_no_extraction_writes_is_refused(store_path, change):
    write_table(store_path, change(table_of(store_path)))
    assert "00001" in line_of(lambda: Store(store_path).samples) or "id of another" in line_of(
        lambda: Store(store_path).samples
    )


@pytest.mark.parametrize("name", ["label", "group", "question", "response", "final_answer", "first_token_entropy"])
def test_a_column_without_values_that_results_need_is_a_line(store_path, name):
    write_table(store_path, set_column(name, [None, None])(table_of(store_path)))
    assert f"have no {name}" in line_of(lambda: Store(store_path).column(name))


def test_columns_are_found_in_any_order(store_path):
    before = Store(store_path).samples
    write_table(store_path, table_of(store_path).select(SAMPLE_SCHEMA.names[::-1]))
    assert Store(store_path).samples.equals(before)


@FEW
@given(where=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_changed_bytes_of_a_sample_table_are_a_line(store_path, where, value, cut):
    file = store_path / "parts" / "00001" / "samples.parquet"
    whole = bytearray(file.read_bytes())
    at = min(len(whole) - 1, int(where * len(whole)))
    changed = whole[:at] if cut else whole[:at] + bytes([value]) + whole[at + 1 :]
    file.write_bytes(changed)
    trust_files(store_path)
    line_of(lambda: read_all(store_path))
    file.write_bytes(whole)


@pytest.mark.parametrize("change", [{"layer": 3}, {"hidden_size": 32}, {"rope_axes": 3}])
def test_a_block_of_another_model_than_the_states_is_refused(store_path, change):
    from relope_jax.block.file import save_block

    save_block(store_path / "block-2.safetensors", make_block(np.random.default_rng(0), make_spec(**change)))
    trust_files(store_path)
    assert "its states have layer 2" in line_of(lambda: Store(store_path).block)


def test_parts_with_other_numbers_of_position_ids_are_refused(store_path):
    from relope_jax.states.arrays import write_array

    shutil.rmtree(store_path / "parts" / "00001" / "positions")
    write_array(store_path / "parts" / "00001" / "positions", np.zeros((4, 3), np.int32))
    trust_files(store_path)
    assert "3 position ids per token, not 1" in line_of(lambda: Store(store_path).states())


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"embeddings": np.zeros((2, 3), np.float32)}, {}),
        ({"other": np.zeros((2, 3), np.float32)}, {"record": "{}"}),
        ({"embeddings": np.zeros((2, 3), np.float16)}, {"record": "{}"}),
        ({"embeddings": np.zeros(2, np.float32)}, {"record": "{}"}),
        ({"embeddings": np.zeros((2, 0), np.float32)}, {"record": "{}"}),
        ({"embeddings": np.zeros((2, 3), np.float32)}, {"record": "[" * 10**5}),
        ({"embeddings": np.zeros((2, 3), np.float32)}, {"record": "[]"}),
        ({"embeddings": np.zeros((2, 3), np.float32)}, {"record": '{"sha256": []}'}),
    ],
)
def test_embeddings_that_are_none_are_a_line(store_path, tensors, metadata):
    save_embeddings(store_path, "question", np.ones((2, 3), np.float32), "encoder", ["a", "b"])
    assert load_embeddings(store_path, "question", ["a", "b"]).shape == (2, 3)
    save_file(tensors, store_path / "embeddings" / "question.safetensors", metadata=metadata)
    with pytest.raises(ReLopeError, match="are damaged"):
        load_embeddings(store_path, "question", ["a", "b"])
