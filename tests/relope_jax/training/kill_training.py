"""Kill trainings with SIGKILL repeatedly: python -m tests.relope_jax.training.kill_training FOLDER KILLS METHOD...

Each method is trained and killed KILLS times. The command imports once and forks for every attempt, so that fifty kills
take a minute; JAX starts its threads in the forks only.
Exits with a message if the resumed training's arrays or records differ from those of the uninterrupted one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from relope_jax.io.files import tree
from relope_jax.machine.engine import EngineSpec
from relope_jax.training import fit as fitting
from tests.relope_jax.training import small

EPOCHS = 24
MEASURED = ("samples_per_second", "input_wait")  # differ from run to run


def attempt(folder: Path, out: Path, method: str) -> tuple[int, int]:
    """Start the training in a fork; returns its process id, and a pipe that is written after the first epoch."""
    ready, write = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        keep_programs(folder / "programs")
        signalled = fitting.records

        def records(*args: object) -> list[dict]:
            os.write(write, b".")
            return signalled(*args)

        fitting.records = records
        engine = EngineSpec(states="resident", checkpoint_seconds=0)
        small.train_small(small.Store(folder / "store"), method, engine, out, seeds=(0, 1), epochs=EPOCHS)
        os._exit(0)
    os.close(write)
    return child, ready


def keep_programs(folder: Path) -> None:
    """Compile each program once for all attempts; compiling in each would take ten times as long."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def kill_until_finished(folder: Path, out: Path, method: str, rng: random.Random, most: int, longest: float) -> int:
    """Kill attempts within `longest` seconds of their first epoch until one finishes; returns the number of kills."""
    for hits in range(most):
        child, ready = attempt(folder, out, method)
        os.read(ready, 1)
        os.close(ready)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return hits
    return most


def start(function: Callable[..., object], *args: object) -> int:
    """Call `function` in a separate process, so that its threads are not in this process, which forks."""
    child = os.fork()
    if child == 0:
        try:
            function(*args)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def in_fork(function: Callable[..., object], *args: object) -> None:
    """Call `function` in a fork and wait for it."""
    if os.waitpid(start(function, *args), 0)[1]:
        sys.exit(f"{function.__name__} failed")


def finish(folder: Path, out: Path, method: str) -> float:
    """One attempt without a kill; returns the seconds from its first epoch to its end."""
    child, ready = attempt(folder, out, method)
    os.read(ready, 1)
    started = time.perf_counter()
    _, status = os.waitpid(child, 0)
    os.close(ready)
    if status:
        sys.exit(f"an attempt that nobody killed ended with status {status}")
    return time.perf_counter() - started


def contents(out: Path) -> dict[str, object]:
    """Everything that must be bitwise equal."""
    records = json.loads((out / "records.json").read_text())[-2:]  # the last epoch; earlier ones are of other attempts
    kept = [{k: v for k, v in record.items() if k not in MEASURED} for record in records]
    arrays = {name: (out / "router" / name).read_bytes() for name in tree(out / "router") if name.endswith(".json")}
    return {"records": kept, "scores": np.load(out / "scores.npy").tobytes(), **arrays}


def rounds(folder: Path, method: str, kills: int) -> None:
    """Trainings of one method, each killed until it finishes, until there were enough kills."""
    rng = random.Random(method)
    whole, broken = folder / f"whole-{method}", folder / f"broken-{method}"
    seconds = finish(folder, whole, method)
    hits = 0
    while hits < kills:
        shutil.rmtree(broken, ignore_errors=True)
        hits += kill_until_finished(folder, broken, method, rng, kills - hits, seconds / 8)
        finish(folder, broken, method)
        if contents(broken) != contents(whole):
            sys.exit(f"{method}: the resumed training differs from the uninterrupted one")


def main(folder: Path, kills: int, methods: list[str]) -> None:
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)  # JAX has no threads yet
    in_fork(small.write_small_store, folder / "store")
    workers = [start(rounds, folder, method, kills) for method in methods]
    statuses = [os.waitpid(worker, 0)[1] for worker in workers]
    if any(statuses):
        sys.exit("a worker failed")
    print(f"{kills} kills of {', '.join(methods)}: all trainings equal to the bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
