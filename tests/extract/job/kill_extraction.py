"""Kill an extraction with SIGKILL repeatedly: python -m tests.extract.job.kill_extraction FOLDER KILLS

FOLDER holds the model and data of `tests.extract.job.plans`. The model is loaded once and every attempt is a fork, so
that a hundred kills take a minute. Exits with a message if a store differs from the uninterrupted one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from extract.job import extraction
from extract.plan import Extraction
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from tests.extract.job.plans import contents


def attempt(plan: Extraction) -> int:
    """Start the extraction in a fork; returns its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress bars
        tqdm.set_lock(threading.RLock())  # the default lock is shared with forks, and a killed one may hold it
        extraction.extract_store(plan)
        os._exit(0)
    return child


def finish(plan: Extraction) -> None:
    """One attempt without a kill."""
    _, status = os.waitpid(attempt(plan), 0)
    if status:
        sys.exit(f"an attempt that nobody killed ended with status {status}")


def kill_until_finished(plan: Extraction, longest: float, rng: random.Random, most: int) -> int:
    """Kill attempts after at most `longest` seconds each until one finishes the store; returns the number of kills."""
    for hits in range(most):
        child = attempt(plan)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return hits
    return most


def main(plan: Extraction, kills: int) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    backbone = extraction.load_backbone(plan.model)
    extraction.load_backbone = lambda spec: backbone
    started = time.perf_counter()
    finish(plan)
    seconds = time.perf_counter() - started
    whole, rng, hits, stores = contents(Path(plan.store)), random.Random(0), 0, 0
    while hits < kills:
        shutil.rmtree(plan.store)
        hits += kill_until_finished(plan, 0.5 * seconds, rng, kills - hits)
        finish(plan)
        stores += 1
        if contents(Path(plan.store)) != whole:
            sys.exit(f"store {stores} differs from the uninterrupted one after {hits} kills")
    print(f"{hits} kills, {stores} stores like the uninterrupted one")


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    main(
        Extraction(
            ModelSpec(name=str(folder / "model"), device="cpu"),
            DatasetSpec(name="jsonl", path=str(folder / "data.jsonl")),
            ExtractSpec(layer=2, max_new_tokens=3, part_size=2),
            folder / "store",
        ),
        count,
    )
