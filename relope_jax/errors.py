"""The error a user can act on: printed as one line, without a traceback, by every command."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class ReLopeError(Exception):
    """Bad input, not a bug. The message is one line that says what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something; its type when none does."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the closest candidate, or an empty string when none is close."""
    match = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


def require_choice(field: str, value: str, allowed: Iterable[str]) -> None:
    """Raise ReLopeError when a setting is not one of its allowed values."""
    allowed = list(allowed)
    if value not in allowed:
        raise ReLopeError(f"{field} is '{value}'{nearest(value, allowed)}; it can be {', '.join(allowed)}")


def require_range(field: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise ReLopeError when a setting is outside [low, high]."""
    if not low <= value <= high:
        limit = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ReLopeError(f"{field} is {value}; it must be {limit}")


def exit_on_error(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Wrap a command's main so that a ReLopeError becomes one line on stderr and exit status 1."""

    def wrapped(argv: list[str]) -> None:
        try:
            main(argv)
        except ReLopeError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return wrapped
