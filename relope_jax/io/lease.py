"""A lock on an object store, which has no file locks: an object that its holder renews and that ages."""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from typing import Any

import tensorstore as ts

from relope_jax.errors import ReLopeError
from relope_jax.io.files import parse_json
from relope_jax.io.inside import shown_text
from relope_jax.io.locks import Locked

EXPIRES = 60.0  # seconds after which a lease that is not renewed is free
RENEWS = 15.0  # seconds between two renewals


class Lease:
    """The lease `name` of one store.

    Writes are conditional on the generation that was read or written last, so a lease that somebody else took is never
    written over or given back. Clocks of two machines may differ: a lease that looks expired is watched for longer than
    a living holder leaves it alone.
    """

    def __init__(self, store: ts.KvStore, name: str, title: str):
        self._store, self._name, self._title = store, name, title
        self._generation = b""
        self._renewed = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    def is_held(self) -> bool:
        """Whether some process seems to hold the lease now."""
        return self._age(self._store.read(self._name).result()) < EXPIRES

    def take(self) -> None:
        """Hold the lease until `release`; raises Locked when somebody else holds it."""
        found = self._store.read(self._name).result()
        if found.state == "value" and self._age(found) >= EXPIRES:
            time.sleep(1.3 * RENEWS)
            again = self._store.read(self._name).result()
            if again.stamp.generation != found.stamp.generation:
                raise Locked(f"{self._title}, held by {self._holder(again)}")
        elif found.state == "value":
            raise Locked(f"{self._title}, held by {self._holder(found)}; a killed one's lock ends after {EXPIRES:g} s")
        if not self._write(found.stamp.generation):
            if self._store.read(self._name).result().state == "missing":
                raise ReLopeError(f"cannot write {self._title}: is there such a bucket?")
            raise Locked(self._title)
        self._thread.start()

    def require(self) -> None:
        """Raise Locked when the lease was lost, or could not be renewed for so long that it may be."""
        if self._lost or time.monotonic() - self._renewed > EXPIRES:
            raise Locked(f"{self._title}: this one could not renew its lock, and another may have taken it")

    def release(self) -> None:
        """Give the lease back, if it is still this one's."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            self._store.write(self._name, None, if_equal=self._generation).result()

    def _keep_renewing(self) -> None:
        while not self._lost and not self._ended.wait(RENEWS):
            try:
                self._lost = not self._write(self._generation)
            except ValueError:  # the network is away for a moment: the next renewal may get through
                continue

    def _write(self, generation: bytes) -> bool:
        """Write the lease over that generation; False when it is another by now."""
        record = {"holder": f"{socket.gethostname()} process {os.getpid()}", "time": time.time()}
        written = self._store.write(self._name, json.dumps(record).encode(), if_equal=generation).result()
        if written.generation:
            self._generation, self._renewed = written.generation, time.monotonic()
        return bool(written.generation)

    @staticmethod
    def _age(found: Any) -> float:
        """Seconds; infinite for a lease that is not there, or that is no lease but a copied lock file."""
        try:
            age = time.time() - float(parse_json(found.value, "a lease")["time"])
        except (ValueError, KeyError, TypeError, OverflowError, ReLopeError):
            return math.inf
        return age if math.isfinite(age) else math.inf

    @staticmethod
    def _holder(found: Any) -> str:
        try:
            return shown_text(parse_json(found.value, "a lease")["holder"])
        except (ValueError, KeyError, TypeError, ReLopeError):
            return "somebody"
