"""Checks the library's annotations at run time: during tests, every call checks its arguments and its result.

`install()` comes before the first import of relope_jax. Arrays are checked for dtype and shape, and a dimension's name
stands for one size throughout a call. Inside `jit` that happens while a function is traced.

Some annotations are for mypy and readers alone:
- Fields of NamedTuples: JAX rebuilds those that are trees with whatever its transformations put into them.
- All items of a list or a dict but one: to look at every one takes too long.
- A class that is defined further down in the module, or is being defined: nothing has that name yet. An annotation
  with the shape of an array may not name one (see `tests/test_contracts.py`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeCallHintViolation

from tests import house

# Modules and packages that are not checked. None of them may have an array with named axes.
_SETTINGS = "settings of thousands of members are made one by one, and checked as they are made"
EXCLUDED = {
    "relope_jax.errors": _SETTINGS,  # `require_range` and its like
    "relope_jax.io": "readers of JSON make a function for every field: to check it takes longer than to read",
    "relope_jax.models.spec": _SETTINGS,
    "relope_jax.training.spec": _SETTINGS,
}
_CONF = BeartypeConf(is_pep484_tower=True)  # type checkers accept an int as a float


class Broken(BaseException):
    """An argument or a result is not what its annotation says.

    It is no `Exception`: otherwise an `except TypeError` around a reader of hostile files would hide it.
    """


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which raises `Broken` for a wrong argument or result."""
    check = beartype(function, conf=_CONF)
    if check is function:  # nothing to check
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return check(*args, **kwargs)
        except BeartypeCallHintViolation as error:
            raise Broken(str(error)) from None

    return call


def covered() -> list[str]:
    """The modules that are checked. To the import hook a package stands for all of its modules, so none is listed."""
    files = {name: path for name, path in house.modules().items() if name.startswith("relope_jax.")}
    excluded = tuple(f"{name}." for name in EXCLUDED)
    return [name for name, path in files.items() if path.stem != "__init__" and not f"{name}.".startswith(excluded)]


def install() -> None:
    """Check the annotations of the library's modules that are imported from here on."""
    jaxtyping.install_import_hook(covered(), f"{__name__}.checked")


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Disables the checks, for deliberately wrong arguments and for stand-ins."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
