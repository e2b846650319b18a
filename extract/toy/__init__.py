"""The toy MLLMs and their identities. No torch here."""

from __future__ import annotations

from pathlib import Path

from relope_jax.errors import ReLopeError
from relope_jax.io.files import sha256

# Recorded in every store of a toy MLLM. Raise it when the model or processor assembled by `build.py` gives different
# outputs; tests/extract/test_versions.py then fails.
VERSION = 1
WEIGHTS = Path(__file__).with_name("weights")


def toy_digest(name: str) -> str:
    """Identity of a toy MLLM: its trained weights and the version of its assembly.

    Raises:
      ReLopeError: it is not trained.
    """
    weights = WEIGHTS / f"{name}.safetensors"
    if not weights.exists():
        raise ReLopeError(
            f"{name} is not trained yet: train it with `python -m extract.toy.training.train --model={name}`"
        )
    return f"{sha256(weights)[:12]}-{VERSION}"
