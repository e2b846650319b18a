"""How a training runs on this machine. Nothing here changes a result beyond rounding, so a run may be resumed with
other values."""

from __future__ import annotations

import dataclasses

from relope_jax.errors import require_choice, require_range
from relope_jax.machine.memory import free_memory

STATES = ("auto", "resident", "streamed")
SHARE = 0.5  # of the free memory that resident states may take; parameters and activations need the rest


@dataclasses.dataclass(frozen=True)
class EngineSpec:
    """Settings of the machine's side of training.

    Attributes:
      states: "resident" keeps all states on the device, "streamed" reads every batch from the store, "auto" keeps
        them resident when they take no more than half of the free memory, a container's limit included.
      devices: of all hosts together, that share every batch; 0 means all there are.
      key_cache: keep the frozen block's key of every token on the device (ReLope on resident states only): less
        work a step for 4 * (n_kv_heads + 1) * head_dim bytes a token.
      checkpoint_seconds: training is saved at the end of an epoch when this much time has passed since the last
        time; 0 saves every epoch.
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
        """Whether states of this size are kept on the device."""
        if self.states != "auto":
            return self.states == "resident"
        return state_bytes <= SHARE * free_memory()
