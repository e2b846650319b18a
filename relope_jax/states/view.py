"""The typed view of samples and states for training and baselines: one store, or several read as one."""

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
    """The common interface of `Store` and `JoinedStore`.

    Attributes:
      path: path of the store, or of the one used for testing.
      samples: the sample table, one row per sample.
    """

    path: str

    @property
    @abc.abstractmethod
    def pieces(self) -> list[Piece]:
        """The stores and their rows, in order; the one used for testing is last."""

    @property
    @abc.abstractmethod
    def digests(self) -> list[str]:
        """SHA-256 of every store's manifest."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """One digest of all stores."""

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
        """The settings that affect the states."""

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
        """A column of the sample table as numpy; raises ReLopeError if a column that results depend on has nulls."""
        return column_of(self.samples, name, self.path)

    @functools.cached_property
    def prompts(self) -> list[str]:
        """The prompts: the text of the user turn."""
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
        """The ids of the samples in this store, which its tables of answers use."""
        return self.store.column("sample_id")[self.rows].tolist()


class StoreStates:
    """The states of a store, read on demand; the in-memory `StateSource` is `TokenStates`."""

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
    """The path or paths of a split's samples, for messages: of joined stores, only the last is used for testing."""
    pieces = store.pieces[-1:] if split == "test" else store.pieces[:-1] or store.pieces
    return ", ".join(piece.store.path for piece in pieces)
