"""Size limits for untrusted files: one that is too large gives a one-line error and does not exhaust memory.

Every limit is far above what real data needs. An environment variable raises it (docs/guide/security.md).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from relope_jax.errors import ReLopeError

MEGABYTE = 2**20
LONGEST = 12  # digits of a limit


class Limit(NamedTuple):
    """A limit in megabytes, and the environment variable that overrides it."""

    variable: str
    default: int

    @property
    def bytes(self) -> int:
        """The limit in bytes.

        Raises:
          ReLopeError: the variable is not a positive whole number.
        """
        text = os.environ.get(self.variable, "").strip() or str(self.default)
        if not text.isdecimal() or len(text) > LONGEST or int(text) < 1:
            raise ReLopeError(f"{self.variable} is '{text}'; it must be a whole number of megabytes")
        return int(text) * MEGABYTE

    def require(self, size: int, what: object) -> None:
        """Raise ReLopeError if `size`, the bytes of `what`, exceeds the limit."""
        if size > self.bytes:
            raise ReLopeError(
                f"{what} takes {size / MEGABYTE:.0f} MB, above the limit of {self.bytes // MEGABYTE}: "
                f"if you trust it, raise the limit with the environment variable {self.variable}"
            )


JSON = Limit("RELOPE_MAX_JSON_MB", 64)  # one JSON file or line; in memory it takes up to 20 times as much
TABLE = Limit("RELOPE_MAX_TABLE_MB", 4096)  # one Parquet file, decoded
TENSORS = Limit("RELOPE_MAX_TENSORS_MB", 8192)  # one safetensors file: a block, an adapter, embeddings
IMAGE = Limit("RELOPE_MAX_IMAGE_MB", 256)  # one encoded image
DEEPEST = 100  # nesting levels of JSON
