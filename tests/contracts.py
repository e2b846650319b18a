"""Annotations of the library as contracts: while tests run, every call checks its arguments and its result.

`install()` comes before the first import of relope_jax. Arrays are checked for dtype and shape, and a dimension's name
stands for one size throughout a call.
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



class Broken(BaseException):
    """An argument or a result is not what its annotation says.

    It is no `Exception`, so no `except TypeError` around a reader of hostile files hides it.
    """


_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float to type checkers, too


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which raises `Broken` for a wrong argument or result."""
    check = beartype(function, conf=_CONF)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return check(*args, **kwargs)
        except BeartypeCallHintViolation as error:
            raise Broken(str(error)) from None

    return call


# Every module of the library is checked, but for those below one of these names.
EXCLUDED = {
    "relope_jax.io": "no array with named axes, and a function is made for every field of a JSON that is read: to check "
    "these takes longer than the reading",
}


def covered() -> list[str]:
    """The modules that are checked; packages are left out, since a package stands for all of its modules."""
    excluded = tuple(f"{name}." for name in EXCLUDED)
    files = {name: path for name, path in house.modules().items() if path.name != "__init__.py"}
    return [name for name in files if name.startswith("relope_jax.") and not f"{name}.".startswith(excluded)]


def install() -> None:
    """Check the annotations of the library's modules that are imported from here on."""
    jaxtyping.install_import_hook(covered(), "tests.contracts.checked")


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Calls are not checked: for what is wrong on purpose, or stands in for the real thing."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
