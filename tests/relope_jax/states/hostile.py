"""Changes that others may make to a store: records changed and resealed. And a tree that must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.io.files import tree_checksums
from relope_jax.states.manifest import _sealed

NAMES = [
    "", ".", "..", "/", "//", "../x", "../../../x", "a/../../x", "/etc/passwd", "/abs/x/", "./x", "x/", "x/.", "x//y",
    "\\..\\x", "C:\\x", "a\\b", "x\0", "\0", "x\ny", "x\r", "x\x1b[2J", "x\u2028y", "x\u202ey", "\ud800", "x\udcff",
    "~", "~/x", "$HOME", "x" * 256, "x/" * 3000, "é" * 200, "\uff0e\uff0e/x", "..;/x", "%2e%2e/x", "x ", "x.", " ",
    ".x.tmp", ".lock-0-of-1", "file:///etc/passwd", "s3://bucket/x", "00000 ", "0", "-1", "...",
    "\u0660\u0660\u0660\u0660\u0660", "00000\n", "00001",
    "000000", "parts/00000", "../00000", "manifest.json", "canary", "../canary", "../../canary/keep",
]  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(st.characters(), max_size=40), st.text("./\\0 x\0~", max_size=12))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), names)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=8)


def seal(path: Path, record: dict[str, Any]) -> None:
    """Write a manifest or a part's record with its own correct digest."""
    record.pop("sha256", None)
    path.write_text(_sealed(record), encoding="utf-8")


def change_manifest(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a store and reseal it."""
    path = store / "manifest.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    seal(path, record)


def trust_files(store: Path, layer: int = 2) -> None:
    """Reseal a store with the checksums of its current files."""

    def update(record: dict[str, Any]) -> None:
        for part in record["parts"]:
            folder = store / "parts" / part["name"]
            part["files"] = {name: d for name, d in tree_checksums(folder).items() if name != "part.json"}
            seal(folder / "part.json", dict(part))
        for name in record["blocks"]:
            record["blocks"][name] = hashlib.sha256((store / name).read_bytes()).hexdigest()

    change_manifest(store, update)


def make_canary(folder: Path) -> dict[str, str]:
    """Files next to a store, under names that hostile names point to; returns their content."""
    for name in ("x", "x/keep", "canary/keep", "00000/keep", "parts/keep", "passwd"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() and name != "x":
            path.write_text(name, encoding="utf-8")
    return tree_checksums(folder)


def line_of(use: Callable[[], object]) -> str:
    """The error line from using something hostile; "" when it passes."""
    try:
        use()
    except ReLopeError as error:
        line = str(error)
        assert len(line.splitlines()) == 1, line
        return line
    return ""
