"""Locks on object stores, which have no file locks: an object that its holder renews, and that expires otherwise."""

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

EXPIRES = 60.0  # seconds until a lease that is not renewed is free
RENEWS = 15.0  # seconds between renewals


class Lease:
    """The lease `name` of one store.

    Writes are conditional on the last generation read or written, so another holder's lease is never overwritten or
    released. Clocks may differ between machines: a lease that looks expired is watched for longer than a live holder's
    renewal interval.
    """

    def __init__(self, store: ts.KvStore, name: str, title: str):
        self._store, self._name, self._title = store, name, title
        self._generation = b""
        self._renewed = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    def is_held(self) -> bool:
        """Whether some process appears to hold the lease now."""
        return self._age(self._store.read(self._name).result()) < EXPIRES

    def take(self) -> None:
        """Hold the lease until `release`; raises Locked when another process holds it."""
        found = self._store.read(self._name).result()
        if found.state == "value" and self._age(found) >= EXPIRES:
            time.sleep(1.3 * RENEWS)
            again = self._store.read(self._name).result()
            if again.stamp.generation != found.stamp.generation:
                raise Locked(f"{self._title}, held by {self._holder(again)}")
        elif found.state == "value":
            expiry = f"the lock of a killed process expires after {EXPIRES:g} s"
            raise Locked(f"{self._title}, held by {self._holder(found)}; {expiry}")
        if not self._write(found.stamp.generation):
            if self._store.read(self._name).result().state == "missing":
                raise ReLopeError(f"cannot write {self._title}: does the bucket exist?")
            raise Locked(self._title)
        self._thread.start()

    def require(self) -> None:
        """Raise Locked when the lease was lost, or was not renewed for so long that it may be."""
        if self._lost or time.monotonic() - self._renewed > EXPIRES:
            raise Locked(f"{self._title}: this process could not renew its lock, and another may have taken it")

    def release(self) -> None:
        """Release the lease if this process still holds it."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            self._store.write(self._name, None, if_equal=self._generation).result()

    def _keep_renewing(self) -> None:
        while not self._lost and not self._ended.wait(RENEWS):
            try:
                self._lost = not self._write(self._generation)
            except ValueError:  # a short network failure: the next renewal may succeed
                continue

    def _write(self, generation: bytes) -> bool:
        """Overwrite the lease if it is still at this generation; returns False if not."""
        record = {"holder": f"{socket.gethostname()} process {os.getpid()}", "time": time.time()}
        written = self._store.write(self._name, json.dumps(record).encode(), if_equal=generation).result()
        if written.generation:
            self._generation, self._renewed = written.generation, time.monotonic()
        return bool(written.generation)

    @staticmethod
    def _age(found: Any) -> float:
        """Age in seconds; infinite for a missing lease, or for a copied lock file that is not a lease."""
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
