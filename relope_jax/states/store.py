"""Opens a finished token-state store and reads samples and states from it."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from relope_jax.block.file import load_block
from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.files import parse_json, to_json
from relope_jax.io.inside import is_plain_path, shown_name
from relope_jax.io.place import open_place
from relope_jax.io.tables import parse_table, stack_tables
from relope_jax.states.embeddings import load_embeddings, store_texts
from relope_jax.states.layout import (
    IDENTITY,
    MANIFEST,
    OUTPUT_EMBEDDING,
    PART,
    REGRADING,
    SAMPLES,
    SPLITS,
    STATE_DTYPES,
    block_name,
    last_hidden_name,
)
from relope_jax.states.manifest import Identity, Manifest, Part
from relope_jax.states.ragged import TokenStates
from relope_jax.states.reader import KEPT_BYTES, REPAIR, PartReader, damaged_part, read_rows
from relope_jax.states.samples import require_samples, require_unique
from relope_jax.states.shards import only_writer
from relope_jax.states.view import Piece, ReadableStore
from relope_jax.states.writer import SAMPLE_SCHEMA

__all__ = ["SPLITS", "Damage", "Store"]


class Damage(NamedTuple):
    """One damaged item: its file, or its part's folder with a slash, and a one-line message."""

    name: str
    message: str


