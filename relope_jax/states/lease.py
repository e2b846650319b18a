"""A lock on an object store, which has no file locks: an object that its holder renews and that ages."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

import tensorstore as ts

from relope_jax.errors import ReLopeError
from relope_jax.states.files import Locked

EXPIRES = 60.0  # seconds after which a lease that is not renewed belongs to nobody
RENEWS = 15.0  # seconds between two renewals


class Lease:
    """The lease `name` of one store.

    Writes are conditional on what was read, so of two processes that find the same expired lease one gets it.
    """

    def __init__(self, store: ts.KvStore, name: str, title: str):
        self._store, self._name, self._title = store, name, title
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def is_held(self) -> bool:
        """Whether some process holds the lease now."""
        return self._age(self._store.read(self._name).result()) < EXPIRES

    def take(self) -> None:
        """Hold the lease until `release`; raises Locked when somebody else's is still fresh."""
        found = self._store.read(self._name).result()
        if self._age(found) < EXPIRES:
            raise Locked(f"{self._title}, held by {self._holder(found)}; a killed one's lock ends after {EXPIRES:g} s")
        written = self._write(if_equal=found.stamp.generation)
        if not written.generation:
            if self._store.read(self._name).result().state == "missing":
                raise ReLopeError(f"cannot write {self._title}: is there such a bucket?")
            raise Locked(self._title)
        self._thread.start()

    def release(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self._thread.join()
        self._store.delete_range(ts.KvStore.KeyRange(self._name, self._name + "\0")).result()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWS):
            try:
                self._write()
            except ValueError:  # the network is away for a moment: the next renewal may get through
                continue

    def _write(self, **condition: Any) -> Any:
        record = {"holder": f"{socket.gethostname()} process {os.getpid()}", "time": time.time()}
        return self._store.write(self._name, json.dumps(record).encode(), **condition).result()

    @staticmethod
    def _age(found: Any) -> float:
        return float("inf") if found.state == "missing" else time.time() - json.loads(found.value)["time"]

    @staticmethod
    def _holder(found: Any) -> str:
        return str(json.loads(found.value)["holder"])
