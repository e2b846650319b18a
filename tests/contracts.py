"""Checks the library's annotations at run time: during tests, every call checks its arguments and its result.

`install()` comes before the first import of relope_jax. Arrays are checked for dtype and shape; a dimension's name has
one size within a call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type checkers accept an int as a float, too


# The modules that are checked. The rest of block/ and training/, states/ and baselines/ are not included yet.
ROOMS = [f"relope_jax.{room}" for room in ("block.lora", "models", "metrics", "training.losses")]


def install() -> None:
    """Check the annotations of these modules when they are imported from now on."""
    jaxtyping.install_import_hook(ROOMS, "tests.contracts.checked")


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Disables the checks, for deliberately wrong arguments and for stand-ins."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