class Store(ReadableStore):
    """A finished token-state store: `samples` (a table), `states()` and the frozen `block`.

    Args:
      path: a folder, or an `s3://bucket/prefix` or `gs://bucket/prefix` URL.
      layer: the l whose states and block are read; optional if the store has only one.

    Raises:
      ReLopeError: the store is missing, unfinished, damaged or of another schema, or lacks that layer.
    """

    def __init__(self, path: str | Path, layer: int | None = None):
        self.place = open_place(path)
        self.path = self.place.url
        self.manifest = Manifest.load(self.place)
        self._layer = self._checked(layer)

    def _checked(self, layer: int | None) -> int | None:
        if layer is not None and layer not in self.identity.layers:
            raise ReLopeError(f"{self.path} does not hold layer {layer}; {self._held()}")
        return layer

    def with_layer(self, layer: int) -> Store:
        """This open store, read at another layer; raises ReLopeError if the store lacks it."""
        store = copy.copy(self)
        store._layer = self._checked(layer)
        for name in ("readers", "block"):  # these depend on the layer; everything else that was read is kept
            store.__dict__.pop(name, None)
        return store

    def _held(self) -> str:
        return f"it holds {', '.join(map(str, self.identity.layers))}"

    @property
    def layer(self) -> int:
        """The l whose states and block are read; raises ReLopeError if it was left out and there are several."""
        if self._layer is None and len(self.identity.layers) > 1:
            raise ReLopeError(f"say which layer of {self.path} to read, with Store(path, layer=...); {self._held()}")
        return self.identity.layers[0] if self._layer is None else self._layer

    @property
    def identity(self) -> Identity:
        """The settings that affect the states."""
        return self.manifest.identity

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which identifies the contents of the whole store."""
        return self.place.sha256(MANIFEST)

    @property
    def digests(self) -> list[str]:
        """A list with the digest; a `JoinedStore` has several."""
        return [self.digest]

    @property
    def pieces(self) -> list[Piece]:
        """All rows of the store; a `JoinedStore` has rows of several stores."""
        return [Piece(self, np.arange(len(self.samples)))]

    @functools.cached_property
    def samples(self) -> pa.Table:
        """One row per sample (see `SAMPLE_SCHEMA`), checked against its checksum."""
        table = stack_tables([self.part_table(part) for part in self.manifest.parts])
        require_unique(table, self.path)
        return table

    def part_table(self, part: Part) -> pa.Table:
        """The sample table of one part; raises ReLopeError if it is damaged."""
        try:
            data = self.place.read(f"parts/{part.name}/{SAMPLES}", limits.TABLE)
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != part.files[SAMPLES]:
            raise damaged_part(self.place, part, f"{SAMPLES} is missing or changed")
        table = parse_table(data, f"{self.path}/parts/{part.name}/{SAMPLES}", SAMPLE_SCHEMA)
        try:
            require_samples(table, part)
        except ValueError as error:
            raise damaged_part(self.place, part, first_line(error)) from error
        return table

    @functools.cached_property
    def block(self) -> Block:
        """The frozen decoder block l.

        Raises:
          ReLopeError: it is missing or changed, or its width or layer differs from the states'.
        """
        name = block_name(self.layer)
        if not self._is_intact(name, self.manifest.blocks[name]):
            raise ReLopeError(f"{self.path}/{name} is missing or changed{REPAIR.format(self.path)}")
        with self.place.local_copy(name) as path:
            block = load_block(path)
        positions, spec = self.readers[0].positions.shape[1], block.spec
        if (spec.layer, spec.hidden_size, spec.rope_axes) != (self.layer, self.identity.hidden_size, positions):
            raise ReLopeError(
                f"{self.path}/{name} has layer {spec.layer}, width {spec.hidden_size} and {spec.rope_axes} position "
                f"ids per token, but its states have layer {self.layer}, {self.identity.hidden_size} and {positions}: "
                "delete the store and extract it again"
            )
        return block

    def states(self, rows: Int[np.ndarray, "chosen"] | None = None) -> TokenStates:
        """States of the given rows, in that order, or of the whole store.

        Reads only the chunks of these rows and verifies their checksums.
        """
        lengths = self.column("n_tokens")
        rows = np.arange(len(lengths)) if rows is None else np.asarray(rows)
        return read_rows(self.readers, self.starts, lengths, rows)

    @property
    def token_bytes(self) -> int:
        """Bytes of Z^(l-1) of one token."""
        return self.identity.hidden_size * STATE_DTYPES[self.identity.state_dtype].itemsize

    def last_hidden(self) -> Float[np.ndarray, "samples d"]:
        """z_n^(l) of all samples, the only input of the Probe."""
        return np.concatenate([reader.read(last_hidden_name(self.layer)) for reader in self.readers])

    def output_embedding(self) -> Float[np.ndarray, "samples d"]:
        """The small model's last layer averaged over its answer, for Post-Hoc Embed.

        Raises:
          ReLopeError: the store has none, because its labels come from another store.
        """
        if self.identity.labels_from:
            raise ReLopeError(f"{self.path} has no output embeddings, because its labels come from another store")
        vectors = [reader.read(OUTPUT_EMBEDDING) for reader in self.readers]
        if len({part.shape[1] for part in vectors}) > 1:
            raise ReLopeError(f"the output embeddings of {self.path} differ in width: extract it again")
        return np.concatenate(vectors)

    def text_embedding(self, name: str) -> Float[np.ndarray, "samples d"]:
        """The sentence embeddings `name` ("question" or "question_answer") of all samples.

        Raises:
          ReLopeError: they do not exist, or they belong to another store.
        """
        return load_embeddings(self.path, name, self.texts(name))

    def texts(self, name: str) -> list[str]:
        """The texts of the embeddings `name`."""
        return store_texts(name, self.prompts, self.column("response").tolist())

    @functools.cached_property
    def readers(self) -> list[PartReader]:
        """One reader for every part with samples."""
        kept = KEPT_BYTES // max(len(self.manifest.parts), 1)
        parts = [part for part in self.manifest.parts if part.n_samples]
        return [PartReader(self.place, part, self.identity, self.layer, kept) for part in parts]

    @functools.cached_property
    def starts(self) -> Int[np.ndarray, "parts_plus_1"]:
        """First row of every part with samples, and the number of rows."""
        return np.cumsum([0, *(part.n_samples for part in self.manifest.parts if part.n_samples)])

    def verify(self) -> None:
        """Compare every file with its SHA-256; raises ReLopeError naming the first damaged part."""
        for damage in self.damages():
            raise ReLopeError(damage.message)

    def damages(self, checked: Callable[[], object] = lambda: None) -> Iterator[Damage]:
        """Yield everything damaged in the store; calls `checked` after each part and block."""
        record = self._read_json(IDENTITY)
        if record is None or self.identity.differences(record):
            yield Damage(IDENTITY, f"{self.path}/{IDENTITY} is missing or changed{REPAIR.format(self.path)}")
        for name, digest in self.manifest.blocks.items():
            if not self._is_intact(name, digest):
                yield Damage(name, f"{self.path}/{name} is missing or changed{REPAIR.format(self.path)}")
            checked()
        for part in self.manifest.parts:
            if changed := self._changed_files(part):
                error = damaged_part(self.place, part, f"changed: {', '.join(changed)}")
                yield Damage(f"parts/{part.name}/", str(error))
            checked()

    def drop(self, damages: Iterable[Damage]) -> None:
        """Remove damaged files, so that the same extraction recreates them and keeps the rest.

        Raises:
          ReLopeError: a process is writing the store or one of its shards.
        """
        with only_writer(self.place):
            self.place.delete(f"{REGRADING}/{MANIFEST}")  # it may name removed parts
            self.place.delete(f"{REGRADING}/")
            self.place.write(IDENTITY, to_json(self.identity.record()).encode())
            for damage in damages:
                if damage.name.endswith("/"):
                    self.place.delete(damage.name)
            self.place.delete(MANIFEST)  # last: the damage stays detectable until then

    def _changed_files(self, part: Part) -> list[str]:
        folder = f"parts/{part.name}"
        changed = [name for name, digest in part.files.items() if not self._is_intact(f"{folder}/{name}", digest)]
        if Part.load(self.place, folder, self.identity.layers) != part:
            changed.append(PART)
        found = {name.removeprefix(f"{folder}/") for name in self.place.names(f"{folder}/")}
        others = sorted(found - part.files.keys() - {PART})
        return changed + [f"{name if is_plain_path(name) else shown_name(name)} (not of this store)" for name in others]

    def _is_intact(self, name: str, digest: str) -> bool:
        try:
            return self.place.sha256(name) == digest
        except OSError:
            return False

    def _read_json(self, name: str) -> Any:
        try:
            return parse_json(self.place.read(name, limits.JSON), f"{self.path}/{name}")
        except (OSError, ValueError):
            return None
