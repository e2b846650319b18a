"""Write access to a store: several shards with the same count, or one process."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from relope_jax.errors import ReLopeError
from relope_jax.io.locks import Locked
from relope_jax.io.place import Place


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `index` of `count` of the work on one store: every count-th part. The whole store is 0 of 1."""

    index: int = 0
    count: int = 1

    @staticmethod
    def parse(text: str) -> Shard:
        """Parse `"i/N"` with 0 <= i < N, as in job arrays."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ReLopeError(f"--shard={text} is not i/N with i from 0 to N-1, such as 0/4, 1/4, 2/4 and 3/4")
        return Shard(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def owns(self, part: int) -> bool:
        return part % self.count == self.index

    @property
    def lock(self) -> str:
        return f".lock-{self.index}-of-{self.count}"

    def conflicts(self, lock: str) -> bool:
        """Whether the holder of `lock` may write a part of this shard, because its number of shards differs."""
        return lock.startswith(".lock-") and not lock.endswith(f"-of-{self.count}")


@contextlib.contextmanager
def only_writer(place: Place, shard: Shard | None = None) -> Iterator[Callable[[], None]]:
    """Keep other processes from writing the shard, by default the whole store, until the block ends.

    All changes to a store are made in such a block: extraction, regrading, removal of damaged parts.

    Yields:
      A function that raises Locked if the lock was lost: call it before any step that must not happen twice.

    Raises:
      Locked: another process is writing the store, the same shard or the shards of another count.
    """
    shard = shard or Shard()
    with place.lock(shard.lock) as require_lock:
        if any(shard.conflicts(lock) for lock in place.locks()):
            raise Locked(place.url)
        yield require_lock
