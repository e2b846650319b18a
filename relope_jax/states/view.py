"""The typed view of samples and states that training and baselines have: of one store, or of several read as one."""

from __future__ import annotations

import abc
import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from relope_jax.block.spec import Block
from relope_jax.io.tables import prompts_of
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates
from relope_jax.states.samples import column_of


class ReadableStore(abc.ABC):
    """What `Store` and `JoinedStore` have in common.

    Attributes:
      path: of the store, or of the one that is tested on.
      samples: the sample table, one row per sample.
    """

    path: str

    @property
    @abc.abstractmethod
    def pieces(self) -> list[Piece]:
        """The stores whose rows these are, in order; the one that is tested on is last."""

    @property
    @abc.abstractmethod
    def digests(self) -> list[str]:
        """SHA-256 of every store's manifest."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Of everything that is read."""

    @property
    @abc.abstractmethod
    def samples(self) -> pa.Table: ...

    @property
    @abc.abstractmethod
    def layer(self) -> int:
        """The l whose states and block are read."""

    @property
    @abc.abstractmethod
    def identity(self) -> Identity:
        """The settings that shaped the states."""

    @property
    @abc.abstractmethod
    def block(self) -> Block:
        """The frozen decoder block l."""

    @property
    @abc.abstractmethod
    def token_bytes(self) -> int:
        """Bytes of Z^(l-1) per token."""

    @abc.abstractmethod
    def states(self, rows: Int[np.ndarray, "chosen"] | None = None) -> TokenStates:
        """States of the given rows, in that order, or of all."""

    @abc.abstractmethod
    def last_hidden(self) -> Float[np.ndarray, "samples d"]:
        """z_n^(l) of all samples."""

    @abc.abstractmethod
    def output_embedding(self) -> Float[np.ndarray, "samples d"]:
        """The small model's last layer averaged over its answer."""

    @abc.abstractmethod
    def text_embedding(self, name: str) -> Float[np.ndarray, "samples d"]:
        """The sentence embeddings `name` of all samples."""

    def column(self, name: str) -> Shaped[np.ndarray, "samples"]:
        """A column of the sample table as numpy; raises ReLopeError when samples lack what results need."""
        return column_of(self.samples, name, self.path)

    @functools.cached_property
    def prompts(self) -> list[str]:
        """What the small model was asked, in words: the text of its user turn."""
        return prompts_of(self.samples)

    def rows(self, split: str) -> Int[np.ndarray, "rows"]:
        """Row numbers of one split: "train", "validation" or "test"."""
        return np.flatnonzero(self.column("split") == split)


class Piece(NamedTuple):
    """Rows of one store."""

    store: ReadableStore
    rows: Int[np.ndarray, "rows"]

    @property
    def sample_ids(self) -> list[str]:
        """The ids that the samples have in this store, by which its tables of answers call them."""
        return self.store.column("sample_id")[self.rows].tolist()


class StoreStates:
    """The states of a store, read when they are asked for; the other `StateSource` is `TokenStates`."""

    def __init__(self, store: ReadableStore):
        self._store = store
        self.lengths: Int[np.ndarray, "samples"] = store.column("n_tokens").astype(np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, rows: Int[np.ndarray, "chosen"]) -> TokenStates:
        """The states of the chosen samples, in that order."""
        return self._store.states(rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the hidden states."""
        return int(self.lengths.sum()) * self._store.token_bytes

    def last_hidden(self) -> Float[np.ndarray, "samples d"]:
        """z_n^(l) of all samples."""
        return self._store.last_hidden()


def paths_of(store: ReadableStore, split: str) -> str:
    """Where a split's samples come from, for messages: of joined stores, only the last is tested on."""
    pieces = store.pieces[-1:] if split == "test" else store.pieces[:-1] or store.pieces
    return ", ".join(piece.store.path for piece in pieces)
