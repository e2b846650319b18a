"""The axes of a sweep: `--grid=FIELD=VALUES`, parsed and checked against the config."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.runs.plan import require_distinct
from relope_jax.config import check_override
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS

SEED = "seed"
STORED = ("model", "dataset", "extract")  # sections that affect the store
SHARED = (*STORED, "train", SEED)  # sections that affect every method
EXAMPLE = "--grid=relope.beta=0.1,0.5,1.0 --grid=seed=0:8"
_RANGE = re.compile(r"(-?\d+):(-?\d+)(?::(-?\d+))?")
_LARGEST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Axis:
    """A swept field (`relope.beta`, or `seed`) and its values in the given order."""

    field: str
    values: tuple[Any, ...]

    @property
    def section(self) -> str:
        return self.field.split(".")[0]

    def concerns(self, method: str) -> bool:
        """Whether this axis affects the training of `method`."""
        return self.section == method or self.section in SHARED


def parse_axes(config: ConfigDict, grid: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of all `--grid` flags, with the config's seeds as the last axis unless `seed` is swept.

    Raises:
      ReLopeError: a field is unknown, duplicated or affects no method; a value has the wrong type or is duplicated.
    """
    if not grid:
        raise ReLopeError(f"nothing to sweep: give fields and their values, for example {EXAMPLE}")
    axes = [_parse_axis(config, text) for text in grid]
    fields = [axis.field for axis in axes]
    if SEED not in fields:
        axes.append(Axis(SEED, config.seeds))
        require_distinct("config.seeds", config.seeds)
    require_distinct("config.methods", config.methods)
    for axis in axes:
        if fields.count(axis.field) > 1:
            raise ReLopeError(f"--grid={axis.field} is given twice; give all its values in one flag")
        if not any(axis.concerns(method) for method in config.methods):
            methods = ", ".join(config.methods)
            raise ReLopeError(f"--grid={axis.field} affects none of config.methods ({methods}): add '{axis.section}'")
    return tuple(axes)


def show(value: Any) -> str:
    """A swept value as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "''"


def _parse_axis(config: ConfigDict, text: str) -> Axis:
    field, found, listed = text.partition("=")
    field = field.strip()
    if not found or not field:
        raise ReLopeError(f"--grid={text} is not FIELD=VALUES; for example {EXAMPLE}")
    if not listed.strip():
        raise ReLopeError(f"--grid={field} has no values; for example {EXAMPLE}")
    current = _current(config, field)
    values = tuple(_parse(config, field, current, piece) for piece in _texts(field, current, listed))
    require_distinct(f"--grid={field}", values)
    return Axis(field, values)


def _current(config: ConfigDict, field: str) -> Any:
    """The field's value in the base config; 0 for `seed`, which is not a field of it.

    Raises:
      ReLopeError: there is no such field, or it cannot be swept.
    """
    if field == SEED:
        return 0
    current: Any = config
    for name in field.split("."):
        if not isinstance(current, ConfigDict) or name not in current:
            check_override(config, f"--config.{field}=")  # raises for a wrong name
        current = current[name]
    section = field.split(".")[0]
    if section == "seeds":
        raise ReLopeError("--grid=seeds: the seed axis is called `seed`, for example --grid=seed=0:8")
    if section not in (*SHARED, *METHODS):
        raise ReLopeError(f"--grid={field} cannot be swept; set it for all cells with --config.{field}=...")
    return current


def _texts(field: str, current: Any, listed: str) -> list[str]:
    """Split `listed` into single values, with ranges of integers expanded."""
    texts = []
    for piece in _pieces(listed):
        match = None if isinstance(current, str) else _RANGE.fullmatch(piece)
        if not match:
            texts.append(piece)
            continue
        start, stop, step = (int(number) if number else 1 for number in match.groups())
        numbers = range(start, stop, step) if step else ()
        if not numbers:
            raise ReLopeError(f"--grid={field}: the range {piece} is empty; START:STOP:STEP excludes STOP")
        texts += map(str, numbers)
    return texts


def _pieces(listed: str) -> list[str]:
    """Split `listed` at commas outside of brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for character in listed:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([") - (character in ")]")
        if character == "," and not depth and not quote:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece.strip() for piece in pieces]


def _parse(config: ConfigDict, field: str, current: Any, text: str) -> Any:
    """Parse one value with the checks of `--config.FIELD=` and the type of the config's value."""
    if field == SEED:
        if not text.isdecimal() or int(text) > _LARGEST_SEED:
            raise ReLopeError(f"--grid=seed takes whole numbers from 0 to {_LARGEST_SEED} like 0:8, not '{text}'")
        return int(text)
    check_override(config, f"--config.{field}={text}")
    if isinstance(current, str):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    if isinstance(current, bool):
        return text.lower() == "true"
    return type(current)(ast.literal_eval(text))
