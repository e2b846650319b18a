"""Machine settings of training. They change results only by rounding, so a run may be resumed with other values."""

from __future__ import annotations

import dataclasses

from relope_jax.errors import require_choice, require_range
from relope_jax.machine.memory import free_memory

STATES = ("auto", "resident", "streamed")
SHARE = 0.5  # of the free memory for resident states; parameters and activations need the rest


@dataclasses.dataclass(frozen=True)
class EngineSpec:
    """Machine settings of training.

    Attributes:
      states: "resident" keeps all states on the device, "streamed" reads every batch from the store, "auto" keeps
        them resident if they need at most half of the free memory, within a container's limit.
      devices: number of devices, over all hosts, that share every batch; 0 means all.
      key_cache: keep the frozen block's key of every token on the device (only for ReLope on resident states): less
        work per step for 4 * (n_kv_heads + 1) * head_dim bytes per token.
      checkpoint_seconds: save the training at the end of an epoch if this much time has passed since the last save; 0
        saves every epoch.
      tensorboard: also write TensorBoard event files.
    """

    states: str = "auto"
    devices: int = 0
    key_cache: bool = True
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        require_choice("engine.states", self.states, STATES)
        require_range("engine.devices", self.devices, 0)
        require_range("engine.checkpoint_seconds", self.checkpoint_seconds, 0)

    def resident(self, state_bytes: int) -> bool:
        """Whether to keep states of this size on the device."""
        if self.states != "auto":
            return self.states == "resident"
        return state_bytes <= SHARE * free_memory()
