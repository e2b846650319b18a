"""The error a user can act on: printed as one line, without a traceback, by every command."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class ReLopeError(Exception):
    """Bad input, not a bug. The message is one line that says what is wrong and what to do."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the closest candidate, or an empty string when none is close."""
    match = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


def exit_on_error(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Wrap a command's main so that a ReLopeError becomes one line on stderr and exit status 1."""

    def wrapped(argv: list[str]) -> None:
        try:
            main(argv)
        except ReLopeError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return wrapped
