"""Token states of several prompts, concatenated: the type that stores and live extraction return."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from relope_jax.errors import ReLopeError

CHUNK_TOKENS = 32768  # per read when states are used once: 230 MB in bfloat16 at d = 3584


@runtime_checkable
class StateSource(Protocol):
    """A source of states: memory (`TokenStates`) or a store (`StoreStates`)."""

    @property
    def lengths(self) -> Int[np.ndarray, "samples"]: ...

    def __len__(self) -> int: ...

    def select(self, rows: Int[np.ndarray, "chosen"]) -> TokenStates: ...


@dataclasses.dataclass(frozen=True)
class TokenStates:
    """Hidden states of N prompts with T prompt tokens in total; prompt i has rows offsets[i]:offsets[i+1].

    Attributes:
      hidden: Z^(l-1), the input of decoder layer l, `[T, d]` (bfloat16 or float32).
      positions: rotary position ids, `[T, axes]`; one axis, or three for multimodal RoPE.
      offsets: `[N + 1]`.
      last_hidden: z_n^(l), layer l's output at the last prompt token, `[N, d]` float32.
    """

    hidden: Float[np.ndarray, "tokens d"]
    positions: Int[np.ndarray, "tokens axes"]
    offsets: Int[np.ndarray, "samples_plus_1"]
    last_hidden: Float[np.ndarray, "samples_plus_1-1 d"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[np.ndarray, "samples"]:
        """Prompt length of each sample, in tokens."""
        return np.diff(self.offsets)

    def select(self, rows: Int[np.ndarray, "chosen"]) -> TokenStates:
        """The states of the chosen samples, in that order."""
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        tokens = np.repeat(self.offsets[rows], lengths) + within
        return TokenStates(self.hidden[tokens], self.positions[tokens], offsets, self.last_hidden[rows])

    def finite(self) -> Bool[np.ndarray, "samples"]:
        """Whether all states of a sample are finite."""
        good = np.isfinite(self.last_hidden).all(axis=1)
        bad_tokens = ~np.isfinite(self.hidden.astype(np.float32)).all(axis=1)
        owners = np.searchsorted(self.offsets, np.flatnonzero(bad_tokens), side="right") - 1
        good[owners] = False
        return good

    def require_finite(self, sample_ids: list[str]) -> None:
        """Raise ReLopeError naming the first sample with a NaN or infinite state."""
        bad = ~self.finite()
        if bad.any():
            first = sample_ids[int(np.flatnonzero(bad)[0])]
            raise ReLopeError(
                f"non-finite hidden state in sample {first} ({int(bad.sum())} samples in total): "
                "extract with --config.model.dtype=float32 or leave the sample out"
            )


def chunks(states: StateSource, rows: Int[np.ndarray, "chosen"]) -> Iterator[TokenStates]:
    """The states of `rows` in order, a bounded number of tokens at a time."""
    if not len(rows):
        return
    before = np.cumsum(states.lengths[rows]) - 1
    cuts = np.flatnonzero(np.diff(before // CHUNK_TOKENS)) + 1
    for piece in np.split(rows, cuts):
        yield states.select(piece)


def concatenate(pieces: list[TokenStates]) -> TokenStates:
    """Concatenate the states of several pieces, in order."""
    lengths = np.concatenate([piece.lengths for piece in pieces])
    return TokenStates(
        hidden=np.concatenate([piece.hidden for piece in pieces]),
        positions=np.concatenate([piece.positions for piece in pieces]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        last_hidden=np.concatenate([piece.last_hidden for piece in pieces]),
    )
