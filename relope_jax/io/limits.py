"""How much is taken from a file before it is refused: a file from elsewhere costs a line, not the machine's memory.

Every limit is far above what real data needs, and an environment variable raises it (docs/guide/security.md).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from relope_jax.errors import ReLopeError

MEGABYTE = 2**20
LONGEST = 12  # digits of a limit


class Limit(NamedTuple):
    """A bound in megabytes, and the environment variable that sets another."""

    variable: str
    default: int

    @property
    def bytes(self) -> int:
        """The bound now.

        Raises:
          ReLopeError: the variable holds no positive whole number.
        """
        text = os.environ.get(self.variable, "").strip() or str(self.default)
        if not text.isdecimal() or len(text) > LONGEST or int(text) < 1:
            raise ReLopeError(f"{self.variable} is '{text}'; it must be a whole number of megabytes")
        return int(text) * MEGABYTE

    def require(self, size: int, what: object) -> None:
        """Raise ReLopeError when `what`, which takes `size` bytes, is above the limit."""
        if size > self.bytes:
            raise ReLopeError(
                f"{what} takes {size / MEGABYTE:.0f} MB, above the limit of {self.bytes // MEGABYTE}: "
                f"if you trust it, raise the limit with the environment variable {self.variable}"
            )


JSON = Limit("RELOPE_MAX_JSON_MB", 64)  # one JSON file or line; in memory it takes up to 20 times as much
TABLE = Limit("RELOPE_MAX_TABLE_MB", 4096)  # one Parquet file, decoded
TENSORS = Limit("RELOPE_MAX_TENSORS_MB", 8192)  # one safetensors file: a block, an adapter, embeddings
IMAGE = Limit("RELOPE_MAX_IMAGE_MB", 256)  # one encoded image
DEEPEST = 100  # levels of JSON inside one another
