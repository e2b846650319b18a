"""Commands on stores from others: one line, and nothing outside the store is read, written or deleted."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from extract.inspect import describe
from extract.job.crashes import Suspects
from extract.job.regrade import regrade
from extract.plan import Extraction
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from extract.verify import verify
from relope_jax.errors import ReLopeError
from relope_jax.io.files import tree_checksums
from relope_jax.io.place import LocalPlace
from relope_jax.states.shards import Shard, only_writer
from relope_jax.states.store import Store
from tests.relope_jax.states.hostile import change_manifest, line_of, make_canary, names, seal, values
from tests.relope_jax.states.test_store import write_store

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store_path(tmp_path):
    """A store in a tree of other files."""
    path = tmp_path / "outside" / "store"
    path.parent.mkdir()
    write_store(path)
    return path


@pytest.fixture
def plan(store_path) -> Extraction:
    return Extraction(ModelSpec(device="cpu"), DatasetSpec(name="jsonl", path="none.jsonl"), ExtractSpec(), store_path)


def others(path) -> dict[str, str]:
    return {name: digest for name, digest in make_canary(path.parent).items() if not name.startswith("store/")}


@pytest.mark.parametrize("kind", ["part", "block", "file"])
@pytest.mark.parametrize("name", ["../../../x", "/abs/x/", "../canary/", "../../canary/keep", "", ".", "00000\0", "x"])
def test_what_is_damaged_is_dropped_in_the_store_alone(store_path, kind, name):
    """The command recommended in error messages used to delete any folder named by a part or a block."""
    before, own = others(store_path), tree_checksums(store_path / "parts")

    def change(record) -> None:
        if kind == "part":
            record["parts"][0]["name"] = name
        elif kind == "block":
            record["blocks"] = {name: "0" * 64}
        else:
            record["parts"][0]["files"][name] = "0" * 64

    change_manifest(store_path, change)
    assert "is damaged" in line_of(lambda: verify(str(store_path), drop_damaged=True))
    assert others(store_path) == before
    assert tree_checksums(store_path / "parts") == own


def test_a_part_that_is_a_link_is_not_dropped_with_what_it_leads_to(store_path):
    others(store_path)
    (store_path / "parts" / "00001").rename(store_path.parent / "moved")
    (store_path / "parts" / "00001").symlink_to(store_path.parent / "moved")
    before = others(store_path)
    assert "symbolic link out of" in line_of(lambda: verify(str(store_path), drop_damaged=True))
    (store_path / "parts" / "00001").unlink()
    (store_path / "parts" / "00001").symlink_to("00000")  # within the store
    assert "removed" in line_of(lambda: verify(str(store_path), drop_damaged=True))
    assert (store_path / "parts" / "00000" / "part.json").exists()
    assert not (store_path / "parts" / "00001").is_symlink()
    assert others(store_path) == before


@FEW
@given(names)
def test_prepared_labels_are_published_in_the_store_alone(store_path, plan, name):
    before = others(store_path)
    record = json.loads((store_path / "manifest.json").read_text())
    record["parts"][0]["name"] = name
    folder = store_path / "regrading"
    folder.mkdir(exist_ok=True)
    seal(folder / "manifest.json", record)
    assert "is damaged" in line_of(lambda: regrade(plan))
    assert (store_path / "manifest.json").exists()
    assert others(store_path) == before


def test_prepared_labels_that_are_not_all_there_are_not_published(store_path, plan):
    """Nothing is deleted for them."""
    folder = store_path / "regrading"
    folder.mkdir()
    (folder / "manifest.json").write_bytes((store_path / "manifest.json").read_bytes())
    for content in (None, b"other"):
        if content:
            (folder / "00000.parquet").write_bytes(content)
        assert "regrading is damaged" in line_of(lambda: regrade(plan))
    Store(store_path).verify()


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 4)], ids=str)
def test_labels_are_not_graded_again_while_anyone_writes(store_path, plan, shard):
    with only_writer(LocalPlace(store_path), shard):
        assert "another process is writing" in line_of(lambda: regrade(plan))


@FEW
@given(values)
def test_a_crash_note_that_is_none_is_no_note(store_path, value):
    note = store_path / "crashes" / "00000.json"
    note.parent.mkdir(exist_ok=True)
    for record in (value, {"alone": value, "out": {}}, {"alone": [], "out": value}):
        note.write_text(json.dumps(record))
        found = Suspects.load(LocalPlace(store_path), 0)
        assert all(isinstance(text, str) for text in [*found.alone, *found.out, *found.out.values()])
    for content in (b"[" * 10**5, b"\xff", b"9" * 5000):
        note.write_bytes(content)
        assert Suspects.load(LocalPlace(store_path), 0) == Suspects()


def test_a_crash_note_that_leads_out_of_the_store_is_not_read(store_path):
    note = {"alone": ["x"], "out": {}}
    (store_path.parent / "note.json").write_text(json.dumps(note))
    (store_path / "crashes").mkdir()
    (store_path / "crashes" / "00000.json").symlink_to(store_path.parent / "note.json")
    with pytest.raises(ReLopeError, match="symbolic link out of"):
        Suspects.load(LocalPlace(store_path), 0)


def test_what_a_store_says_is_printed_without_control_characters(store_path):
    def change(record) -> None:
        record["identity"]["model"] = "m\x1b[2J\n\u2028\ud800"
        record["identity"]["dataset"] = {"name": "d\rd", "path": "", "k\x07": ["\x1b]0;x"]}
        record["identity"]["versions"] = {"torch\n": "\x9b"}
        record["parts"][0]["failed"] = [{"sample_id": "s\n", "reason": "\x1b[31m" + "r" * 100}]

    change_manifest(store_path, change)
    lines = list(describe(Store(store_path)))
    assert len("\n".join(lines).splitlines()) == len(lines)
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith(r"model     m\x1b[2J\n\u2028\ud800") for line in lines)
