"""What all benchmarks share: the machine's ceilings, fair timing, and the record of one result."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

PAUSE = 0.05  # seconds before each measurement, for the threads of the program before to go to sleep
LONG_ENOUGH = 0.3  # seconds a round takes at least; faster programs are repeated within it


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a benchmark's output.

    Attributes:
      value: the measurement, in `unit`.
      baseline: the competitor's measurement, and `ratio` how many times it is `value`.
      floor: what the hardware allows, and `fraction_of_floor` = floor / value, 1 at best.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    floor: float | None = None
    fraction_of_floor: float | None = None

    @staticmethod
    def of_time(name: str, value: float, baseline: float | None, floor: float) -> Record:
        """A time in ms, held against a competitor's and the floor."""
        ratio = None if baseline is None else baseline / value
        return Record(name, value, "ms", baseline, ratio, floor, floor / value)

    def json(self) -> str:
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in dataclasses.asdict(self).items()}
        return json.dumps(rounded)


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """The best that this machine did in this run: float32 matrix product and memory copy."""

    flops_per_second: float
    bytes_per_second: float

    def records(self) -> list[Record]:
        return [
            Record("machine/matrix_product", self.flops_per_second / 1e9, "GFLOP/s"),
            Record("machine/copy_bandwidth", self.bytes_per_second / 1e9, "GB/s"),
        ]


def measure_ceilings(size: int = 2048, megabytes: int = 256) -> Ceilings:
    """Peak of a square float32 product, and bandwidth of a copy too large for any cache (read plus write)."""
    a = jnp.ones((size, size), jnp.float32)
    blocks = [jnp.ones(megabytes * 2**18, jnp.float32)]
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    copy = jax.jit(lambda x: x + 1.0, donate_argnums=0)  # in place: fresh pages would be timed otherwise

    def copy_once() -> jax.Array:
        blocks[0] = copy(blocks[0])
        return blocks[0]

    seconds = best({"product": lambda: product(a), "copy": copy_once}, rounds=5)
    return Ceilings(2 * size**3 / seconds["product"], 2 * megabytes * 2**20 / seconds["copy"])


def best(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Fastest seconds a call of every program; for ceilings, where only the machine can be in the way."""
    return {name: min(times) for name, times in timings(programs, rounds).items()}


def typical(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds a call of every program."""
    return {name: float(np.median(times)) for name, times in timings(programs, rounds).items()}


def timings(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds a call, one figure a round. Programs take turns, so that a noisy minute hits all of them."""
    repeats = {}
    for name, program in programs.items():
        _call(program)  # compile, or warm up
        repeats[name] = max(1, int(LONG_ENOUGH / _call(program)))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in tqdm(range(rounds), desc="measuring", leave=False):
        for name, program in programs.items():
            time.sleep(PAUSE)
            seconds[name].append(np.mean([_call(program) for _ in range(repeats[name])]))
    return seconds


def _call(program: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(program())
    return time.perf_counter() - started
