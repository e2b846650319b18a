"""Embedded images become files in the cache. Existing files there are trusted by content, not by name."""

from __future__ import annotations

import hashlib
import os
import secrets

import pytest

from extract.datasets.reading.images import save_embedded
from relope_jax.errors import ReLopeError
from tests.extract.datasets.tables import picture

DATA = picture(1)
NAME = f"{hashlib.sha256(DATA).hexdigest()}.png"


def test_another_content_of_the_same_size_is_replaced(tmp_path):
    (tmp_path / NAME).write_bytes(b"x" * len(DATA))
    assert save_embedded(DATA, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("same", [True, False])
def test_a_link_in_its_place_is_replaced_and_what_it_leads_to_stays(tmp_path, same):
    other = tmp_path / "other"
    other.write_bytes(DATA if same else b"precious")
    before = other.read_bytes()
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / NAME).symlink_to(other)
    path = save_embedded(DATA, cache)
    assert not path.is_symlink()
    assert path.read_bytes() == DATA
    assert other.read_bytes() == before
    assert [file.name for file in cache.iterdir()] == [NAME]


def test_a_pipe_in_its_place_is_replaced_without_hanging(tmp_path):
    os.mkfifo(tmp_path / NAME)
    assert save_embedded(DATA, tmp_path).read_bytes() == DATA


def test_a_folder_in_its_place_is_one_line(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(ReLopeError, match=r"cannot unpack images to .*image_cache="):
        save_embedded(DATA, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [NAME], "no scratch file is left"


def test_the_scratch_file_follows_no_link(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * size)
    for name in ("0" * 4, "0" * 8, str(os.getpid())):
        (cache / f".{NAME}.{name}").symlink_to(victim)
    with pytest.raises(ReLopeError, match="cannot unpack images"):
        save_embedded(DATA, cache)
    assert victim.read_bytes() == b"precious"


def test_a_file_that_is_there_is_not_written_again(tmp_path):
    path = save_embedded(DATA, tmp_path)
    before = path.stat().st_mtime_ns
    assert save_embedded(DATA, tmp_path).stat().st_mtime_ns == before
