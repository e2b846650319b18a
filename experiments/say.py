"""What a command prints: the one place from which texts of stores, runs and servers reach a terminal."""

from __future__ import annotations

from relope_jax.errors import printable
from relope_jax.training.mesh import is_primary


def say(text: object, *, flush: bool = False) -> None:
    """Print it once, however many processes work together, without what a terminal would obey."""
    if is_primary():
        print(printable(text), flush=flush)
