"""Shared by all benchmarks: the machine's ceilings, fair timing, and the record of one result."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from relope_jax.errors import ReLopeError

ROOT = Path(__file__).resolve().parents[2]  # of our packages; the current directory may differ
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
PRODUCT, COPY = "product", "copy"
SIZE, BLOCK = 2048, 2**28  # rows of the product, bytes of the copy
PAUSE = 0.05  # seconds before each measurement, until the previous program's threads sleep
LONG_ENOUGH = 0.3  # minimum seconds per round; faster programs are repeated


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a benchmark's output.

    Attributes:
      value: the measurement, in `unit`.
      baseline: the competitor's measurement. `ratio` is how many times faster `value` is, for times and for rates; for
        memory, how many times `baseline` is needed.
      floor: the hardware's limit, a time or a rate. `fraction_of_floor` is how close `value` comes, 1 at best.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    floor: float | None = None
    fraction_of_floor: float | None = None

    @staticmethod
    def of_time(name: str, value: float, baseline: float, floor: float | None = None, unit: str = "ms") -> Record:
        """A time, compared with a competitor's and, if given, with the floor."""
        return Record(name, value, unit, baseline, baseline / value, floor, floor / value if floor else None)

    @staticmethod
    def of_rate(name: str, value: float, unit: str, baseline: float, floor: float | None = None) -> Record:
        """A rate, compared with a competitor's and, if given, with the hardware's limit."""
        return Record(name, value, unit, baseline, value / baseline, floor, value / floor if floor else None)

    @staticmethod
    def of_memory(name: str, value: float, baseline: float) -> Record:
        """Peak memory in MB with more data, compared with less data."""
        return Record(name, value, "MB", baseline, value / baseline)

    def json(self) -> str:
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in dataclasses.asdict(self).items()}
        return json.dumps(rounded)


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to time: `call` does `steps` steps and returns the value to wait for."""

    call: Callable[[], Any]
    steps: int = 1


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What this machine achieved in this run: float32 matrix product and memory copy (read plus write)."""

    flops_per_second: float
    bytes_per_second: float

    def records(self, name: str) -> list[Record]:
        return [
            Record(f"{name}/machine_matrix_product", self.flops_per_second / 1e9, "GFLOP/s"),
            Record(f"{name}/machine_copy_bandwidth", self.bytes_per_second / 1e9, "GB/s"),
        ]


def keep_memory() -> None:
    """Make the C library keep freed memory. Otherwise it returns large blocks after every call and the kernel clears
    them again, which takes a third of the time of torch's full block."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def measure(programs: dict[str, Program], rounds: int) -> tuple[dict[str, float], Ceilings]:
    """Median seconds per step of every program, and the machine's ceilings. All are interleaved, so that a noisy minute
    affects all of them, including the ceilings."""
    seconds = _timings(programs | _ceiling_programs(), rounds)
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    return median, Ceilings(2 * SIZE**3 / median.pop(PRODUCT), 2 * BLOCK / median.pop(COPY))


def _ceiling_programs() -> dict[str, Program]:
    """A square matrix product, and a copy too large for any cache; in place, because fresh pages would be timed too."""
    matrix = jnp.ones((SIZE, SIZE), jnp.float32)
    block = [jnp.ones(BLOCK // 4, jnp.float32)]
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    copy = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def copy_once() -> jax.Array:
        block[0] = copy(block[0])
        return block[0]

    return {PRODUCT: Program(lambda: product(matrix)), COPY: Program(copy_once)}


def _timings(programs: dict[str, Program], rounds: int) -> dict[str, list[float]]:
    """Seconds per step, one value per round."""
    repeats = {}
    for name, program in programs.items():
        _call(program)  # compile, or warm up
        repeats[name] = max(1, int(LONG_ENOUGH / _call(program)))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in tqdm(range(rounds), desc="measuring", leave=False):
        for name, program in programs.items():
            time.sleep(PAUSE)
            mean = sum(_call(program) for _ in range(repeats[name])) / repeats[name]
            seconds[name].append(mean / program.steps)
    return seconds


def peak_memory(function: Callable[..., Any], *args: str) -> float:
    """Peak memory in MB of a separate process that calls `function`."""
    module, name = function.__module__, function.__name__
    code = (
        f"import sys; sys.path.insert(0, '{ROOT}'); from {module} import {name}; from {__name__} import high_water; "
        f"{name}(*sys.argv[1:]); print(high_water())"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return float(done.stdout.split()[-1])


def high_water() -> float:
    """Peak resident MB of this process. getrusage would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise ReLopeError("/proc/self/status has no VmHWM: this benchmark needs Linux")
    return int(found[1]) / 1e3


def _call(program: Program) -> float:
    started = time.perf_counter()
    jax.block_until_ready(program.call())
    return time.perf_counter() - started
