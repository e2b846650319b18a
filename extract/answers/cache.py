"""The persistent cache of responses: whatever was answered once is never asked, or paid for, again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from extract.answers.request import Response
from relope_jax.errors import ReLopeError, first_line
from relope_jax.paths import local_path

BUSY_SECONDS = 60  # how long a write waits for another process that shares the file


class Cache:
    """Responses by key in one SQLite file, each committed on arrival; processes and threads may share it.

    Raises:
      ReLopeError: the file cannot be used.
    """

    def __init__(self, path: str | Path):
        self.path = local_path(path)
        self._lock = threading.Lock()
        with self._one_line_errors():
            self.path = self.path.expanduser()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without isolation every statement is its own transaction: kill -9 loses no answer that had arrived.
            self._rows = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        self._rows.text_factory = bytes  # an entry that is no text is no reason to fail
        try:
            with self._one_line_errors():
                self._rows.execute("PRAGMA journal_mode=WAL")
                self._rows.execute(
                    "CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, response TEXT NOT NULL)"
                )
        except ReLopeError:
            self.close()
            raise

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def get(self, key: str) -> Response | None:
        """The response under `key`; None when there is none, or something that is no response: it is asked again."""
        with self._lock, self._one_line_errors():
            row = self._rows.execute("SELECT response FROM responses WHERE key = ?", (key,)).fetchone()
        try:
            return Response.parse(row[0]) if row else None
        except (ValueError, TypeError, RecursionError):
            return None

    def put(self, key: str, response: Response) -> None:
        """Keep a response; it is on disk when this returns."""
        with self._lock, self._one_line_errors():
            self._rows.execute("INSERT OR REPLACE INTO responses VALUES (?, ?)", (key, response.dump()))

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, RuntimeError) as error:  # RuntimeError: no such user's home
            raise ReLopeError(
                f"cannot use the answer cache {self.path}: {first_line(error)}; "
                "name another file on a local disk with --config.answers.cache=..."
            ) from error
