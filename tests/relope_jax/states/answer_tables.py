"""Small tables of answers in a store's folder, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from relope_jax.states.answer_files import ANSWER_SCHEMA, table_name


def write_answers(store: str | Path, name: str, rows: Sequence[dict[str, Any]], /, **settings: Any) -> None:
    """Publish `rows` as the answers `name`. `settings` go into the sidecar; the default is one greedy answer."""
    whole = [{"response": "", "final_answer": "", "label": 0, "finish_reason": "stop"} | row for row in rows]
    write_table(store, name, pa.Table.from_pylist(whole, schema=ANSWER_SCHEMA), **settings)


def write_table(store: str | Path, name: str, table: pa.Table, /, **settings: Any) -> None:
    """Publish any table as the answers `name`. `settings` replace fields of the sidecar."""
    folder, buffer = Path(store) / "answers", pa.BufferOutputStream()
    folder.mkdir(exist_ok=True)
    pq.write_table(table, buffer)
    data = buffer.getvalue().to_pybytes()
    sha256 = hashlib.sha256(data).hexdigest()
    (Path(store) / table_name(name, sha256)).write_bytes(data)
    sidecar = {
        "samples": 0,
        "styles": {"direct": ""},
        "model": "large",
        "store_manifest": hashlib.sha256((Path(store) / "manifest.json").read_bytes()).hexdigest(),
        "sha256": sha256,
        "table": Path(table_name(name, sha256)).name,
    }
    (folder / f"{name}.json").write_text(json.dumps(sidecar | settings))
