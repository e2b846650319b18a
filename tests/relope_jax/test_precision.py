"""Every matrix product in the library has full precision, without the setting that other tests run under."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import relope_jax
from relope_jax.precision import full_precision, jit
from tests import ROOT

PRODUCT = re.compile(r" (dot|convolution)\(")
KEPT = "operand_precision={highest,highest}"


@pytest.mark.slow
def test_every_program_keeps_all_bits(tmp_path):
    """The programs that XLA gets, in a separate process with JAX's own settings: training, scoring, restored routers,
    attention, replay and metrics."""
    dump = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text --xla_dump_hlo_pass_re=none"
    flags = f"{dump} --xla_backend_optimization_level=0"  # compiles faster; XLA's input does not change
    environment = os.environ | {"XLA_FLAGS": flags}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # XLA does not get programs from the cache
    environment.pop("JAX_DEFAULT_MATMUL_PRECISION", None)
    subprocess.run([sys.executable, "-m", "tests.relope_jax.every_program"], cwd=ROOT, env=environment, check=True)
    multiplying, less = set(), []
    for path in tmp_path.glob("*.before_optimizations.txt"):
        products = [line for line in path.read_text().splitlines() if PRODUCT.search(line)]
        name = path.name.split(".")[1]
        multiplying |= {name} if products else set()
        less += [f"{name}: {line.strip()}" for line in products if KEPT not in line]
    assert multiplying >= {
        "jit_train_epoch",
        "jit_train_batch",
        "jit_score_batches",
        "jit_score_batch",
        "jit_single_output",
        "jit_build_key_cache",
        "jit__covariance",
    }
    assert not less


def test_programs_are_compiled_in_one_place():
    """So that the next program has full precision, too."""
    folder = Path(relope_jax.__file__).parent
    compiling = re.compile(r"\b(jax|nnx)\.jit\b|\bp(jit|map)\b")
    found = {path.name for path in folder.rglob("*.py") if compiling.search(path.read_text())}
    assert found == {"precision.py"}


@pytest.mark.parametrize("asked", [None, "default", "bfloat16", "tensorfloat32"])
def test_the_callers_setting_changes_nothing(asked):
    x = jnp.ones((4, 4))
    with jax.default_matmul_precision(asked):
        assert "highest" in jit(lambda x: x @ x).lower(x).as_text().lower()
        with full_precision():
            assert "highest" in jax.jit(lambda x: x @ x).lower(x).as_text().lower()


def test_options_are_those_of_jax_jit():
    compiled = jit(lambda x, n: x * n, static_argnames="n")
    assert compiled(jnp.ones(3), n=2).tolist() == [2.0, 2.0, 2.0]
