"""Benchmarks, one JSON object per line: python -m experiments.bench --only=block --out=bench.jsonl

Every line has name, value, unit, baseline, ratio, floor, fraction_of_floor (see benchmarks/measure.py). Competitors
are measured in the same run, alternately. The floor comes from hardware limits measured in the same run.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import torch
from absl import app, flags, logging

from experiments.benchmarks.measure import Record
from relope_jax.errors import ReLopeError, exit_on_error, nearest
from relope_jax.io.paths import expand


def _benchmark(name: str) -> Iterator[Record]:
    try:
        module = importlib.import_module(f"experiments.benchmarks.{name}")
    except ModuleNotFoundError as error:
        raise ReLopeError(f"this benchmark needs {error.name}: `make setup` installs it") from error
    return module.run()


BENCHMARKS: dict[str, Callable[[], Iterator[Record]]] = {
    name: functools.partial(_benchmark, name) for name in ("block", "extract", "sampling", "store", "train", "auc")
}


def run(names: list[str], out: str = "") -> None:
    """Print the lines of the named benchmarks, and append them to the file `out`."""
    for name in names:
        if name not in BENCHMARKS:
            raise ReLopeError(f"unknown benchmark '{name}'{nearest(name, BENCHMARKS)}; known: {', '.join(BENCHMARKS)}")
    out = expand(out)
    if out:
        _empty(out)
    print(machine(), file=sys.stderr)
    for name in names:
        for record in BENCHMARKS[name]():
            print(record.json(), flush=True)
            if out:
                with open(out, "a", encoding="utf-8") as file:
                    file.write(record.json() + "\n")


def _empty(out: str) -> None:
    """Create the file, so that a wrong path fails before the measurements."""
    try:
        Path(out).write_text("", encoding="utf-8")
    except OSError as error:
        raise ReLopeError(f"cannot write --out={out}: {error.strerror}") from error


def machine() -> str:
    """Description of the machine and the library versions."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{device.platform} {device.device_kind}, {cores} cores, Python {platform.python_version()}, "
        f"jax {jax.__version__}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    _ONLY = flags.DEFINE_list("only", list(BENCHMARKS), f"which benchmarks to run: {', '.join(BENCHMARKS)}")
    _OUT = flags.DEFINE_string("out", "", "file for the lines; they are also printed")

    @exit_on_error
    def main(_: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # jax logs every missing backend
        run(_ONLY.value, _OUT.value)

    app.run(main)
