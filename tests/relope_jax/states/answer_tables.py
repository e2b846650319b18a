"""Small tables of answers in a store's folder, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from relope_jax.states.answers import ANSWER_SCHEMA


def write_answers(store: str | Path, name: str, rows: Sequence[dict[str, Any]], **settings: Any) -> None:
    """Publish `rows` as the answers `name`; `settings` go into the sidecar, by default those of one greedy answer."""
    folder = Path(store) / "answers"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=ANSWER_SCHEMA), folder / f"{name}.parquet")
    sidecar = {"samples": 0, "styles": {"direct": ""}, "model": "large"} | settings
    sidecar |= {
        "store_manifest": hashlib.sha256((Path(store) / "manifest.json").read_bytes()).hexdigest(),
        "sha256": hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest(),
    }
    (folder / f"{name}.json").write_text(json.dumps(sidecar))
