"""Writes a token-state store part by part; a restart goes on after the last published part."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from relope_jax.errors import ReLopeError
from relope_jax.models.block_spec import Block
from relope_jax.models.params import save_block
from relope_jax.states.arrays import write_array
from relope_jax.states.files import lock_folder, publish, sha256, tree_checksums, write_json
from relope_jax.states.manifest import IDENTITY, MANIFEST, Identity, Manifest, Part
from relope_jax.states.ragged import TokenStates

BLOCK = "block.safetensors"
STATE_DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}

SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group", pa.string()),  # samples of one group (one image) are never on two sides of a split
        ("split", pa.string()),  # train, validation or test
        ("question", pa.string()),
        ("answer", pa.string()),  # the reference answer
        ("response", pa.string()),  # the small model's greedy answer
        ("label", pa.int8()),  # Y: 1 when the response is right
        ("n_tokens", pa.int32()),
        ("image", pa.string()),  # path of the image, for reports
        ("image_start", pa.int32()),  # first image token in the prompt, -1 without an image
        ("image_tokens", pa.int32()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
    ]
)


class StoreWriter:
    """Exclusive writer of one store.

    Raises:
      ReLopeError: another process is writing the store, or it was begun with another identity.
    """

    def __init__(self, path: Path, identity: Identity):
        self.path, self.identity = path, identity
        path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(path)  # held until close()
        try:
            self._claim()
        except ReLopeError:
            self.close()
            raise

    def _claim(self) -> None:
        """Record the identity at the first start; refuse another one later."""
        parts = self.path / "parts"
        parts.mkdir(exist_ok=True)
        for torn in parts.glob(".*"):
            shutil.rmtree(torn)
        record = self.path / IDENTITY
        if not record.exists():
            write_json(record, dataclasses.asdict(self.identity))
            return
        if different := self.identity.differences(json.loads(record.read_text())):
            raise ReLopeError(
                f"the store {self.path} was begun with other settings ({'; '.join(different)}): "
                "name another folder with --config.store=... or delete it"
            )

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def part_path(self, index: int) -> Path:
        return self.path / "parts" / f"{index:05d}"

    def has_part(self, index: int) -> bool:
        """Whether part `index` is already published."""
        return self.part_path(index).exists()

    def write_part(
        self, index: int, states: TokenStates, rows: list[dict[str, Any]], failed: list[dict[str, str]]
    ) -> None:
        """Write part `index` and publish it by one rename. `rows` follow SAMPLE_SCHEMA."""
        target = self.part_path(index)
        scratch = target.with_name(f".{target.name}")
        scratch.mkdir()
        if rows:
            states.require_finite([row["sample_id"] for row in rows])
            write_array(scratch / "hidden", states.hidden.astype(STATE_DTYPES[self.identity.state_dtype]))
            write_array(scratch / "positions", states.positions.astype(np.int32))
            write_array(scratch / "last_hidden", states.last_hidden.astype(np.float32))
        pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), scratch / "samples.parquet")
        n_tokens = int(states.offsets[-1]) if rows else 0
        part = Part(target.name, len(rows), n_tokens, failed, tree_checksums(scratch))
        write_json(scratch / "part.json", dataclasses.asdict(part))
        publish(scratch, target)

    def parts(self, n_parts: int) -> list[Part]:
        """The records of the first `n_parts` published parts."""
        return [Part(**json.loads((self.part_path(i) / "part.json").read_text())) for i in range(n_parts)]

    def discard_parts(self) -> None:
        """Forget all parts; the identity stays."""
        shutil.rmtree(self.path / "parts")

    def write_block(self, block: Block) -> None:
        """Store the frozen decoder block l."""
        scratch = self.path / f".{BLOCK}"
        save_block(scratch, block)
        publish(scratch, self.path / BLOCK)

    def finish(self, n_parts: int) -> Manifest:
        """Write the manifest over all published parts; from now on the store can be opened."""
        manifest = Manifest(self.identity, self.parts(n_parts), sha256(self.path / BLOCK))
        manifest.save(self.path)
        return manifest

    @property
    def finished(self) -> bool:
        return (self.path / MANIFEST).exists()
