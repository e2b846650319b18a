"""Opens a finished token-state store and reads samples and states from it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from relope_jax.errors import ReLopeError, first_line
from relope_jax.models.block_spec import Block
from relope_jax.models.params import load_block
from relope_jax.states.arrays import read_array
from relope_jax.states.files import sha256, tree_checksums
from relope_jax.states.manifest import Identity, Manifest, Part
from relope_jax.states.ragged import TokenStates, concatenate
from relope_jax.states.writer import BLOCK

SPLITS = ("train", "validation", "test")


class Store:
    """A finished token-state store: `samples` (a table), `states()` and the frozen `block`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest = Manifest.load(self.path)

    @property
    def identity(self) -> Identity:
        """The settings that shaped the states."""
        return self.manifest.identity

    @functools.cached_property
    def samples(self) -> pa.Table:
        """One row a sample (see `SAMPLE_SCHEMA`), checked against its checksum."""
        tables = []
        for part in self.manifest.parts:
            path = self.path / "parts" / part.name / "samples.parquet"
            if not path.exists() or sha256(path) != part.files["samples.parquet"]:
                raise self._damaged(part, "samples.parquet is missing or changed")
            tables.append(pq.read_table(path))
        return pa.concat_tables(tables)

    @functools.cached_property
    def block(self) -> Block:
        """The frozen decoder block l."""
        path = self.path / BLOCK
        if not path.exists() or sha256(path) != self.manifest.block_sha256:
            raise ReLopeError(
                f"{path} is missing or changed: delete {self.path}/manifest.json and extract again to remake it"
            )
        return load_block(path)

    def column(self, name: str) -> np.ndarray:
        """A column of the sample table as numpy."""
        return self.samples[name].to_numpy()

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of one split: "train", "validation" or "test"."""
        return np.flatnonzero(self.column("split") == split)

    def states(self, rows: Int[np.ndarray, "chosen"] | None = None) -> TokenStates:
        """States of the given rows, in that order, or of the whole store.

        Only the parts that hold a chosen row are read; chunk checksums are verified while reading.
        """
        parts = [part for part in self.manifest.parts if part.n_samples]
        first = np.concatenate([[0], np.cumsum([part.n_samples for part in parts])])
        if rows is None:
            return self._read(parts, first)
        owner = np.searchsorted(first, rows, side="right") - 1
        needed = np.unique(owner)
        states = self._read([parts[i] for i in needed], first[needed])
        # Row numbers inside the parts that were read, which lie back to back.
        starts = np.concatenate([[0], np.cumsum([parts[i].n_samples for i in needed])[:-1]])
        index = np.searchsorted(needed, owner)
        return states.select(np.asarray(rows) - first[owner] + starts[index])

    def _read(self, parts: list[Part], first: Int[np.ndarray, "parts"]) -> TokenStates:
        """States of whole parts; part i's samples begin at row first[i]."""
        reads = [self._start_reading(part) for part in parts]
        lengths = self.column("n_tokens")
        pieces = []
        for part, start, arrays in zip(parts, first, reads, strict=False):
            try:
                hidden, positions, last = (future.result() for future in arrays)
            except ValueError as error:
                raise self._damaged(part, first_line(error)) from error
            offsets = np.concatenate([[0], np.cumsum(lengths[start : start + part.n_samples])])
            pieces.append(TokenStates(hidden, positions, offsets, last))
        return concatenate(pieces)

    def verify(self) -> None:
        """Compare every file with its SHA-256; raises ReLopeError naming the first damaged part."""
        for part in self.manifest.parts:
            found = tree_checksums(self.path / "parts" / part.name)
            found.pop("part.json", None)
            if found != part.files:
                changed = sorted(k for k in part.files if found.get(k) != part.files[k])
                raise self._damaged(part, f"changed or missing: {', '.join(changed) or 'extra files'}")
        _ = self.block

    def _start_reading(self, part: Part) -> list:
        folder = self.path / "parts" / part.name
        # TensorStore reads a chunk whose file is gone as zeros, without a word.
        if missing := [name for name in part.files if not (folder / name).exists()]:
            raise self._damaged(part, f"missing: {', '.join(missing)}")
        try:
            return [read_array(folder / name) for name in ("hidden", "positions", "last_hidden")]
        except ValueError as error:
            raise self._damaged(part, first_line(error)) from error

    def _damaged(self, part: Part, why: str) -> ReLopeError:
        return ReLopeError(
            f"part {part.name} of {self.path} is damaged ({why}): "
            f"delete {self.path}/manifest.json and parts/{part.name} and extract again to remake it"
        )
