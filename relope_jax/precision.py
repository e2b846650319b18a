"""The one place that says in how many bits matrices are multiplied.

An accelerator multiplies float32 matrices in fewer bits unless a program asks for more (TF32 on a GPU, bfloat16 on a
TPU). All programs of the library ask for all bits, so training, scoring and a restored router agree.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax

MATMUL_PRECISION = "highest"


def full_precision() -> contextlib.AbstractContextManager[None]:
    """A context in which matrix products keep all bits; for operations outside of `jit`."""
    return jax.default_matmul_precision(MATMUL_PRECISION)


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` of a function whose matrix products keep all bits, whatever the caller's setting; options as there."""

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        with full_precision():
            return function(*args, **kwargs)

    return jax.jit(exact, **options)
