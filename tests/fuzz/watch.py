"""Monitors the reading of a hostile file: its time, its memory, and whether anything outside its folder is touched."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SECONDS = 20.0  # limit for one reading; real ones take milliseconds, the first one compiles
HANG = 120.0  # seconds after which the test process prints its stack and exits
MEMORY = 3 * 2**30  # bytes that one reading may add at its peak; the limits in relope_jax/io/limits.py allow no more

_canary = ""
_opened: list[str] = []
_hooked = False


def _note(event: str, args: tuple) -> None:
    """An audit hook. Python cannot remove one, so it only acts while something is monitored."""
    if _canary and event == "open" and isinstance(args[0], str) and os.path.realpath(args[0]).startswith(_canary):
        _opened.append(args[0])


def make_canary(folder: Path) -> Path:
    """A tree of files that must not be read, changed or deleted."""
    outside = folder / "outside"
    (outside / "folder").mkdir(parents=True)
    for name in ("private.txt", "private.json", "folder/x.json", "folder/hidden.zarr", "plot.png", "manifest.json"):
        (outside / name).write_text('{"secret": "outside"}')
    Image.new("RGB", (8, 8), (1, 2, 3)).save(outside / "private.jpg")
    return outside


@contextlib.contextmanager
def watched(outside: Path) -> Iterator[None]:
    """Fails when the block takes too much time or memory, or touches the tree `outside`."""
    global _canary, _hooked
    if not _hooked:
        sys.addaudithook(_note)
        _hooked = True
    before, floor = _tree(outside), _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    _opened.clear()
    faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
    _canary, start = os.path.realpath(outside), time.monotonic()
    try:
        yield
    finally:
        _canary = ""
        faulthandler.cancel_dump_traceback_later()
    seconds, peak = time.monotonic() - start, _resident("VmHWM") - floor
    assert not _opened, f"opened {_opened[0]}"
    assert _tree(outside) == before, "changed something outside"
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    assert peak < MEMORY, f"took {peak / 2**20:.0f} MB"


def _tree(folder: Path) -> dict[str, tuple]:
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (state.st_mode, state.st_size, state.st_mtime_ns, content)
    return found


def _resident(field: str) -> int:
    """Bytes of this process in memory now (VmRSS), or at the peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024
