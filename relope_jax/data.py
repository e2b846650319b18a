"""Everything a method may learn from: states, labels, splits and questions of one store."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int

from relope_jax.metrics.evaluate import require_both_labels
from relope_jax.models.block_spec import Block
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import SPLITS, Store


@dataclasses.dataclass(frozen=True)
class RouterData:
    """One store in memory. `rows[split]` are the row numbers of a split."""

    states: TokenStates
    labels: Int[np.ndarray, "samples"]
    rows: dict[str, Int[np.ndarray, "rows"]]
    questions: list[str]
    sample_ids: list[str]
    groups: np.ndarray
    block: Block


def load_router_data(store: Store) -> RouterData:
    """Read a store and check that it can be trained on.

    Raises:
      ReLopeError: a split is empty or has one class only, a state is not finite, a part is damaged.
    """
    labels = store.column("label").astype(np.int64)
    rows = {split: store.rows(split) for split in SPLITS}
    for split in SPLITS:
        require_both_labels(labels[rows[split]], f"the {split} split of {store.path}")
    sample_ids = store.column("sample_id").tolist()
    states = store.states()
    states.require_finite(sample_ids)
    questions, groups = store.column("question").tolist(), store.column("group")
    return RouterData(states, labels, rows, questions, sample_ids, groups, store.block)
