"""Type and range checks for values from untrusted JSON.

A `Check` takes a value and returns it, or raises `Wrong` with a reason, such as `methods.auc is 'x', not a number`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from relope_jax.errors import ReLopeError, nearest
from relope_jax.io.inside import shown_name

LARGEST = 2**63 - 1  # integer
LONGEST = 20_000  # characters in a string
MOST = 100_000  # entries in a list or an object
BIG = 1e300
_DIGEST = re.compile("[0-9a-f]{64}")  # a SHA-256 in hex

Check = Callable[[Any], Any]
Spec = TypeVar("Spec")


class Wrong(ValueError):
    """A failed check: the path to the value and the reason."""

    def under(self, name: object) -> Wrong:
        """The same error with `name` put in front of the path."""
        path = str(self)
        shown = shown_name(name)[1:-1] if isinstance(name, str) else name
        return Wrong(f"{shown}{'' if path.startswith(' ') else '.'}{path}")


def wrong(value: Any, wanted: str) -> Wrong:
    return Wrong(f" is {shown_name(value)}, not {wanted}")


def checked(value: Any, check: Check, where: object) -> Any:
    """Return the checked value, or raise ReLopeError naming the file `where`."""
    try:
        return check(value)
    except Wrong as error:
        said = f"it{error}" if str(error).startswith(" ") else str(error)
        raise ReLopeError(f"{where} is damaged ({said}): restore it, or create it again") from error


def number(low: float = -BIG, high: float = BIG, *, nan: bool = False) -> Check:
    """A finite number from `low` to `high`; with `nan` also NaN, which Python's JSON allows."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(value, "a number")
        if not low <= value <= high and not (nan and value != value):
            raise wrong(value, f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def whole(low: int = 0, high: int = LARGEST) -> Check:
    """An integer from `low` to `high`."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(value, f"a whole number from {low} to {high}")
        return value

    return check


def text(value: Any) -> Any:
    """A string of at most `LONGEST` characters."""
    if not isinstance(value, str) or len(value) > LONGEST:
        raise wrong(value, f"a string of at most {LONGEST} characters")
    return value


def boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise wrong(value, "true or false")
    return value


def one_of(allowed: Collection[str]) -> Check:
    """One of these strings."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise wrong(value, f"one of {', '.join(allowed)}")
        return value

    return check


def maybe(check: Check) -> Check:
    """`check`, or null."""
    return lambda value: None if value is None else check(value)


def listing(check: Check, least: int = 0, most: int = MOST) -> Check:
    """A list of `least` to `most` entries that each pass `check`."""

    def check_all(value: Any) -> Any:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise wrong(value, f"a list of {least} to {most} entries")
        return [_under(i, check, entry) for i, entry in enumerate(value)]

    return check_all


def mapping(key: Check, check: Check, least: int = 0) -> Check:
    """An object whose names pass `key` and whose values pass `check`."""

    def check_all(value: Any) -> Any:
        if not isinstance(value, dict) or not least <= len(value) <= MOST:
            raise wrong(value, f"an object of {least} to {MOST} entries")
        return {key(name): _under(name, check, entry) for name, entry in value.items()}

    return check_all


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these entries; other entries are kept unchecked."""

    def check_all(value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong(value, "an object")
        if missing := [name for name in required if name not in value]:
            raise Wrong(f" has no '{missing[0]}'")
        checks = {**required, **(optional or {})}
        return {name: _under(name, checks[name], v) if name in checks else v for name, v in value.items()}

    return check_all


def spec_of(cls: type[Spec], value: Any, where: object) -> Spec:
    """Build a frozen dataclass of settings from JSON or a config, checking field names and types.

    Raises:
      ReLopeError: a field is unknown or has the wrong type, or the dataclass itself rejects a value.
    """
    try:
        return _built(cls, value, _needed(cls))
    except Wrong as error:
        said = f"it{error}" if str(error).startswith(" ") else str(error)
        raise ReLopeError(f"{where} has no valid {cls.__name__} ({said})") from error


def record_of(cls: type[Spec], value: Any, what: str) -> Spec:
    """Build the dataclass `cls` from a JSON object with exactly its fields and types.

    Raises:
      ValueError: it is not such an object.
    """
    try:
        return _built(cls, value, list(_checks_of(cast(Any, cls))))
    except Wrong as error:
        raise ValueError(f"{what}{error}" if str(error).startswith(" ") else f"{error} (of {what})") from error


def is_of(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type `hint`."""
    try:
        _check_of(hint)(value)
    except Wrong:
        return False
    return True


def require_between(record: Any, low: float, high: float, *names: str) -> None:
    """Raise ValueError if one of these fields is outside [low, high]."""
    for name in names:
        value = getattr(record, name)
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}, not {low} to {high}")


def require_digest(value: object, what: str) -> None:
    """Raise ValueError if `value` is not a hex SHA-256."""
    if not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ValueError(f"the checksum of {shown_name(what)} is not a SHA-256")


def _needed(cls: Any) -> list[str]:
    """The fields without a default."""
    return [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]


def _built(cls: Any, value: Any, needed: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        raise wrong(value, "an object")
    checks = _checks_of(cls)
    if unknown := [name for name in value if name not in checks]:
        raise Wrong(f" has an unknown '{shown_name(unknown[0])[1:-1]}'{nearest(str(unknown[0]), checks)}")
    if missing := [name for name in needed if name not in value]:
        raise Wrong(f" has no '{missing[0]}'")
    return cls(**{name: _under(name, checks[name], entry) for name, entry in value.items()})


@functools.cache
def _checks_of(cls: Any) -> dict[str, Check]:
    """The checks of all fields of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {field.name: _check_of(hints[field.name]) for field in dataclasses.fields(cls)}


def _check_of(hint: Any) -> Check:
    """The check for a field with this annotation."""
    simple = {int: whole(-LARGEST), float: number(), str: text, bool: boolean, Any: lambda value: value}
    if hint in simple:
        return simple[hint]
    if dataclasses.is_dataclass(hint):
        return lambda value: _built(hint, value, _needed(hint))
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return listing(_check_of(parts[0]))
    if origin is tuple:
        several = listing(_check_of(parts[0]))
        return lambda value: tuple(several(value))
    if origin is dict:
        return mapping(text, _check_of(parts[1]))
    if isinstance(hint, types.UnionType):
        return maybe(_check_of(next(part for part in parts if part is not type(None))))
    raise TypeError(f"no check for {hint}")


def _under(name: object, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except Wrong as error:
        raise error.under(name) from error
