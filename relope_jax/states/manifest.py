"""What a token-state store says about itself: schema, identity, parts and checksums."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError
from relope_jax.states.files import write_json

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
IDENTITY = "identity.json"


@dataclasses.dataclass(frozen=True)
class Identity:
    """Everything that shaped the states. Two extractions with equal identity give the same store."""

    model: str
    source: str  # digest of a local model's files, or the revision asked for on the hub
    commit: str  # what that revision resolved to on the hub; empty for a local model
    adapter: str  # digest of a local adapter's files, or its subfolder's name on the hub; empty without one
    layer: int  # l, 1-based: the store holds Z^(l-1) and z_n^(l)
    hidden_size: int
    model_dtype: str
    state_dtype: str
    attention: str
    prompt_hash: str  # of the chat template and the dataset's prompt template
    dataset: dict[str, Any]
    max_new_tokens: int
    part_size: int
    batch_size: int
    versions: dict[str, str]

    def differences(self, record: dict[str, Any]) -> list[str]:
        """`"field: mine != theirs"` for every field that differs from an identity.json, of another version too."""
        mine = dataclasses.asdict(self)
        return [f"{k}: {mine[k]} != {record.get(k)}" for k in mine if mine[k] != record.get(k)]


@dataclasses.dataclass(frozen=True)
class Part:
    """One published slice of the store; `files` maps its files to their SHA-256."""

    name: str
    n_samples: int
    n_tokens: int
    failed: list[dict[str, str]]  # sample_id and reason of every sample that was left out
    files: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The store's table of contents, written last: a store without it is unfinished."""

    identity: Identity
    parts: list[Part]
    block_sha256: str

    @property
    def failed(self) -> list[dict[str, str]]:
        return [entry for part in self.parts for entry in part.failed]

    def save(self, store: Path) -> None:
        write_json(store / MANIFEST, {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)})

    @staticmethod
    def load(store: Path) -> Manifest:
        """Read and check a manifest.

        Raises:
          ReLopeError: the store is missing, unfinished, damaged, or of a newer schema.
        """
        if not store.is_dir():
            raise ReLopeError(f"no store at {store}: make one with `python -m extract.run --config=...`")
        path = store / MANIFEST
        if not path.exists():
            if not (store / IDENTITY).exists():
                raise ReLopeError(f"{store} is not a token-state store (it holds no {MANIFEST})")
            done = sum(1 for _ in (store / "parts").glob("[0-9]*"))
            raise ReLopeError(
                f"the store {store} is unfinished ({done} parts so far): "
                "run the same `python -m extract.run --config=...` again to go on"
            )
        try:
            raw = json.loads(path.read_text())
            version = raw.pop("schema_version")
        except (json.JSONDecodeError, KeyError, AttributeError) as error:
            raise ReLopeError(
                f"{path} is damaged ({error}): delete that file and extract again to remake it"
            ) from error
        if version != SCHEMA_VERSION:
            raise ReLopeError(
                f"{path} has schema version {version}, this software reads {SCHEMA_VERSION}: "
                "use the version that wrote it, or delete the store and extract again"
            )
        try:
            return Manifest(
                identity=Identity(**raw["identity"]),
                parts=[Part(**part) for part in raw["parts"]],
                block_sha256=raw["block_sha256"],
            )
        except (KeyError, TypeError) as error:
            raise ReLopeError(
                f"{path} is damaged ({error}): delete that file and extract again to remake it"
            ) from error
