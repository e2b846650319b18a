"""The training data of a method: states, labels, splits and prompts of one store."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped

from relope_jax.block.spec import Block
from relope_jax.machine.engine import EngineSpec
from relope_jax.machine.mesh import agreed
from relope_jax.metrics.evaluate import require_both_labels
from relope_jax.states.layout import SPLITS
from relope_jax.states.ragged import StateSource, TokenStates, chunks
from relope_jax.states.statistics import TokenStatistics, token_statistics
from relope_jax.states.view import ReadableStore, StoreStates, paths_of


@dataclasses.dataclass(frozen=True)
class RouterData:
    """One store to learn from. `rows[split]` are the row numbers of a split.

    Attributes:
      states: in memory (`TokenStates`), or read from the store as they are needed (`StoreStates`).
      statistics: of the training split.
      identity: identifies this data; training checkpoints store it.
    """

    states: StateSource
    statistics: TokenStatistics
    labels: Int[np.ndarray, "samples"]
    rows: dict[str, Int[np.ndarray, "_"]]
    prompts: list[str]
    sample_ids: list[str]
    groups: Shaped[np.ndarray, "samples"]
    block: Block
    identity: dict[str, object] = dataclasses.field(default_factory=dict)


def load_router_data(store: ReadableStore, engine: EngineSpec | None = None) -> RouterData:
    """Open a store for training and check that it can be trained on.

    Raises:
      ReLopeError: a split is empty or has only one class, a state is not finite, or a part is damaged.
    """
    engine = engine or EngineSpec()
    labels = store.column("label").astype(np.int64)
    rows = {split: store.rows(split) for split in SPLITS}
    groups = store.column("group")
    for split in SPLITS:
        counted = groups[rows[split]] if split == "test" else None  # intervals of test results count groups
        require_both_labels(labels[rows[split]], f"the {split} split of {paths_of(store, split)}", counted)
    sample_ids = store.column("sample_id").tolist()
    states = open_states(store, engine)
    if isinstance(states, TokenStates):  # streamed states are checked by their checksums and by every step's loss
        require_finite(states, sample_ids)
    return RouterData(
        states=states,
        statistics=token_statistics(states, rows["train"]),
        labels=labels,
        rows=rows,
        prompts=store.prompts,
        sample_ids=sample_ids,
        groups=groups,
        block=store.block,
        identity={"store": store.digest, "layer": store.layer},
    )


def with_vectors(data: RouterData, vectors: Float[np.ndarray, "samples d"]) -> RouterData:
    """`data` with one vector per sample instead of its states, for a method that does not read z_n^(l)."""
    states = vector_states(vectors)
    require_finite(states, data.sample_ids)
    return dataclasses.replace(data, states=states, statistics=token_statistics(states, data.rows["train"]))


def vector_states(vectors: Float[np.ndarray, "samples d"]) -> TokenStates:
    """One-token prompts whose z_n^(l) is the vector."""
    vectors = np.asarray(vectors, np.float32)
    return TokenStates(vectors, np.zeros((len(vectors), 1), np.int32), np.arange(len(vectors) + 1), vectors)


def open_states(store: ReadableStore, engine: EngineSpec) -> StateSource:
    """All states in memory if they will be resident on the device, else a view of the store."""
    return store.states() if agreed(engine.resident(device_bytes(store))) else StoreStates(store)


def device_bytes(store: ReadableStore) -> int:
    """Device memory for the states of a store, in bytes: hidden states and ReLope's key cache."""
    spec = store.block.spec
    tokens = int(store.column("n_tokens").sum())
    keys = 4 * (spec.n_kv_heads * spec.head_dim + 1 + spec.rope_dim)
    return tokens * (store.token_bytes + keys)


def require_finite(states: TokenStates, sample_ids: list[str]) -> None:
    """Raise ReLopeError naming the first sample with a non-finite state."""
    checked = 0
    for chunk in chunks(states, np.arange(len(states))):
        chunk.require_finite(sample_ids[checked : checked + len(chunk)])
        checked += len(chunk)
