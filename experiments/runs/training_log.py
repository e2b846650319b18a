"""Training logs of runs and sweeps: metrics.jsonl, and optionally TensorBoard event files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from relope_jax.io.files import write_text
from relope_jax.io.run_folder import read_lines
from relope_jax.io.typed import Wrong
from relope_jax.run_schema import EPOCH
from relope_jax.training.fit import Log

LABELS = ("method", "member", "seed", "epoch", "step")  # identify a record; everything else is a scalar


def drop_unsettled(path: Path, is_settled: Callable[[dict[str, Any]], bool]) -> None:
    """Remove damaged lines and records of epochs that will be repeated from a metrics.jsonl, which may not exist.

    Args:
      is_settled: whether the epoch of a record was saved by its training.
    """
    kept = [record for record in read_lines(path) if _is_record(record) and is_settled(record)]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def _is_record(record: Any) -> bool:
    try:
        EPOCH(record)
    except Wrong:
        return False
    return True


@contextlib.contextmanager
def metrics_log(path: Path) -> Iterator[Log]:
    """A log function that appends one line per record to `path`, without buffering."""
    with open(path, "a", encoding="utf-8") as file:

        def log(record: dict[str, Any]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        yield log


@contextlib.contextmanager
def event_log(folder: Path) -> Iterator[Log]:
    """A log function that writes event files to `folder/seed-S`: one run per member, one scalar per metric and epoch.
    Epochs repeated after a restart replace the earlier ones."""
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
