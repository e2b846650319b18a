"""A cache of the Hugging Face hub in a folder, as created by downloads."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMIT, OTHER = "1" * 40, "2" * 40


def cache_repository(hub: Path, name: str, source: Path, commit: str, kind: str = "models", ref: str = "main") -> Path:
    """Copy a folder into the cache as a repository's snapshot, to which the branch `ref` points."""
    repository = hub / f"{kind}--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return Path(shutil.copytree(source, repository / "snapshots" / commit))
