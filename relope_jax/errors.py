"""The error a user can act on: printed as one line, without a traceback, by every command."""

from __future__ import annotations

import difflib
import functools
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable

from relope_jax.machine_errors import is_full, refusal

# Characters that a terminal interprets: control characters except tab and line feed, and bidirectional marks.
# Lone surrogates are left to `write_any_text`.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SIGNALLED = 128  # a shell reports a process killed by signal n with exit status 128 + n


class ReLopeError(Exception):
    """Bad input, not a bug. The message is one line that says what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message, or its type if there is none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def printable(text: object) -> str:
    """`text` with terminal control characters escaped, as in \\x1b: they could move the cursor, change colours or write
    the clipboard. Commands print all file contents through this."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def one_line(text: object) -> str:
    """`printable` with line feeds escaped too, so that text from a file cannot fake a second message."""
    return printable(text).replace("\n", "\\n")


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


def line_of(error: BaseException) -> str | None:
    """The one line that a command prints for an error; None for a bug, which keeps its traceback."""
    if isinstance(error, ReLopeError):
        return str(error)
    if is_full(error):
        said = refusal(error) or first_line(error)
        return f"a disk is full ({said}): free some space and run the same command again; finished work is kept"
    return refusal(error)


def exit_on_error(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Wrap a command's main so that errors a user can act on become one line on stderr.

    Exit status 1 for an error, 130 for Ctrl-C, 141 without a message when the reader of the output is gone (`| head`).
    """

    @functools.wraps(main)
    def wrapped(argv: list[str]) -> None:
        write_any_text()
        try:
            main(argv)
            flush_output()
        except BrokenPipeError:
            _forget_output()
            sys.exit(SIGNALLED + signal.SIGPIPE)
        except KeyboardInterrupt:
            print("interrupted; the same command continues", file=sys.stderr)
            sys.exit(SIGNALLED + signal.SIGINT)
        except Exception as error:
            line = line_of(error)
            if line is None:
                raise
            print(f"error: {one_line(line)}", file=sys.stderr)
            sys.exit(1)

    return wrapped


def write_any_text() -> None:
    """Let stdout and stderr write any text: lone surrogates and characters missing from the locale's encoding become
    escapes such as \\u2014."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Flush stdout.

    Raises:
      BrokenPipeError: its reader has gone.
      ReLopeError: it cannot be written, as on a full disk.
    """
    try:
        if sys.stdout is not None:  # closed, by `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_output()
        raise ReLopeError(f"cannot write the output: {error.strerror}") from error


def _forget_output() -> None:
    """Drop the unwritten output; Python would try again to write it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
