"""What a command prints: the one place from which texts of stores, runs and servers reach a terminal."""

from __future__ import annotations

from relope_jax.errors import printable
from relope_jax.machine.mesh import is_primary


def show(text: object, *, flush: bool = False) -> None:
    """Print it without what a terminal would obey."""
    print(printable(text), flush=flush)


def say(text: object) -> None:
    """`show` it once, however many processes work together."""
    if is_primary():
        show(text)
