"""ReLope in JAX: learn from a small multimodal LLM's hidden states whether its answer will be right.

>>> import relope_jax
>>> store = relope_jax.Store("stores/...")          # token states, labels, questions
>>> router = relope_jax.restore("runs/quickstart", method="relope", seed=0)
>>> router(store.states())                          # P(the small model is right), one score per prompt

The names are loaded when they are first used: `import relope_jax.errors` does not import JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relope_jax.errors import ReLopeError
    from relope_jax.run import Router, Run, restore
    from relope_jax.states.ragged import TokenStates
    from relope_jax.states.store import Store

__all__ = ["ReLopeError", "Router", "Run", "Store", "TokenStates", "restore"]

_MODULES = {
    "ReLopeError": "relope_jax.errors",
    "Router": "relope_jax.run",
    "Run": "relope_jax.run",
    "Store": "relope_jax.states.store",
    "TokenStates": "relope_jax.states.ragged",
    "restore": "relope_jax.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'relope_jax' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
