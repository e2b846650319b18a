"""A benchmark's tables in a folder: all files of a split, each part exactly once."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from extract.datasets.reading.fence import Fence
from extract.text import shortened
from relope_jax.errors import ReLopeError

_SHARD = re.compile(r"(?P<split>.*?)-?(?P<index>\d+)-of-(?P<count>\d+)(?:[-_.].*)?")
_NUMBERED = re.compile(r"\d{4,}")  # 0000.parquet, 0001.parquet: the hub's converted tables


def tables_below(folder: Path, patterns: Sequence[str], split: str, fence: Fence) -> list[Path]:
    """The matches of the first pattern that has any, sorted, including broken links.

    Args:
      patterns: relative to `folder`. A pattern that starts with `**/` is matched in all folders below it, including
        linked folders and excluding hidden ones.

    Raises:
      ReLopeError: a folder to be searched is a link out of the fence.
    """
    below: list[Path] | None = None
    for pattern in patterns:
        if pattern.startswith("**/"):
            below = list(_walk(folder, fence)) if below is None else below
            found = [path for path in below if path.match(pattern[3:])]
        else:  # glob does not find a broken link by its full name
            found = list(folder.glob(pattern)) or [path for path in (folder / pattern,) if path.is_symlink()]
        if found := sorted(path for path in found if not _is_of_another_split(path, split)):
            return found
    return []


def _walk(folder: Path, fence: Fence) -> Iterator[Path]:
    """Every file below a folder, and folders named like a table. A folder reached through several links counts once."""
    seen = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (Path(top, name) for name in [*files, *(name for name in folders if name.endswith(".parquet"))])
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:  # a folder skipped silently might hold a part of the split
            fence.require(Path(top, name))


def _is_of_another_split(path: Path, split: str) -> bool:
    """Whether a shard such as test-hard-00000-of-00001.parquet only shares a prefix with the split."""
    shard = _SHARD.fullmatch(path.stem)
    return shard is not None and path.name.startswith(f"{split}-") and shard["split"] != split


def refuse_partial(files: Sequence[Path], one_folder: bool) -> None:
    """Refuse tables of which a part is missing, broken or duplicated, judged by their names and folders.

    Args:
      one_folder: whether the benchmark keeps the tables of a split in one folder.

    Raises:
      ReLopeError: the message names the folder and the problem.
    """
    folders = collections.defaultdict(list)
    for file in files:
        if not file.is_file():
            what = _kind(file)
            raise ReLopeError(f"{file} is {what}, not a table: download it again, or remove it")
        folders[file.parent].append(file)
    if one_folder and len(folders) > 1:
        first, second = list(folders)[:2]
        raise ReLopeError(
            f"the tables of one split are in {len(folders)} folders, such as {first} and {second}: "
            "choose one of them with --config.dataset.path=..."
        )
    for folder, here in folders.items():
        _refuse_two_shardings(folder, here)
        _refuse_missing(folder, here)


def _kind(path: Path) -> str:
    """What exists in place of a file."""
    if path.is_dir():
        return "a folder"
    if os.path.exists(path):
        return "a device or a pipe"
    return f"a broken link to {shortened(os.readlink(path), 120)}"


def _refuse_two_shardings(folder: Path, files: Sequence[Path]) -> None:
    if len(files) == 1:
        return
    shards: dict[tuple[str, str], Path] = {}
    for file in files:
        shard = _SHARD.fullmatch(file.stem)
        count, index = (str(int(shard["count"])), str(int(shard["index"]))) if shard else ("", file.stem)
        other = next((path for key, path in shards.items() if key[0] != count or key == (count, index)), None)
        if other:
            raise ReLopeError(
                f"the same split is in {folder} twice, as {other.name} and as {file.name}: remove one of the two"
            )
        shards[count, index] = file


def _refuse_missing(folder: Path, files: Sequence[Path]) -> None:
    """Refuse shards of one count, or numbered files, whose numbers have gaps."""
    shards = [_SHARD.fullmatch(file.stem) for file in files]
    if all(shards):
        there = {int(shard["index"]) for shard in shards if shard}
        count = int(shards[0]["count"]) if shards[0] else 0
    elif all(_NUMBERED.fullmatch(file.stem) for file in files):
        there = {int(file.stem) for file in files}
        count = max(there) + 1
    else:
        return
    missing = sorted({*range(count)} - there)
    if missing:
        numbers = shortened(", ".join(map(str, missing)), 60)
        raise ReLopeError(
            f"{len(missing)} of {count} shards are missing in {folder}: there is {files[0].name}, but not number "
            f"{numbers}; download them"
        )


def report_single(file: Path) -> None:
    """Print that the file given is one of several shards."""
    shard = _SHARD.fullmatch(file.stem)
    if shard and int(shard["count"]) > 1:
        print(f"{file} is one of {int(shard['count'])} shards: the others are not read")
