"""Stores in a bucket, against a real local S3 server: the same bytes and the same refusals as on a disk."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from relope_jax.errors import ReLopeError
from relope_jax.io import lease
from relope_jax.io.place import open_place
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard, StoreWriter
from tests.relope_jax.states.test_store import BLOCKS, IDENTITY, write_part, write_store

BUCKET = "s3://routing"


@pytest.fixture(scope="module")
def endpoint():
    """An S3 server in a separate process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url).close()
                break
            time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"{url}/routing", method="PUT")).close()
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def url(endpoint, monkeypatch, request) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return f"{BUCKET}/{request.node.name}/store"


def test_the_same_store_as_on_a_disk(url, tmp_path):
    write_store(url)
    write_store(tmp_path / "disk")
    there, here = open_place(url), open_place(tmp_path / "disk")
    assert there.names() == here.names()
    assert all(there.read(name) == here.read(name) for name in here.names())
    remote, local = Store(url), Store(tmp_path / "disk")
    remote.verify()
    for rows in (None, np.array([4, 0, 2])):
        np.testing.assert_array_equal(remote.states(rows).hidden, local.states(rows).hidden)
        np.testing.assert_array_equal(remote.states(rows).positions, local.states(rows).positions)
    assert remote.samples.equals(local.samples)
    assert remote.block.spec == local.block.spec
    assert remote.digest == local.digest


def test_killed_upload_is_made_again(url):
    with StoreWriter(url, IDENTITY) as writer:
        write_part(writer, 0)
        # State after a kill during an upload: the object that marks a part as complete comes last.
        writer.place.write("parts/00001/layer-2/hidden/c/0/0", b"half")
        writer.place.write("parts/00001/torn", b"x")
    with pytest.raises(ReLopeError, match=r"unfinished \(1 parts"):
        Store(url)
    with StoreWriter(url, IDENTITY) as writer:
        assert [writer.has_part(0), writer.has_part(1)] == [True, False]
        write_part(writer, 1)
        writer.finish(2, BLOCKS)
    Store(url).verify()
    assert not open_place(url).exists("parts/00001/torn")


def test_lost_and_changed_objects_are_found_and_named(url):
    write_store(url)
    place = open_place(url)
    name = "parts/00001/layer-2/hidden/c/0/0"
    whole = place.read(name)
    place.write(name, whole[:5] + b"?" + whole[6:])
    with pytest.raises(ReLopeError, match="part 00001"):
        Store(url).states()
    place.delete(name)
    with pytest.raises(ReLopeError, match="part 00001"):
        Store(url).states()
    damages = list(Store(url).damages())
    assert [damage.name for damage in damages] == ["parts/00001/"]
    Store(url).drop(damages)
    with pytest.raises(ReLopeError, match=r"unfinished \(1 parts"):
        Store(url)


def test_second_writer_is_refused_and_a_dead_one_is_not_waited_for_forever(url, monkeypatch):
    with StoreWriter(url, IDENTITY, Shard(0, 2)), StoreWriter(url, IDENTITY, Shard(1, 2)):
        for shard in (Shard(0, 2), Shard(0, 3), Shard()):
            with pytest.raises(ReLopeError, match="another process is writing"):
                StoreWriter(url, IDENTITY, shard)
    StoreWriter(url, IDENTITY).close()
    monkeypatch.setattr(lease, "RENEWS", 0.1)
    # A killed writer cannot release its lease, which then expires.
    place = open_place(url)
    dead = {"holder": "elsewhere process 1", "time": time.time()}
    place.write(Shard().lock, json.dumps(dead).encode())
    with pytest.raises(ReLopeError, match="held by elsewhere process 1"):
        StoreWriter(url, IDENTITY)
    place.write(Shard().lock, json.dumps(dead | {"time": time.time() - lease.EXPIRES - 1}).encode())
    StoreWriter(url, IDENTITY).close()
    place.write(Shard().lock, b"")  # the lock file of a store copied from a disk
    StoreWriter(url, IDENTITY).close()


def test_a_writer_that_lost_its_lease_publishes_nothing_more(url, monkeypatch):
    """It neither renews nor releases the lease of the new holder."""
    monkeypatch.setattr(lease, "RENEWS", 0.1)
    with StoreWriter(url, IDENTITY) as writer:
        write_part(writer, 0)
        taken = json.dumps({"holder": "another", "time": time.time()}).encode()
        writer.place.write(Shard().lock, taken)
        time.sleep(0.5)
        with pytest.raises(ReLopeError, match="could not renew its lock"):
            write_part(writer, 1)
        with pytest.raises(ReLopeError, match="could not renew its lock"):
            writer.finish(1, BLOCKS)
    place = open_place(url)
    assert place.read(Shard().lock) == taken
    assert not place.exists("parts/00001/part.json")


def test_a_lease_that_only_looks_expired_is_not_taken(url, monkeypatch):
    """The holder's clock is slow, but it still renews."""
    monkeypatch.setattr(lease, "RENEWS", 0.3)
    with StoreWriter(url, IDENTITY) as writer:
        found = json.loads(writer.place.read(Shard().lock))
        monkeypatch.setattr(lease.Lease, "_age", staticmethod(lambda read: 2 * lease.EXPIRES))
        assert found["holder"]
        with pytest.raises(ReLopeError, match="another process"):
            lease.Lease(writer.place._store, Shard().lock, "it").take()


def test_a_living_writer_renews_its_lease(url, monkeypatch):
    monkeypatch.setattr(lease, "EXPIRES", 0.6)
    monkeypatch.setattr(lease, "RENEWS", 0.1)
    with StoreWriter(url, IDENTITY):
        time.sleep(1.5)
        with pytest.raises(ReLopeError, match="another process"):
            StoreWriter(url, IDENTITY)


def test_a_bucket_that_cannot_be_had_is_one_line(url):
    with pytest.raises(ReLopeError, match=r"cannot write s3://nowhere/store.*bucket"):
        write_store("s3://nowhere/store")
    with pytest.raises(ReLopeError, match="no store at s3://routing/empty"):
        Store("s3://routing/empty")
    for wrong in ("http://host/store", "s3:///store"):
        with pytest.raises(ReLopeError, match="cannot hold a store"):
            open_place(wrong)


def test_gcs_urls_go_to_tensorstores_gcs_driver():
    assert (
        open_place("gs://bucket/a/b").kvstore("parts").items()
        >= {
            "driver": "gcs",
            "bucket": "bucket",
            "path": "a/b/parts/",
        }.items()
    )


def test_file_urls_are_folders(tmp_path):
    write_store(f"file://{tmp_path}/store")
    assert Store(Path(tmp_path) / "store").path == str(tmp_path / "store")
