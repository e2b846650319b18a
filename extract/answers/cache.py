"""The persistent cache of responses, so that nothing is requested or paid for twice."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from extract.answers.request import Response
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.paths import local_path

BUSY_SECONDS = 60  # maximum wait of a write for another process that uses the file
CLAIM_SECONDS = 30.0  # a claim that is not renewed expires after this time
POLL_SECONDS = 0.2  # between lookups of responses that another process is requesting
LARGEST_ENTRY = 64 << 20  # bytes
# The only tables that a cache file may hold, with exactly this SQL: no foreign view, trigger or default ever runs.
TABLES = {
    "responses": "CREATE TABLE responses (key TEXT PRIMARY KEY, response TEXT NOT NULL)",
    "claims": "CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL)",
}
# An expired claim is taken over, and so is one with an expiry that no process of ours could have set.
_CLAIM = (
    "INSERT INTO claims VALUES (?1, ?2, ?3 + ?4) ON CONFLICT (key) DO UPDATE "
    "SET owner = excluded.owner, expires = excluded.expires WHERE claims.expires NOT BETWEEN ?3 AND ?3 + 2 * ?4"
)


class Cache:
    """Responses by key in one SQLite file, each committed on arrival. Processes and threads may share the file.

    A process claims a key (`take`) before it sends the request, so that no other process sends it at the same time.
    Claims are renewed in the background while the process lives. After a kill they end at once for processes on the
    same machine, and after `CLAIM_SECONDS` for others.

    Raises:
      ReLopeError: the file cannot be used, or is not a cache.
    """

    def __init__(self, path: str | Path):
        self.path = local_path(path)
        self._lock = threading.Lock()
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._closed = threading.Event()
        self._renewing: threading.Thread | None = None
        with self._one_line_errors():
            self.path = self.path.expanduser()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and not self.path.is_file():
                raise OSError("it is not a file")
            # Without isolation every statement is its own transaction, so kill -9 loses no response that has arrived.
            self._rows = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        self._rows.text_factory = bytes  # an entry that is not text must not raise
        self._rows.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ENTRY)
        try:
            with self._one_line_errors():
                self._make_tables()
        except ReLopeError:
            self._rows.close()
            raise

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all claims and close the file."""
        self._closed.set()
        if self._renewing:
            self._renewing.join()
            with contextlib.suppress(ReLopeError), self._transaction():  # otherwise they expire by themselves
                self._rows.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
        self._rows.close()

    def get(self, key: str) -> Response | None:
        """The response for `key`; None when there is none or the entry is invalid, so the request is sent again."""
        with self._lock, self._one_line_errors():
            return self._read(key)

    def take(self, keys: Collection[str]) -> tuple[dict[str, Response], set[str]]:
        """The cached responses for `keys`, and the other keys that the caller has now claimed.

        The caller must call `put` or `release` for each claimed key. Keys in neither result are claimed by another
        process: try again after `POLL_SECONDS`.
        """
        known = self._known(keys)
        mine = self._claim([key for key in keys if key not in known])
        since = self._known(mine)  # answered between the lookup and the claim
        self.release(since)
        return known | since, mine - since.keys()

    def put(self, key: str, response: Response) -> Response:
        """Store a response and release the claim on its key. The response is on disk when this returns.

        Returns:
          What the cache holds: an earlier response is not replaced.
        """
        with self._transaction(durable=True):
            self._rows.execute("INSERT OR IGNORE INTO responses VALUES (?, ?)", (key, response.dump()))
            self._rows.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))
            if held := self._read(key):
                return held
            self._rows.execute("UPDATE responses SET response = ? WHERE key = ?", (response.dump(), key))
            return response

    def release(self, keys: Iterable[str]) -> None:
        """Release this process's claims on `keys`."""
        if names := [(key, self._owner) for key in keys]:
            with self._transaction():
                self._rows.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", names)

    def _known(self, keys: Iterable[str]) -> dict[str, Response]:
        found = ((key, self.get(key)) for key in keys)
        return {key: response for key, response in found if response}

    def _claim(self, keys: Collection[str]) -> set[str]:
        if not keys:
            return set()
        with self._transaction():
            owners = self._rows.execute("SELECT DISTINCT owner FROM claims LIMIT 1000").fetchall()
            gone = [(str(owner, "utf-8"),) for (owner,) in owners if _is_gone(owner)]
            self._rows.executemany("DELETE FROM claims WHERE owner = ?", gone)
            times = time.time(), CLAIM_SECONDS
            mine = {key for key in keys if self._rows.execute(_CLAIM, (key, self._owner, *times)).rowcount == 1}
        if self._renewing is None:
            self._renewing = threading.Thread(target=self._renew, name="claims", daemon=True)
            self._renewing.start()
        return mine

    def _renew(self) -> None:
        while not self._closed.wait(CLAIM_SECONDS / 4):
            with contextlib.suppress(ReLopeError), self._transaction():
                expires = time.time() + CLAIM_SECONDS
                self._rows.execute("UPDATE claims SET expires = ? WHERE owner = ?", (expires, self._owner))

    def _read(self, key: str) -> Response | None:
        try:
            row = self._rows.execute("SELECT response FROM responses WHERE key = ?", (key,)).fetchone()
            return Response.parse(row[0]) if row else None
        except (ValueError, TypeError, ReLopeError, sqlite3.DataError):  # the last: above LARGEST_ENTRY
            return None

    def _make_tables(self) -> None:
        """Refuse a file with other content before changing it, then create missing tables."""
        self._rows.execute("PRAGMA trusted_schema = OFF")
        self._rows.execute("PRAGMA cell_size_check = ON")
        found = self._rows.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL LIMIT 9").fetchall()
        ours = {(name.encode(), sql.encode()) for name, sql in TABLES.items()}
        if not ours.issuperset(found):
            raise ValueError("it is another program's database, or was changed")
        self._rows.execute("PRAGMA journal_mode = WAL")
        for sql in TABLES.values():
            self._rows.execute(sql.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Changes that become visible together. `durable` ones survive a power loss, which claims need not."""
        with self._lock, self._one_line_errors():
            self._rows.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, RuntimeError) as error:  # RuntimeError: no such user's home
            raise ReLopeError(
                f"cannot use the answer cache {self.path}: {first_line(error)}; "
                "choose another file on a local disk with --config.answers.cache=..."
            ) from error


def _is_gone(owner: object) -> bool:
    """Whether the owner of a claim was a process on this machine that has ended."""
    parts = re.fullmatch(rb"(.+):([1-9][0-9]{0,8}):[0-9a-f]{16}", owner) if isinstance(owner, bytes) else None
    if parts is None or parts[1] != socket.gethostname().encode():
        return False
    try:
        os.kill(int(parts[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's process
        return False
    return False
