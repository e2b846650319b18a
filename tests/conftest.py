"""Strict JAX and shape checks for all tests, and two shared fixtures: small states and the toy MLLM."""

from __future__ import annotations

import os
import shutil
import tempfile

# One thread per worker: two workers with two threads each would spend half of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# One compilation cache per test run, for both workers and all child processes. It must exist before JAX is imported.
if "RELOPE_TEST_PROGRAMS" not in os.environ:
    os.environ["RELOPE_TEST_PROGRAMS"] = tempfile.mkdtemp(prefix="relope-programs-")
    OWNER = os.getpid()
else:
    OWNER = 0
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["RELOPE_TEST_PROGRAMS"]
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)  # with a limit, JAX locks the cache while it writes
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest

from tests import contracts

contracts.install()

from relope_jax.data import RouterData  # noqa: E402
from relope_jax.states.statistics import token_statistics  # noqa: E402
from tests.builders import make_block, make_states  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")

# The slowest files, slowest first. Workers get whole files in this order: a slow file that starts last would run alone
# at the end.
LONGEST = (
    "test_resume.py",
    "test_feeds.py",
    "test_tutorial.py",
    "test_end_to_end.py",
    "test_fit.py",
    "test_block_parity.py",
    "test_studies.py",
    "test_cluster.py",
    "test_baselines_run.py",
    "test_survival.py",
    "test_config.py",
    "test_machine_errors.py",
)


def pytest_unconfigure() -> None:
    if os.getpid() == OWNER:
        shutil.rmtree(os.environ["RELOPE_TEST_PROGRAMS"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def toy():
    """The real toy MLLM, built once from its packages."""
    from extract.backbone.load import load_backbone
    from extract.spec import ModelSpec

    return load_backbone(ModelSpec(device="cpu"))


@pytest.fixture
def router_data() -> RouterData:
    """Synthetic states whose label is visible in z_n and in one token of Z^(l-1)."""
    rng = np.random.default_rng(0)
    n = 240
    labels = rng.integers(0, 2, n)
    states = make_states(rng, rng.choice([5, 11], n), d=16)
    signal = (2.0 * labels - 1.0)[:, None]
    states.last_hidden[:, :4] += signal
    states.hidden[states.offsets[1:] - 1, :4] += (4 * signal).astype(states.hidden.dtype)
    rows = {"train": np.arange(120), "validation": np.arange(120, 180), "test": np.arange(180, 240)}
    ids = [f"s{i}" for i in range(n)]
    return RouterData(
        states,
        token_statistics(states, rows["train"]),
        labels,
        rows,
        ["what?"] * n,
        ids,
        np.array(ids),
        make_block(rng),
    )
