"""Ragged reads: token rows of chosen prompts, read from the parts of a store directly into one array."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools

import numpy as np
import tensorstore as ts
from jaxtyping import Int, Num

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.place import Place
from relope_jax.states.arrays import Layout, open_array, parse_layout
from relope_jax.states.layout import (
    ARRAY,
    OUTPUT_EMBEDDING,
    POSITIONS,
    STATE_DTYPES,
    hidden_name,
    last_hidden_name,
)
from relope_jax.states.manifest import Identity, Part
from relope_jax.states.ragged import TokenStates

METADATA, SHARD = ARRAY
Matrix = Num[np.ndarray, "rows columns"]
MOST_AXES = 3  # position ids per token
DAMAGED = (ValueError, LookupError, NotImplementedError, RuntimeError)  # raised by TensorStore for damaged data
KEPT_BYTES = 2**28  # limit for a store's positions, and for its z_n^(l), to stay in memory after reading
REPAIR = ": run `python -m extract.verify {} --drop_damaged` to remove damaged data, then extract again"


def damaged_part(place: Place, part: Part, why: str) -> ReLopeError:
    """The error for a damaged part, with the reason and the repair command."""
    return ReLopeError(f"part {part.name} of {place.url} is damaged ({why}){REPAIR.format(place.url)}")


@dataclasses.dataclass(frozen=True, eq=False)
class PartReader:
    """The arrays of one part for one layer, opened lazily.

    Attributes:
      kept_bytes: a small array (positions, z_n^(l)) up to this size stays in memory after reading.
    """

    place: Place
    part: Part
    identity: Identity
    layer: int
    kept_bytes: int

    @functools.cached_property
    def hidden(self) -> ts.TensorStore:
        return self._open(hidden_name(self.layer))

    @functools.cached_property
    def last_hidden(self) -> ts.TensorStore | Matrix:
        return self._small(last_hidden_name(self.layer))

    @functools.cached_property
    def positions(self) -> ts.TensorStore | Matrix:
        return self._small(POSITIONS)

    def _small(self, name: str) -> ts.TensorStore | Matrix:
        """An array with few bytes per prompt, kept in memory unless it exceeds `kept_bytes`: reading it prompt by
        prompt takes up to half of the time of a batch."""
        array = self._open(name)
        size = array.size * array.dtype.numpy_dtype.itemsize
        return self.read(name) if size <= self.kept_bytes else array

    def require_like(self, other: PartReader) -> None:
        """Open all arrays; raise ReLopeError if one does not match the part or has a different width than `other`'s."""
        _ = self.hidden, self.last_hidden
        if (own := self.positions.shape[1]) != (expected := other.positions.shape[1]):
            raise damaged_part(self.place, self.part, f"it has {own} position ids per token, not {expected}")

    def read(self, name: str) -> Matrix:
        """Read a whole array of the part."""
        try:
            return self._open(name).read().result()
        except DAMAGED as error:
            raise self.damaged(error) from error

    def _open(self, name: str) -> ts.TensorStore:
        """Open an array. Its layout is first compared with the part's record and with the size on disk; its chunks have
        their own checksums."""
        folder = f"parts/{self.part.name}/{name}"
        try:
            metadata = self.place.read(f"{folder}/{METADATA}", limits.JSON)
            if hashlib.sha256(metadata).hexdigest() != self.part.files[f"{name}/{METADATA}"]:
                raise damaged_part(self.place, self.part, f"{name}/{METADATA} was changed")
            layout = parse_layout(metadata, f"{name}/{METADATA}")
            if not self._belongs(name, layout) or not self.place.has_size(f"{folder}/{SHARD}", layout.nbytes):
                raise damaged_part(self.place, self.part, f"{name} does not have the recorded shape or size")
            return open_array(self.place.kvstore(folder)).result()
        except FileNotFoundError as error:
            raise damaged_part(self.place, self.part, f"{name} is missing") from error
        except DAMAGED as error:
            raise self.damaged(error) from error

    def _belongs(self, name: str, layout: Layout) -> bool:
        """Whether an array has the rows, width and dtype that the store records."""
        part, identity = self.part, self.identity
        of_tokens = name in (POSITIONS, hidden_name(self.layer))
        if layout.rows != (part.n_tokens if of_tokens else part.n_samples):
            return False
        if name == POSITIONS:
            return layout.columns <= MOST_AXES and layout.dtype == np.int32
        if name == OUTPUT_EMBEDDING:  # as wide as the model's last layer
            return bool(layout.dtype == np.float32)
        dtype = STATE_DTYPES[identity.state_dtype] if of_tokens else np.float32
        return bool(layout.columns == identity.hidden_size and layout.dtype == dtype)

    def damaged(self, error: Exception) -> ReLopeError:
        return damaged_part(self.place, self.part, first_line(error))


