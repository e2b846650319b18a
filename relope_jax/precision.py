"""Sets the precision of matrix products, for the whole library.

By default an accelerator multiplies float32 matrices at lower precision (TF32 on a GPU, bfloat16 on a TPU). The library
always asks for full precision, so training, scoring and a restored router agree.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax

MATMUL_PRECISION = "highest"


def full_precision() -> contextlib.AbstractContextManager[None]:
    """A context with full-precision matrix products, for operations outside `jit`."""
    return jax.default_matmul_precision(MATMUL_PRECISION)


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, with full-precision matrix products whatever the caller's setting; same options."""

    @functools.wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        with full_precision():
            return function(*args, **kwargs)

    return jax.jit(exact, **options)
