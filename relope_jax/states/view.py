"""What a run reads samples and states from: one store, or several that read like one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from relope_jax.block.spec import Block
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates

if TYPE_CHECKING:
    from relope_jax.states.store import Store


class Piece(NamedTuple):
    """Rows of one store."""

    store: Store
    rows: Int[np.ndarray, "rows"]

    @property
    def sample_ids(self) -> list[str]:
        """The ids that the samples have in this store, by which its tables of answers call them."""
        return self.store.column("sample_id")[self.rows].tolist()


def paths_of(store: ReadableStore, split: str) -> str:
    """Where a split's samples come from, for messages: of joined stores, only the last is tested on."""
    pieces = store.pieces[-1:] if split == "test" else store.pieces[:-1] or store.pieces
    return ", ".join(piece.store.path for piece in pieces)


@runtime_checkable
class ReadableStore(Protocol):
    """What `Store` and `JoinedStore` have in common; see there.

    Attributes:
      path: of the store, or of the one that is tested on.
      pieces: the stores whose rows these are, in order; the one that is tested on is last.
      digest, digests: of everything that is read, and of every store.
    """

    @property
    def path(self) -> str: ...

    @property
    def pieces(self) -> list[Piece]: ...

    @property
    def digest(self) -> str: ...

    @property
    def digests(self) -> list[str]: ...

    @property
    def layer(self) -> int: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def block(self) -> Block: ...

    @property
    def token_bytes(self) -> int: ...

    @property
    def samples(self) -> pa.Table: ...

    @property
    def prompts(self) -> list[str]: ...

    def column(self, name: str) -> np.ndarray: ...

    def rows(self, split: str) -> np.ndarray: ...

    def states(self, rows: Int[np.ndarray, "chosen"] | None = None) -> TokenStates: ...

    def last_hidden(self) -> Float[np.ndarray, "samples d"]: ...

    def output_embedding(self) -> Float[np.ndarray, "samples d"]: ...

    def text_embedding(self, name: str) -> Float[np.ndarray, "samples d"]: ...
