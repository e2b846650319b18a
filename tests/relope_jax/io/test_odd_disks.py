"""Disks without hard links, folder flushes or locks; full, read-only and vanished disks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from relope_jax.errors import ReLopeError
from relope_jax.io import files, locks
from relope_jax.io.files import create_bytes, require_writable, write_bytes, write_json
from relope_jax.io.locks import is_locked, is_ordinary, lock_folder
from relope_jax.io.place import open_place
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard, StoreWriter
from relope_jax.training.arrays import load_arrays, save_arrays
from tests.relope_jax.states.test_store import IDENTITY, write_store

NO_LINK = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EACCES, errno.EINVAL)
NO_FLUSH = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM)
NO_LOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def refuse(monkeypatch, module, name: str, number: int, concerns=lambda *args: True) -> None:
    """Make a system call fail as on such a disk."""
    real = getattr(module, name)

    def call(*args, **kwargs):
        if concerns(*args):
            raise OSError(number, os.strerror(number), *args[:1])
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, call)


def is_folder(descriptor) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize("number", NO_LINK, ids=errno.errorcode.get)
def test_a_store_is_made_without_hard_links(monkeypatch, tmp_path, number):
    refuse(monkeypatch, os, "link", number)  # C43
    write_store(tmp_path / "s")
    assert Store(tmp_path / "s").column("sample_id").size == 5
    write_store(tmp_path / "s")  # the identity exists already
    assert not list((tmp_path / "s").glob(".identity*"))


@pytest.mark.parametrize("number", NO_FLUSH, ids=errno.errorcode.get)
def test_a_store_is_made_where_folders_cannot_be_flushed(monkeypatch, tmp_path, number):
    refuse(monkeypatch, os, "fsync", number, is_folder)  # C43
    write_store(tmp_path / "s")
    Store(tmp_path / "s").verify()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.EPERM], ids=errno.errorcode.get)
def test_a_store_is_made_where_folders_cannot_be_opened(monkeypatch, tmp_path, number):
    refuse(
        monkeypatch, files.os, "open", number, lambda path, *_: os.path.isdir(path) and tmp_path in Path(path).parents
    )
    write_json(tmp_path / "x.json", 1)
    create_bytes(tmp_path / "y", b"y")
    assert (tmp_path / "y").read_bytes() == b"y"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_fault_of_the_disk_is_not_taken_for_a_missing_flush(monkeypatch, tmp_path, number):
    refuse(monkeypatch, os, "fsync", number)
    with pytest.raises(ReLopeError, match=r"cannot use .*|the disk of .* is full"):
        open_place(tmp_path / "s").write("x", b"x")
    assert not list((tmp_path / "s").iterdir())


@pytest.mark.parametrize("number", NO_LOCK, ids=errno.errorcode.get)
def test_a_disk_without_locks_works_and_says_once_what_is_not_protected(monkeypatch, tmp_path, capsys, number):
    refuse(monkeypatch, fcntl, "flock", number)
    write_store(tmp_path / "s")
    write_store(tmp_path / "s")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the disk of {tmp_path / 's'} has no file locks" in said
    assert "start only one" in said
    assert not is_ordinary(tmp_path)


def test_checkpoints_are_saved_where_orbax_cannot_lock(monkeypatch, tmp_path):
    import jax.numpy as jnp

    tree = {"x": jnp.arange(5.0)}
    assert is_ordinary(tmp_path)
    refuse(monkeypatch, fcntl, "flock", errno.ENOLCK)
    save_arrays(tmp_path / "arrays", tree)
    assert load_arrays(tmp_path / "arrays", tree)["x"].tolist() == [0, 1, 2, 3, 4]


def test_a_held_lock_is_still_a_held_lock(tmp_path):
    with lock_folder(tmp_path), pytest.raises(locks.Locked, match="another process is writing"):
        lock_folder(tmp_path)
    with lock_folder(tmp_path, ".lock-0-of-2"):
        assert is_locked(tmp_path / ".lock-0-of-2")
    assert not is_locked(tmp_path / ".lock-0-of-2")
    assert not is_locked(tmp_path / ".lock-1-of-2")
    assert not (tmp_path / ".lock-1-of-2").exists()  # a query creates no file


def test_a_lock_neither_follows_a_link_nor_empties_a_file(tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(ReLopeError, match=r"the lock .*\.lock is a symbolic link: delete it"):
        lock_folder(tmp_path)
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").write_bytes(b"kept")
    lock_folder(tmp_path).close()
    assert precious.read_bytes() == (tmp_path / ".lock").read_bytes() == b"kept"


def test_of_many_that_create_a_file_without_links_one_succeeds(monkeypatch, tmp_path):
    refuse(monkeypatch, os, "link", errno.EPERM)
    for attempt in range(5):
        path, barrier = tmp_path / f"x{attempt}", threading.Barrier(12)
        read: list[bytes] = []

        def create(i, path=path, barrier=barrier, read=read):
            barrier.wait()
            create_bytes(path, str(i).encode() * 5000)
            read.append(path.read_bytes())

        threads = [threading.Thread(target=create, args=(i % 10,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(read)) == 1
        assert len(read) == 12
        assert len(read[0]) == 5000  # complete for every reader
        assert [p.name for p in tmp_path.glob(f".x{attempt}*")] == []


def test_the_claim_of_a_killed_process_ages(monkeypatch, tmp_path):
    refuse(monkeypatch, os, "link", errno.EPERM)
    monkeypatch.setattr(files, "CLAIM_SECONDS", 0.2)
    (tmp_path / ".x.claim").touch()
    create_bytes(tmp_path / "x", b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_another_identity_is_refused_without_links_too(monkeypatch, tmp_path):
    import dataclasses

    refuse(monkeypatch, os, "link", errno.EOPNOTSUPP)
    StoreWriter(tmp_path / "s", IDENTITY).close()
    with pytest.raises(ReLopeError, match="was started with other settings"):
        StoreWriter(tmp_path / "s", dataclasses.replace(IDENTITY, source="other"), Shard(0, 1))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(small_disk):
    place = open_place(small_disk / "s")
    place.write("kept", b"kept")
    for act in (
        lambda: place.write("kept", bytes(2**21)),
        lambda: place.create("new", bytes(2**21)),
        lambda: save_arrays_into(small_disk / "arrays"),
    ):
        with pytest.raises(
            ReLopeError, match=r"the disk of .* is full: free some space and run the same command again"
        ) as e:
            act()
        assert "\n" not in str(e.value)
    assert place.read("kept") == b"kept"
    assert place.names() == ["kept"]


def save_arrays_into(folder: Path) -> None:
    import numpy as np

    with files.explaining(folder), files.publishing(folder) as scratch:
        save_arrays(scratch / "arrays", {"x": np.random.default_rng(0).normal(size=2**18)})


def test_a_full_disk_is_met_before_hours_of_work(small_disk):
    (small_disk / "filler").write_bytes(bytes(2**20 - 4096))
    (small_disk / "rest").write_bytes(bytes(4096))
    with pytest.raises(ReLopeError, match="is full"):
        require_writable(small_disk / "runs" / "r")


@pytest.fixture
def unprivileged():
    """Act as a user without privileges when running as root; other users are unprivileged already."""
    folder = Path(tempfile.mkdtemp(prefix="relope-test-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.seteuid(65534)
    yield folder
    if os.getuid() == 0:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.fixture
def forbidden(unprivileged):
    """A folder of another user, or one that its owner may not write to."""
    if os.getuid() != 0:
        unprivileged.chmod(0o555)
    yield unprivileged
    if os.getuid() != 0:
        unprivileged.chmod(0o755)


def test_a_forbidden_folder_is_one_line(forbidden):
    place = open_place(forbidden / "s")
    for act in (
        lambda: place.write("x", b""),
        lambda: place.create("x", b""),
        lambda: StoreWriter(forbidden / "s", IDENTITY),
        lambda: require_writable(forbidden / "runs" / "r"),
        lambda: require_writable(forbidden),
    ):
        with pytest.raises(ReLopeError, match=r"cannot use .*: Permission denied \(.*\)") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_a_colleagues_lock_file_can_be_locked(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="relope-test-"))
    folder.chmod(0o777)
    (folder / ".lock").touch(mode=0o644)
    if os.geteuid() == 0:
        os.seteuid(65534)
    else:
        (folder / ".lock").chmod(0o444)
    try:
        lock_folder(folder).close()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["n" * 300, "file/r", "file"], ids=["name-too-long", "file-in-the-way", "is-a-file"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ReLopeError, match="cannot use") as caught:
        require_writable(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(ReLopeError):
        open_place(tmp_path / name).write("x/y", b"")


def test_a_question_about_writing_leaves_nothing_behind(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    write_bytes(tmp_path / "a" / "x", b"x")
    require_writable(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


@pytest.mark.parametrize("text", ['{"a": ', "", "\xff", "[1,"], ids=["torn", "empty", "not-utf-8", "cut"])
def test_a_damaged_json_file_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ReLopeError, match=r"x\.json is damaged"):
        files.read_json(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "y.json")
    write_json(tmp_path / "x.json", {"é": "\ud83d"})
    assert files.read_json(tmp_path / "x.json") == json.loads('{"é": "\\ud83d"}')
