"""Settings of training that affect its result."""

from __future__ import annotations

import dataclasses

from relope_jax.errors import require_range


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """AdamW, as in the paper; settings that the paper leaves open have documented defaults. Learning rates belong to
    the methods (`ProbeSpec.learning_rate`), because they need different ones.

    Attributes:
      epochs: upper bound; early stopping usually ends a member earlier.
      patience: epochs without a better validation AUC before a member stops, counted at the earliest from the end of
        beta's schedule. With few training prompts an epoch has few steps: choose a patience of about 250 steps
        (docs/results/choices.md).
      clip_norm: gradients are clipped to this global norm.
      order_seed: seed of the sample order. All members share it, so that every batch is read only once.
    """

    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 40
    patience: int = 8
    clip_norm: float = 1.0
    order_seed: int = 0

    def __post_init__(self) -> None:
        require_range("train.weight_decay", self.weight_decay, 0)
        require_range("train.clip_norm", self.clip_norm, 1e-12)
        for field in ("batch_size", "epochs", "patience"):
            require_range(f"train.{field}", getattr(self, field), 1)
