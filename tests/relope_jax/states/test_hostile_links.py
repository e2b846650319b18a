"""Links, pipes and left-over files where this software writes: nothing they lead to is touched."""

from __future__ import annotations

import json
import os
import time

import pytest
import tensorstore as ts

from relope_jax.errors import ReLopeError
from relope_jax.io import files
from relope_jax.io.lease import Lease
from relope_jax.io.locks import is_locked, lock_folder
from relope_jax.io.place import LocalPlace
from relope_jax.states.shards import Shard, only_writer
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from tests.relope_jax.states.hostile import line_of
from tests.relope_jax.states.test_store import IDENTITY, write_store


@pytest.fixture
def outside(tmp_path):
    """A folder with one file that must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "keep").write_text("keep")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["keep"]
    assert (folder / "keep").read_text() == "keep"


def test_a_link_in_the_place_of_a_scratch_folder_is_removed_itself(tmp_path, outside):
    (tmp_path / ".part.tmp").symlink_to(outside)
    with files.publishing(tmp_path / "part") as scratch:
        (scratch / "file").write_text("x")
    assert not (tmp_path / "part").is_symlink()
    assert (tmp_path / "part" / "file").read_text() == "x"


def test_a_file_in_the_place_of_a_scratch_folder_is_removed(tmp_path):
    (tmp_path / ".part.tmp").write_text("left over")
    with files.publishing(tmp_path / "part") as scratch:
        (scratch / "file").write_text("x")
    assert (tmp_path / "part" / "file").exists()


def test_a_killed_part_with_a_link_inside_is_made_again(tmp_path, outside):
    (tmp_path / ".part.tmp").mkdir()
    (tmp_path / ".part.tmp" / "link").symlink_to(outside)
    with files.publishing(tmp_path / "part") as scratch:
        assert not list(scratch.iterdir())


@pytest.mark.parametrize("target", ["keep", "new"])
def test_a_new_file_is_never_written_through_a_link(tmp_path, outside, target):
    (tmp_path / "link").symlink_to(outside / target)
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "link", b"hostile")
    (tmp_path / "there").write_text("old")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "there", b"hostile")
    assert (tmp_path / "there").read_text() == "old"


def test_a_file_is_replaced_and_not_what_a_link_leads_to(tmp_path, outside):
    (tmp_path / "file").symlink_to(outside / "keep")
    files.write_bytes(tmp_path / "file", b"new")
    assert not (tmp_path / "file").is_symlink()
    (tmp_path / "other").symlink_to(outside / "absent")
    files.create_bytes(tmp_path / "other", b"new")


@pytest.mark.parametrize("name", [".lock", ".lock-0-of-1"])
def test_a_lock_is_neither_a_link_nor_a_pipe(tmp_path, outside, name):
    (tmp_path / name).symlink_to(outside / "keep")
    assert "symbolic link" in line_of(lambda: lock_folder(tmp_path, name))
    assert not is_locked(tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert "pipe or a device" in line_of(lambda: lock_folder(tmp_path, name))
    assert not is_locked(tmp_path / name)
    assert LocalPlace(tmp_path).locks() == []


def test_locks_under_odd_names_stop_nobody(tmp_path):
    for name in (".lock-\n", ".lock-\udcff", ".lockx", ".lock-" + "9" * 200):
        os.close(os.open(tmp_path / name, os.O_CREAT))
    os.mkfifo(tmp_path / ".lock-pipe")
    (tmp_path / ".lock-folder").mkdir()
    StoreWriter(tmp_path, IDENTITY).close()


@pytest.mark.parametrize("shard", [Shard(), Shard(0, 4), Shard(1, 4), Shard(2, 3)], ids=str)
def test_damage_is_not_removed_while_anyone_writes(tmp_path, shard):
    """Not even while a shard with another count is running, whose lock has another name."""
    write_store(tmp_path / "store")
    (tmp_path / "store" / "parts" / "00001" / "samples.parquet").unlink()
    store = Store(tmp_path / "store")
    damages = list(store.damages())
    with (
        only_writer(LocalPlace(tmp_path / "store"), shard),
        pytest.raises(ReLopeError, match="another process is writing"),
    ):
        store.drop(damages)
    assert (tmp_path / "store" / "parts" / "00001" / "part.json").exists()
    assert (tmp_path / "store" / "manifest.json").exists()
    store.drop(damages)
    assert not (tmp_path / "store" / "parts" / "00001").exists()


def test_new_labels_of_parts_that_are_removed_are_removed(tmp_path):
    """Otherwise an interrupted regrading would refer to the removed parts again."""
    write_store(tmp_path)
    (tmp_path / "regrading").mkdir()
    (tmp_path / "regrading" / "manifest.json").write_bytes((tmp_path / "manifest.json").read_bytes())
    (tmp_path / "parts" / "00001" / "samples.parquet").unlink()
    store = Store(tmp_path)
    store.drop(store.damages())
    assert not (tmp_path / "regrading").exists()


@pytest.mark.parametrize("content", [
    b"", b"[" * 10**5, b"null", b"[]", b'{"time": "x"}', b'{"time": NaN}', b'{"time": -Infinity}', b'{"time": {}}',
    b'{"time": 1' + b"0" * 400 + b"}", b"\xff", b'{"holder": "x"}',
])  # fmt: skip
def test_a_lease_that_is_none_is_held_by_nobody(content):
    store = ts.KvStore.open({"driver": "memory"}).result()
    store.write("lease", content).result()
    assert not Lease(store, "lease", "it").is_held()


def test_the_holder_of_a_lease_is_named_on_one_line():
    store = ts.KvStore.open({"driver": "memory"}).result()
    store.write("lease", json.dumps({"time": time.time(), "holder": "a\nb\x1b[2J" + "c" * 10**6})).result()
    line = line_of(lambda: Lease(store, "lease", "it").take())
    assert "held by a\\nb\\x1b[2Jccc" in line
    assert len(line) < 300
