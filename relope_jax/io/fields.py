"""Fields of records that came as JSON: each is compared with its type before anything uses it."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from typing import Any, TypeVar, cast

from relope_jax.io.inside import shown_name

Record = TypeVar("Record")
LARGEST = 2**63 - 1
_DIGEST = re.compile("[0-9a-f]{64}")


def record_of(kind: type[Record], value: Any, what: str) -> Record:
    """The dataclass `kind` of a JSON object that has its fields, all of them and no other, each of its type.

    Raises:
      ValueError: it is no such object.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")
    types = _types(cast(Any, kind))
    for name in sorted(types.keys() ^ value.keys(), key=repr):
        raise ValueError(f"{what} {'lacks' if name in types else 'has an unknown'} field {shown_name(name)}")
    for name, hint in types.items():
        if not is_of(value[name], hint):
            raise ValueError(f"{name} of {what} is {shown_name(value[name])}, which is not {hint_text(hint)}")
    tuples = {name: tuple(value[name]) for name, hint in types.items() if typing.get_origin(hint) is tuple}
    return kind(**value | tuples)


def is_of(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type: str, int (of 64 bits), float (finite), bool, None, lists and dicts of them."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is list:
        return isinstance(value, list) and all(is_of(v, inner[0]) for v in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(is_of(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(is_of(v, inner[1]) for v in value.values())
    if inner:  # a union
        return any(is_of(value, option) for option in inner)
    if hint is int:
        return type(value) is int and abs(value) <= LARGEST
    if hint is float:
        return is_of(value, int) or (type(value) is float and abs(value) < float("inf"))
    return type(value) is hint


def require_between(record: Any, low: float, high: float, *names: str) -> None:
    """Raise ValueError when one of these fields is not from `low` to `high`."""
    for name in names:
        value = getattr(record, name)
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}, and can be {low} to {high}")


def require_digest(value: object, what: str) -> None:
    """Raise ValueError when a text is no hex SHA-256."""
    if not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ValueError(f"the checksum of {shown_name(what)} is no SHA-256")


def hint_text(hint: Any) -> str:
    """A type as messages call it."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    """The type of every field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
