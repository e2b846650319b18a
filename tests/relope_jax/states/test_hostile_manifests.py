"""Manifests resealed by others: a field with a wrong type, range or pattern is one error line before it is used, and
nothing outside the store is read, written or deleted."""

from __future__ import annotations

import copy
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.io.place import LocalPlace
from relope_jax.states.manifest import Part
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from tests.relope_jax.states.hostile import change_manifest, line_of, make_canary, names, seal, values
from tests.relope_jax.states.test_store import BLOCKS, IDENTITY, write_part, write_store

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEX = "0" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "outside" / "store"
    path.parent.mkdir()
    write_store(path)
    return path


@pytest.fixture
def store_path(made, tmp_path):
    shutil.copytree(made.parent, tmp_path / "outside")
    return tmp_path / "outside" / "store"


def fields(record, path=()):
    """The path of every value in a JSON object, including those of files."""
    yield path
    pairs = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in pairs:
        yield from fields(value, (*path, key))


def put(record, path, value) -> None:
    for key in path[:-1]:
        record = record[key]
    record[path[-1]] = value


def rename(record, path, name) -> None:
    for key in path[:-1]:
        record = record[key]
    if isinstance(record, dict):
        record[name] = record.pop(path[-1])


def use_all(path) -> None:
    """Everything that readers do with a store, and that the commands recommended in error messages do."""
    store = Store(path)
    damages = list(store.damages())
    _ = store.block, store.states(), store.samples, store.column("label"), store.last_hidden()
    store.drop(damages)


def others(path) -> dict[str, str]:
    return {name: digest for name, digest in make_canary(path.parent).items() if not name.startswith("store/")}


@FEW
@given(st.data())
def test_no_value_of_a_manifest_gives_more_than_a_line(store_path, data):
    before = others(store_path)
    manifest = store_path / "manifest.json"
    record = json.loads(manifest.read_text())
    changed = copy.deepcopy(record)
    path = data.draw(st.sampled_from([p for p in fields(record) if p and p != ("sha256",)]))
    if data.draw(st.booleans()):
        put(changed, path, data.draw(values))
    else:
        rename(changed, path, data.draw(names))
    whole = {name: (store_path / name).read_bytes() for name in LocalPlace(store_path).names()}
    seal(manifest, changed)
    try:
        line_of(lambda: use_all(store_path))
    finally:
        assert others(store_path) == before
        for name, content in whole.items():
            (store_path / name).parent.mkdir(parents=True, exist_ok=True)
            (store_path / name).write_bytes(content)


@FEW
@given(name=names, kind=st.sampled_from(["part", "block", "file", "layer"]))
def test_names_in_a_manifest_are_those_that_a_store_has(store_path, name, kind):
    before, manifest = others(store_path), store_path / "manifest.json"
    whole = manifest.read_text()

    def change(record):
        if kind == "part":
            record["parts"][1]["name"] = name
        elif kind == "block":
            record["blocks"][name] = record["blocks"].pop("block-2.safetensors")
        elif kind == "file":
            record["parts"][0]["files"][name] = HEX
        else:
            record["identity"]["layers"] = [name]

    change_manifest(store_path, change)
    if manifest.read_text() != whole:
        assert "is damaged" in line_of(lambda: use_all(store_path))
    assert others(store_path) == before
    manifest.write_text(whole)


def set_to(*path, value):
    return lambda record: put(record, path, value)


@pytest.mark.parametrize(
    "change",
    [
        set_to("parts", 0, "name", value="00001"), set_to("parts", 0, "name", value="0"),
        set_to("parts", 0, "name", value="000000"), set_to("parts", 0, "n_samples", value=-1),
        set_to("parts", 0, "n_samples", value=2**63), set_to("parts", 0, "n_samples", value=True),
        set_to("parts", 0, "n_samples", value=3.0), set_to("parts", 0, "n_tokens", value=2),
        set_to("parts", 0, "n_tokens", value=2**63 - 1), set_to("parts", 0, "n_tokens", value=10**4000),
        set_to("parts", 0, "token_budget", value=-1), set_to("parts", 0, "token_budget", value=None),
        set_to("parts", 0, "failed", value=[{}]), set_to("parts", 0, "failed", value=[{"sample_id": 1, "reason": ""}]),
        set_to("parts", 0, "files", value={}), set_to("parts", 0, "files", "samples.parquet", value=""),
        set_to("parts", 0, "files", "samples.parquet", value=HEX.upper() + "\n"),
        set_to("parts", 0, "files", "part.json", value=HEX), set_to("parts", 0, "more", value=1),
        set_to("parts", value={}), set_to("parts", value=[]), set_to("parts", value=[None]),
        set_to("blocks", value={}), set_to("blocks", "block-3.safetensors", value=HEX),
        set_to("blocks", "block-2.safetensors", value="x" * 64),
        set_to("identity", value=None), set_to("identity", "layers", value=[]),
        set_to("identity", "layers", value=[2, 2]), set_to("identity", "layers", value=[0]),
        set_to("identity", "layers", value=[2.0]), set_to("identity", "layers", value=["2"]),
        set_to("identity", "hidden_size", value=0), set_to("identity", "hidden_size", value=2**40),
        set_to("identity", "state_dtype", value="int4"), set_to("identity", "model_dtype", value="float8"),
        set_to("identity", "part_size", value=-1), set_to("identity", "versions", value={"torch": 2}),
        set_to("identity", "dataset", value=[]), set_to("identity", "dataset", value={"name": 1}),
        set_to("identity", "unknown", value=1), set_to("more", value=1),
    ],
)  # fmt: skip
def test_a_field_of_another_type_range_or_pattern_is_refused(store_path, change):
    change_manifest(store_path, change)
    assert "is damaged" in line_of(lambda: Store(store_path))


