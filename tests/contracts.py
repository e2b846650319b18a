"""Annotations of the library as contracts: while tests run, every call checks its arguments and its result.

`install()` comes before the first import of relope_jax. Arrays are checked for dtype and shape, and a dimension's name
stands for one size throughout a call.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float to type checkers, too


def install() -> None:
    """Check the annotations of all modules of relope_jax that are imported from here on."""
    jaxtyping.install_import_hook("relope_jax", "tests.contracts.checked")
    store = importlib.import_module("relope_jax.states.store").Store
    for name in ("reader", "view"):  # they are below the store and import its name for mypy alone
        importlib.import_module(f"relope_jax.states.{name}").Store = store


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Calls are not checked: for what is wrong on purpose, or stands in for the real thing."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
