"""Storage for stores: a local folder, or a prefix in S3 or GCS, through TensorStore's drivers.

Publishing is atomic: a local folder appears by one rename, a folder in a bucket with the object that is uploaded last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import tensorstore as ts

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import files, limits
from relope_jax.io.inside import inside, plain, require_plain_path
from relope_jax.io.lease import Lease
from relope_jax.io.locks import is_locked, lock_folder
from relope_jax.io.paths import local_path

Content = TypeVar("Content")
BUCKETS = {"s3": "s3", "gs": "gcs"}  # URL scheme: TensorStore driver
RETRIES = {"max_retries": 5, "initial_delay": "200ms", "max_delay": "3s"}  # by default minutes for a wrong URL


@runtime_checkable
class Place(Protocol):
    """A folder of small files and arrays. Names are relative paths with forward slashes; others raise ReLopeError."""

    url: str

    def exists(self, name: str) -> bool: ...

    def read(self, name: str, limit: limits.Limit = limits.TABLE) -> bytes:
        """Raises FileNotFoundError when there is no such file, and ReLopeError when it is larger than the limit."""

    def has_size(self, name: str, size: int) -> bool:
        """Whether a file has `size` bytes (in a bucket: at least `size`). Raises FileNotFoundError as `read` does."""

    def sha256(self, name: str) -> str: ...

    def names(self, prefix: str = "") -> list[str]:
        """Names of all files below a prefix ending in a slash, sorted; names that start with a dot are skipped."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file atomically."""

    def create(self, name: str, data: bytes) -> None:
        """Write a file unless it exists; of several concurrent callers one succeeds."""

    def delete(self, prefix: str) -> None:
        """Delete a file, or every file below a prefix ending in a slash. A missing file is not an error. A link is
        deleted, not its target."""

    def publishing(self, name: str, last: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a local folder to fill, published as `name` when the block succeeds; `last` marks it complete."""

    def local_copy(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """The file on the local disk, for readers that need a path."""

    def kvstore(self, name: str) -> dict[str, Any]:
        """TensorStore's spec for folder `name`."""

    def lock(self, name: str) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Hold the lock `name`; raises Locked when another process holds it.

        Yields a function that raises Locked if the lock was lost: call it before any step that must not happen twice.
        """

    def locks(self) -> list[str]:
        """Names of all locks that other processes hold now."""


def open_place(url: str | Path) -> Place:
    """The place that a path or an `s3://bucket/prefix` or `gs://bucket/prefix` URL names.

    S3 uses the standard environment variables: credentials, AWS_REGION, and AWS_ENDPOINT_URL for a self-hosted server.
    GCS uses Google's application default credentials. `~` is expanded.

    Raises:
      ReLopeError: the URL has another scheme or no bucket.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return LocalPlace(local_path(url))
    if scheme == "file":
        return LocalPlace(local_path(rest))
    bucket, _, prefix = rest.partition("/")
    if scheme not in BUCKETS or not bucket:
        raise ReLopeError(f"{url} cannot hold a store: give a folder, s3://bucket/prefix or gs://bucket/prefix")
    return BucketPlace(str(url).rstrip("/"), BUCKETS[scheme], bucket, prefix.strip("/"))


class LocalPlace:
    """A local folder. Names cannot lead out of it (`relope_jax/io/inside.py`)."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.url = str(folder)

    def _path(self, name: str) -> Path:
        return inside(self.folder, name)

    def exists(self, name: str) -> bool:
        with files.explaining(self.url):
            return self._path(name).exists()

    def read(self, name: str, limit: limits.Limit = limits.TABLE) -> bytes:
        return self._of_file(name, lambda path: files.read_bytes(path, limit))

    def has_size(self, name: str, size: int) -> bool:
        found = self._of_file(name, os.stat)
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def sha256(self, name: str) -> str:
        return self._of_file(name, files.sha256)

    def _of_file(self, name: str, read: Callable[[Path], Content]) -> Content:
        """The result of `read` on a file; passes FileNotFoundError on to the caller."""
        try:
            with files.explaining(self.url):
                return read(self._path(name))
        except ReLopeError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise

    def names(self, prefix: str = "") -> list[str]:
        with files.explaining(self.url):
            found = self._path(prefix).rglob("*")
            names = (path.relative_to(self.folder).as_posix() for path in found if path.is_file())
            return sorted(name for name in names if not name.startswith(".") and "/." not in name)

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        with files.explaining(self.url):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_bytes(path, data)

    def create(self, name: str, data: bytes) -> None:
        with files.explaining(self.url):
            self.folder.mkdir(parents=True, exist_ok=True)
            files.create_bytes(self._path(name), data)

    def delete(self, prefix: str) -> None:
        folder, _, name = require_plain_path(prefix.removesuffix("/"), self.url).rpartition("/")
        path = self._path(folder) / name  # the last name may be a link, which is not followed
        with files.explaining(self.url):
            files.remove(path)

    @contextlib.contextmanager
    def publishing(self, name: str, last: str) -> Iterator[Path]:
        with files.explaining(self.url), files.publishing(self._path(name)) as scratch:
            yield scratch
            self.delete(name)  # an incomplete folder would block the rename

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        yield self._path(name)

    def kvstore(self, name: str) -> dict[str, Any]:
        return {"driver": "file", "path": f"{self._path(name)}/"}

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], None]]:
        with files.explaining(self.url):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._path(name)  # raises for an invalid name
            held = lock_folder(self.folder, name)
        with held:
            yield lambda: None  # the kernel holds the lock for the lifetime of this process

    def locks(self) -> list[str]:
        with files.explaining(self.url):
            return [path.name for path in self.folder.glob(".lock*") if is_locked(path)]


class BucketPlace:
    """A prefix of a bucket in S3 or GCS."""

    def __init__(self, url: str, driver: str, bucket: str, prefix: str):
        self.url = url
        self._spec: dict[str, Any] = {"driver": driver, "bucket": bucket, f"{driver}_request_retries": RETRIES}
        if driver == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")):
            # A self-hosted server may not have regions, but TensorStore needs one to sign requests.
            self._spec |= {"endpoint": endpoint, "aws_region": os.environ.get("AWS_REGION") or "us-east-1"}
        self._prefix = f"{prefix}/" if prefix else ""
        self._store = ts.KvStore.open(self.kvstore("")).result()

    def kvstore(self, name: str) -> dict[str, Any]:
        folder = plain(name, self.url)
        return self._spec | {"path": f"{self._prefix}{folder}/" if folder else self._prefix}

    def _key(self, name: str) -> str:
        return require_plain_path(name, self.url)

    def exists(self, name: str) -> bool:
        with self._one_line_errors():
            return bool(self._store.read(self._key(name)).result().state == "value")

    def read(self, name: str, limit: limits.Limit = limits.TABLE) -> bytes:
        data = self._read(name)
        limit.require(len(data), f"{self.url}/{name}")
        return data

    def _read(self, name: str, byte_range: slice | None = None) -> bytes:
        with self._one_line_errors():
            found = self._store.read(self._key(name), byte_range=byte_range).result()
        if found.state == "missing":
            raise FileNotFoundError(f"{self.url}/{name}")
        return found.value

    def has_size(self, name: str, size: int) -> bool:
        try:
            return bool(self._read(name, slice(size - 1, size)))
        except ReLopeError:
            if self._read(name, slice(0, 1)):  # if this fails too, the bucket is not usable
                return False
            raise

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self._read(name)).hexdigest()

    def names(self, prefix: str = "") -> list[str]:
        with self._one_line_errors():
            found = self._store.list(_below(self._below_key(prefix)) if prefix else None).result()
        names = (key.decode(errors="surrogateescape") for key in found)
        return sorted(name for name in names if not name.startswith(".") and "/." not in name)

    def _below_key(self, prefix: str) -> str:
        require_plain_path(prefix.removesuffix("/"), self.url)
        return prefix

    def write(self, name: str, data: bytes) -> None:
        with self._one_line_errors():
            self._store.write(self._key(name), data).result()

    def delete(self, prefix: str) -> None:
        with self._one_line_errors():
            self._store.delete_range(_below(self._below_key(prefix))).result()

    @contextlib.contextmanager
    def publishing(self, name: str, last: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="relope-") as scratch:
            yield Path(scratch)
            self.delete(f"{name}/")  # left by a killed upload
            names = files.tree(Path(scratch))
            for file in sorted(names, key=lambda file: file == last):
                self.write(f"{name}/{file}", (Path(scratch) / file).read_bytes())

    @contextlib.contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="relope-") as scratch:
            path = Path(scratch) / "copy"
            path.write_bytes(self.read(name, limits.TENSORS))
            yield path

    def create(self, name: str, data: bytes) -> None:
        with self._one_line_errors():
            found = self._store.read(self._key(name)).result()
            if found.state == "missing":
                self._store.write(name, data, if_equal=found.stamp.generation).result()

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], None]]:
        lease = Lease(self._store, self._key(name), f"{self.url}/{name}")
        with self._one_line_errors():
            lease.take()
        try:
            yield lease.require
        finally:
            with self._one_line_errors():
                lease.release()

    def locks(self) -> list[str]:
        with self._one_line_errors():
            keys = self._store.list(ts.KvStore.KeyRange(".lock", ".lock~")).result()
        names = [key.decode(errors="surrogateescape") for key in keys]
        return [name for name in names if Lease(self._store, name, self.url).is_held()]

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Turn ValueError, which TensorStore raises for a missing bucket, access or network, into ReLopeError."""
        try:
            yield
        except ValueError as error:
            raise ReLopeError(f"cannot use {self.url}: {first_line(error)[:300]}") from error


def _below(name: str) -> ts.KvStore.KeyRange:
    """Every key below a prefix ending in a slash; for any other name, that key alone."""
    return ts.KvStore.KeyRange(name, name[:-1] + chr(ord("/") + 1) if name.endswith("/") else name + "\0")
