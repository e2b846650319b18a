"""Writes a token-state store part by part; a restart continues after the last published part."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from relope_jax.block.file import block_bytes
from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.files import explaining, parse_json, to_json, tree_checksums
from relope_jax.io.place import open_place
from relope_jax.states.arrays import write_array
from relope_jax.states.layout import (
    IDENTITY,
    MANIFEST,
    PART,
    STATE_DTYPES,
    block_name,
    hidden_name,
    last_hidden_name,
    part_name,
    part_title,
)
from relope_jax.states.manifest import (
    SCHEMA_VERSION,
    Identity,
    Manifest,
    Part,
    is_regrading,
    other_schema,
    regrading_stopped,
)
from relope_jax.states.ragged import TokenStates
from relope_jax.states.shards import Shard, only_writer

SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group", pa.string()),  # samples of one group (one image) are always in one split
        ("split", pa.string()),  # train, validation or test
        ("question", pa.string()),
        ("prompt", pa.string()),  # text of the user turn: the question with its choices, and additions of the variant
        ("answer", pa.string()),  # the reference answer
        ("response", pa.string()),  # the small model's greedy answer
        ("finish_reason", pa.string()),  # how the response ends: "stop", or "length" if it was cut off
        ("final_answer", pa.string()),  # the final answer that the grader found in the response; empty if none
        ("label", pa.int8()),  # Y: 1 if the response is right; a response that was cut off is wrong
        ("token_logprobs", pa.list_(pa.float32())),  # of the response's tokens, in nats
        ("first_token_entropy", pa.float32()),  # of the response's first token, in nats
        ("n_tokens", pa.int32()),  # of the prompt
        ("images", pa.list_(pa.string())),  # paths of the images, for reports
        ("contents", pa.list_(pa.string())),  # SHA-256 of every image; without images, of question and choices
        ("caption", pa.string()),  # the text that replaced the image, in that variant
        ("image_start", pa.int32()),  # first image token in the prompt, -1 without an image
        ("image_tokens", pa.int32()),
        ("grid_height", pa.int32()),
        ("grid_width", pa.int32()),
    ]
)


class StoreWriter(contextlib.AbstractContextManager["StoreWriter"]):
    """Exclusive writer of one store, or of one shard of it.

    Args:
      url: a folder, or a URL that `open_place` supports.

    Raises:
      ReLopeError: another process is writing the same parts, or the store was started with another identity.
    """

    def __init__(self, url: str | Path, identity: Identity, shard: Shard | None = None):
        self.place, self.identity = open_place(url), identity
        self.shard = shard or Shard()
        with contextlib.ExitStack() as stack, explaining(self.place.url):
            self._require_lock = stack.enter_context(only_writer(self.place, self.shard))
            self._claim()
            self._held = stack.pop_all()  # until close()

    def _claim(self) -> None:
        """Record the identity at the first start; reject a different one later."""
        self.place.create(IDENTITY, to_json(self.identity.record()).encode())  # shards may start together
        try:
            record = parse_json(self.place.read(IDENTITY, limits.JSON), f"{self.place.url}/{IDENTITY}")
        except ValueError as error:
            line = first_line(error)
            raise ReLopeError(f"{self.place.url}/{IDENTITY} is damaged ({line}): delete the store") from error
        if isinstance(record, dict) and (version := record.get("schema_version")) != SCHEMA_VERSION:
            raise other_schema(f"the store {self.place.url}", version)
        if is_regrading(self.place):
            raise regrading_stopped(self.place)
        if different := self.identity.differences(record):
            raise ReLopeError(
                f"the store {self.place.url} was started with other settings ({'; '.join(different)}): "
                "choose another folder with --config.store=..., or delete it"
            )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._held.close()

    def has_part(self, index: int) -> bool:
        """Whether part `index` is already published."""
        return Part.load(self.place, part_name(index), self.identity.layers) is not None

    def write_part(
        self,
        index: int,
        states: Mapping[int, TokenStates],
        rows: list[dict[str, Any]],
        failed: list[dict[str, str]],
        *,
        output_embedding: Float[np.ndarray, "samples d"] | None = None,
        token_budget: int | None = None,
    ) -> None:
        """Write part `index` and publish it atomically.

        Args:
          states: for every layer of the identity; they share positions and offsets. Empty if every sample failed.
          rows: rows of the sample table, by SAMPLE_SCHEMA; absent values are null.
          output_embedding: the small model's last layer averaged over its answer.
          token_budget: token budget of the batches at the end of the part; by default the identity's.
        """
        with (
            explaining(self.place.url),
            self.place.publishing(part_name(index), last=PART) as folder,
        ):
            for layer in self.identity.layers if rows else ():
                self._write_layer(folder, layer, states[layer], rows)
            if rows:
                write_array(folder / "positions", states[self.identity.layers[0]].positions.astype(np.int32))
            if output_embedding is not None:
                write_array(folder / "output_embedding", output_embedding.astype(np.float32))
            if output_embedding is not None and len(output_embedding) != len(rows):
                raise ValueError(f"{len(output_embedding)} output embeddings for {len(rows)} samples")
            pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), folder / "samples.parquet")
            part = Part(
                name=part_title(index),
                n_samples=len(rows),
                n_tokens=sum(row["n_tokens"] for row in rows),
                token_budget=token_budget or self.identity.token_budget,
                failed=failed,
                files=tree_checksums(folder),
            )
            self._require_lock()
            (folder / PART).write_text(part.to_json(), encoding="utf-8")

    def _write_layer(self, folder: Path, layer: int, states: TokenStates, rows: list[dict[str, Any]]) -> None:
        states.require_finite([row["sample_id"] for row in rows])
        dtype = STATE_DTYPES[self.identity.state_dtype]
        write_array(folder / hidden_name(layer), states.hidden.astype(dtype, copy=False))
        write_array(folder / last_hidden_name(layer), states.last_hidden.astype(np.float32, copy=False))

    def parts(self, n_parts: int) -> list[Part]:
        """The records of the first `n_parts` published parts."""
        found = [Part.load(self.place, part_name(index), self.identity.layers) for index in range(n_parts)]
        return [part for part in found if part is not None]

    def discard_parts(self) -> None:
        """Delete all parts; keep the identity."""
        self.place.delete("parts/")

    def finish(self, n_parts: int, blocks: Mapping[int, Block]) -> Manifest:
        """Write the frozen blocks, then the manifest of all parts; after this the store can be opened."""
        with explaining(self.place.url):
            self._require_lock()
            digests = {}
            for layer, block in blocks.items():
                data = block_bytes(block)
                self.place.write(block_name(layer), data)
                digests[block_name(layer)] = hashlib.sha256(data).hexdigest()
            manifest = Manifest(self.identity, self.parts(n_parts), digests)
            manifest.save(self.place)
        return manifest

    @property
    def finished(self) -> bool:
        return self.place.exists(MANIFEST)