@pytest.mark.parametrize("name", ["manifest.json", "identity.json", "parts/00000/part.json"])
@pytest.mark.parametrize(
    "content",
    [b"[" * 500_000, b'{"a":' * 500_000, b"[" * 99 + b"]" * 99, b"9" * 5000, b"null", b"1", b'"x"', b"\xff\xfe", b"",
     b'{"sha256": [], "schema_version": 6}', b'{"schema_version": {}}', b'{"schema_version": "\\u2028"}', b"NaN"],
    ids=lambda content: repr(content)[:24],
)  # fmt: skip
def test_a_record_that_is_no_record_is_a_line(store_path, name, content):
    """The store cannot be read or is found damaged, and its writer reports this or makes the part again."""
    (store_path / name).write_bytes(content)
    assert line_of(lambda: Store(store_path).verify())
    (store_path / "manifest.json").unlink()
    with_identity = line_of(lambda: StoreWriter(store_path, IDENTITY).close())
    assert bool(with_identity) == (name == "identity.json")
    if name.startswith("parts"):
        assert Part.load(LocalPlace(store_path), "parts/00000", [2]) is None


def test_a_record_larger_than_its_limit_is_not_read(store_path, monkeypatch):
    with open(store_path / "manifest.json", "r+b") as file:
        file.truncate(2**40)  # sparse: takes no disk space
    assert "RELOPE_MAX_JSON_MB" in line_of(lambda: Store(store_path))


def test_a_part_of_an_unfinished_store_must_be_the_one_of_its_folder(tmp_path):
    with StoreWriter(tmp_path, IDENTITY) as writer:
        write_part(writer, 0)
        write_part(writer, 1)
    record = tmp_path / "parts" / "00001" / "part.json"
    for change in ({"name": "00000"}, {"name": "../../x"}, {"files": {"../x": HEX}}, {"n_samples": -1}, {"failed": 1}):
        whole = json.loads(record.read_text())
        seal(record, whole | change)
        with StoreWriter(tmp_path, IDENTITY) as writer:
            assert [writer.has_part(0), writer.has_part(1)] == [True, False], change
            write_part(writer, 1)
    with StoreWriter(tmp_path, IDENTITY) as writer:
        writer.finish(2, BLOCKS)
    assert len(Store(tmp_path).states()) == 5


LINKED = [
    "parts/00001",
    "parts/00001/samples.parquet",
    "parts",
    "parts/00001/positions",
    "parts/00001/layer-2/hidden/c/0/0",
    "block-2.safetensors",
    "identity.json",
]


@pytest.mark.parametrize("linked", LINKED)
def test_links_out_of_a_store_are_not_followed(store_path, linked):
    """And the links' targets are not deleted together with damaged files."""
    others(store_path)
    (store_path / linked).rename(store_path.parent / "moved")
    (store_path / linked).symlink_to(store_path.parent / "moved")
    before = others(store_path)
    store = Store(store_path)
    with pytest.raises(ReLopeError, match="symbolic link out of"):
        _ = store.block, store.states(), store.samples, list(store.damages())
    line_of(lambda: use_all(store_path))
    with pytest.raises(ReLopeError):
        store.drop(store.damages())
    assert others(store_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "parts/00001/layer-2/hidden/c/0/0",
        "parts/00001/positions/zarr.json",
        "manifest.json",
        "block-2.safetensors",
        "parts/00001/samples.parquet",
    ],
)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(store_path, name):
    (store_path / name).unlink()
    os.mkfifo(store_path / name)

    def use() -> None:
        store = Store(store_path)
        _ = store.block, store.samples, store.states(np.array([3, 4]))

    assert line_of(use)
