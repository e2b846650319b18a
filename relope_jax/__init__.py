"""ReLope in JAX: learn from a small multimodal LLM's hidden states whether its answer will be right.

>>> import relope_jax
>>> store = relope_jax.Store("stores/...")          # token states, labels, questions
>>> router = relope_jax.restore("runs/quickstart", method="relope", seed=0)
>>> router(store.states())                          # P(the small model is right), one score a prompt
"""

from relope_jax.errors import ReLopeError
from relope_jax.run import Router, Run, restore
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import Store

__all__ = ["ReLopeError", "Router", "Run", "Store", "TokenStates", "restore"]
