"""What a job prints."""

from __future__ import annotations

from relope_jax.training.mesh import is_primary


def say(text: str) -> None:
    """Print it once, however many processes work together."""
    if is_primary():
        print(text)
