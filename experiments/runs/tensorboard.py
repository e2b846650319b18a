"""TensorBoard event files of a training, on request: one run per member, one scalar per metric and epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from relope_jax.training.fit import Log

LABELS = ("method", "member", "seed", "epoch", "step")  # say whose record it is


@contextlib.contextmanager
def event_log(folder: Path) -> Iterator[Log]:
    """A log function that writes to `folder/seed-S`; epochs repeated after a restart replace the old ones."""
    with contextlib.ExitStack() as stack:
        writers: dict[int, SummaryWriter] = {}

        def log(record: dict[str, Any]) -> None:
            seed, step = record["seed"], record["step"]
            if seed not in writers:
                path = str(folder / f"seed-{seed}")
                writers[seed] = stack.enter_context(SummaryWriter(path, purge_step=step))
            for name, value in record.items():
                if name not in LABELS:
                    writers[seed].add_scalar(name, value, step)

        yield log