def read_rows(
    readers: list[PartReader],
    starts: Int[np.ndarray, "parts_plus_1"],
    lengths: Int[np.ndarray, "samples"],
    rows: Int[np.ndarray, "chosen"],
) -> TokenStates:
    """States of the rows, in that order.

    Args:
      starts: the first row of every part, and the number of rows.
      lengths: prompt length of every row of the store.
    """
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])  # first token of every row
    offsets = np.concatenate([[0], np.cumsum(lengths[rows], dtype=np.int64)])
    owner = np.searchsorted(starts, rows, side="right") - 1
    first = readers[0]
    for number in np.unique(owner):  # before memory is allocated for their declared sizes
        readers[number].require_like(first)
    read = _Reads()
    hidden = read.into(first.hidden, int(offsets[-1]))
    positions = read.into(first.positions, int(offsets[-1]))
    last_hidden = read.into(first.last_hidden, len(rows))
    for begin, end in _runs(rows, owner):
        reader, part_row = readers[owner[begin]], starts[owner[begin]]
        tokens = slice(*(ends[[rows[begin], rows[end - 1] + 1]] - ends[part_row]))
        target = slice(offsets[begin], offsets[end])
        read.start(reader, reader.hidden, tokens, hidden, target)
        read.start(reader, reader.positions, tokens, positions, target)
        samples = slice(rows[begin] - part_row, rows[end - 1] + 1 - part_row)
        read.start(reader, reader.last_hidden, samples, last_hidden, slice(begin, end))
    read.wait()
    return TokenStates(hidden, positions, offsets, last_hidden)


class _Reads:
    """Concurrent reads into shared arrays: all start before the first is waited for."""

    def __init__(self) -> None:
        self._started: list[tuple[PartReader, ts.WriteFutures]] = []

    @staticmethod
    def into(like: ts.TensorStore | Matrix, n_rows: int) -> Num[np.ndarray, "{n_rows} columns"]:
        return np.empty((n_rows, like.shape[1]), ts.dtype(like.dtype).numpy_dtype)

    def start(
        self,
        reader: PartReader,
        source: ts.TensorStore | Num[np.ndarray, "part_rows columns"],
        rows: slice,
        target: Num[np.ndarray, "read_rows columns"],
        target_rows: slice,
    ) -> None:
        if isinstance(source, np.ndarray):
            target[target_rows] = source[rows]
            return
        piece = ts.array(target[target_rows])
        self._started.append((reader, piece.write(source[rows].translate_to[0, 0])))

    def wait(self) -> None:
        for reader, future in self._started:
            try:
                future.result()
            except DAMAGED as error:
                raise reader.damaged(error) from error


def _runs(rows: Int[np.ndarray, "chosen"], owner: Int[np.ndarray, "chosen"]) -> list[tuple[int, int]]:
    """Runs [begin, end) of `rows` that are contiguous in one part."""
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(owner) != 0)) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return list(itertools.pairwise(edges)) if len(rows) else []
