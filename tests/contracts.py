"""Annotations of the library as contracts: while tests run, every call checks its arguments and its result.

`install()` comes before the first import of relope_jax. Arrays are checked for dtype and shape, and a dimension's name
stands for one size throughout a call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float to type checkers, too


# What is checked. The rest of block/ and training/, states/ and baselines/ are not among it yet.
ROOMS = [f"relope_jax.{room}" for room in ("block.lora", "models", "metrics", "training.losses")]


def install() -> None:
    """Check the annotations of these rooms' modules that are imported from here on."""
    jaxtyping.install_import_hook(ROOMS, "tests.contracts.checked")


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Calls are not checked: for what is wrong on purpose, or stands in for the real thing."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
