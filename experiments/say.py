"""Prints the output of commands; the only place where text from stores, runs and servers reaches the terminal."""

from __future__ import annotations

from relope_jax.errors import printable
from relope_jax.machine.mesh import is_primary


def show(text: object, *, flush: bool = False) -> None:
    """Print `text` with terminal control characters escaped."""
    print(printable(text), flush=flush)


def say(text: object) -> None:
    """`show` on the primary process only."""
    if is_primary():
        show(text)
