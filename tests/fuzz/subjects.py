"""A small store, run, adapter and dataset to make hostile, and everything that users do with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from extract.inspect import describe
from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.io.files import tree_checksums
from relope_jax.states.answers import Answers, answer_names
from relope_jax.states.embeddings import save_embeddings
from relope_jax.states.store import Store
from tests.relope_jax.states.answer_tables import write_answers
from tests.relope_jax.training.small import write_small_store


def make_store(path: Path) -> None:
    """A store of two parts with answers and embeddings."""
    store = write_small_store(path, parts=2, part_size=12)
    ids = store.column("sample_id").tolist()
    write_answers(
        path, "large", [{"sample_id": i, "style": "direct", "index": 0, "response": "a", "label": 1} for i in ids]
    )
    for name in ("question", "question_answer"):
        save_embeddings(path, name, np.ones((len(ids), 4), np.float32), "encoder", store.texts(name))


def seal(path: Path) -> None:
    """Recompute a changed store's checksums where possible, as an attacker would."""
    manifest = _read(path / "manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), list):
        return
    for part in manifest["parts"]:
        name = part.get("name") if isinstance(part, dict) else None
        folder = path / "parts" / name if isinstance(name, str) and name.isdecimal() else None
        if folder and not folder.is_symlink() and folder.is_dir():
            part["files"] = {k: v for k, v in _checksums(folder).items() if k != "part.json"}
            _write_sealed(folder / "part.json", part)
    for name in manifest["blocks"] if isinstance(manifest.get("blocks"), dict) else ():
        block = path / name if isinstance(name, str) and name.startswith("block") else None
        if block and block.is_file():
            manifest["blocks"][name] = hashlib.sha256(block.read_bytes()).hexdigest()
    _write_sealed(path / "manifest.json", manifest)
    digest = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    for sidecar in path.glob("answers/*.json"):
        record = _read(sidecar)
        table = path / "answers" / str(record.get("table", "large.parquet")) if isinstance(record, dict) else None
        if table and table.is_file() and not sidecar.is_symlink():
            record |= {"store_manifest": digest, "sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
            sidecar.write_text(json.dumps(record))


def _checksums(folder: Path) -> dict[str, str]:
    try:
        return tree_checksums(folder)
    except OSError:  # a pipe, or a broken link
        return {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError, OSError):
        return None


def _write_sealed(path: Path, record: dict) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return
    record = {name: value for name, value in record.items() if name != "sha256"}
    try:
        record["sha256"] = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    except (TypeError, ValueError):  # keys that cannot be sorted
        return
    path.write_text(json.dumps(record))


def use_store(path: Path) -> list[str]:
    """Read a store in every possible way, each of which may be refused, and drop damaged parts; gives the refusals."""
    opened = refusable(lambda: Store(path))
    refused = [] if opened.done else [opened.line]
    if opened.done:
        refused += [line for act in _readings(opened.result) if (line := refusable(act).line)]
    return refused + [line for act in _answer_readings(path) if (line := refusable(act).line)]


def _readings(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.identity.differences(store.identity.record()),
        store.states,
        store.last_hidden,
        lambda: store.block,
        lambda: store.prompts,
        store.verify,
        lambda: [store.column(name) for name in ("sample_id", "group", "split", "label", "response", "n_tokens")],
        lambda: load_router_data(store),
        lambda: store.text_embedding("question"),
        lambda: store.text_embedding("question_answer"),
        lambda: "\n".join(describe(store)),
        lambda: store.drop(list(store.damages())) if refusable(store.verify).line else None,
    ]


def _answer_readings(path: Path) -> list[Callable[[], object]]:
    return [lambda: [_use_answers(path, name) for name in answer_names(path)]]


def _use_answers(path: Path, name: str) -> None:
    answers = Answers.load(path, name)
    answers.has(["p0s0", "p0s1"])
    answers.labels(["p0s0", "p0s1"])
    answers.sampled("final_answer", "direct", ["p0s0"])


class Outcome(NamedTuple):
    """The result of an action, or the line with which it was refused."""

    result: Any
    line: str

    @property
    def done(self) -> bool:
        return not self.line


def refusable(act: Callable[[], object]) -> Outcome:
    """Run it. A ReLopeError with one short line is as good as success. Any other error is a bug."""
    try:
        return Outcome(act(), "")
    except ReLopeError as error:
        line = str(error)
        assert line.strip()
        assert len(line.splitlines()) == 1, line
        assert len(line) < 3000, line[:200]
        return Outcome(None, line)
