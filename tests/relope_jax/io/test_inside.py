"""Names from others stay inside their folder: in `inside`, in a local place and in a bucket."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from relope_jax.io.inside import inside, is_plain_path, leads_inside, shown_text
from relope_jax.io.place import LocalPlace, open_place
from tests.relope_jax.states.hostile import NAMES, line_of, make_canary, names

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSED = [
    "", "/", "//", ".", "..", "../x", "../../../x", "a/../../x", "/etc/passwd", "/abs/x/", "./x", "x//y", "x/.", "a\\b",
    "\\..\\x", "C:\\x", "x\0", "x\ny", "\ud800", "x\udcff", "x\u2028y", "x\x85", "x" * 256, "é" * 200, "x/y" * 2000,
]  # fmt: skip


@pytest.fixture
def place(tmp_path) -> LocalPlace:
    """A folder in a tree of files that it must not touch."""
    folder = tmp_path / "outside" / "place"
    folder.mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "linked.json").symlink_to(tmp_path / "outside" / "canary" / "keep")
    return LocalPlace(folder)


def canary(place: LocalPlace) -> dict[str, str]:
    return {name: digest for name, digest in make_canary(place.folder.parent).items() if not name.startswith("place/")}


def uses(place: LocalPlace, name: str):
    """Every method of a place that takes a name."""

    def publish() -> None:
        with place.publishing(name, "last") as folder:
            (folder / "last").write_bytes(b"hostile")

    def lock() -> None:
        with place.lock(name):
            pass

    def copy() -> None:
        with place.local_copy(name) as path:
            assert leads_inside(place.folder, path)

    return {
        "exists": lambda: place.exists(name),
        "read": lambda: place.read(name),
        "sha256": lambda: place.sha256(name),
        "names": lambda: place.names(name),
        "write": lambda: place.write(name, b"hostile"),
        "create": lambda: place.create(name, b"hostile"),
        "delete": lambda: place.delete(name),
        "publish": publish,
        "copy": copy,
        "kvstore": lambda: place.kvstore(name),
        "lock": lock,
        "has_size": lambda: place.has_size(name, 1),
    }


@FEW
@given(names)
def test_no_name_leads_out_of_its_folder(tmp_path, name):
    found: list[Path] = []
    line_of(lambda: found.append(inside(tmp_path, name)))
    assert all(leads_inside(tmp_path, path) and ".." not in path.parts for path in found)


@FEW
@given(names)
def test_no_name_touches_what_is_outside_of_a_place(place, name):
    before = canary(place)
    for use in uses(place, name).values():
        with contextlib.suppress(FileNotFoundError):  # expected by callers
            line_of(use)
    assert canary(place) == before


@pytest.mark.parametrize("name", ["out/canary/keep", "out/x", "linked.json", "out"])
def test_links_that_lead_out_are_neither_read_nor_written(place, name):
    before = canary(place)
    for what, use in uses(place, name).items():
        if what != "delete":
            assert "symbolic link out of" in line_of(use), what
    assert canary(place) == before


def test_a_link_is_deleted_itself(place):
    before = canary(place)
    (place.folder / "real").mkdir()
    (place.folder / "real" / "file").write_text("x")
    (place.folder / "within").symlink_to(place.folder / "real")
    (place.folder / "nowhere").symlink_to(place.folder / "nothing")
    for name in ("out", "linked.json", "within/", "nowhere"):
        place.delete(name)
        assert not os.path.lexists(place.folder / name.rstrip("/"))
    assert (place.folder / "real" / "file").exists()
    assert canary(place) == before
    (place.folder / "real" / "out").symlink_to(place.folder.parent)
    place.delete("real/")
    assert canary(place) == before


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_bucket_refuses_the_names_that_a_folder_refuses(name):
    """Refused before any request: there is no such bucket."""
    bucket = open_place("gs://nobody-has-this-bucket/prefix")
    asked = uses(bucket, name)
    for what in asked.keys() - ({"names", "kvstore"} if name == "" else set()):
        assert "is not a path inside its folder" in line_of(asked[what]), what


@pytest.mark.parametrize("name", [n for n in NAMES if is_plain_path(n)], ids=ascii)
def test_plain_names_are_plain_everywhere(tmp_path, name):
    assert inside(tmp_path, name) == Path(tmp_path) / name


def test_texts_from_elsewhere_are_one_line():
    assert shown_text("a\nb\x1b[2Jc\u2028d\ud800").isprintable()
    assert shown_text("Wärme, 温度") == "Wärme, 温度"
    assert len(shown_text("x" * 10**6)) < 100
