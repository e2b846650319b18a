"""Checkpoints from others: sizes are compared with the files before memory is allocated; faults are one error line."""

from __future__ import annotations

import json
import shutil
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from relope_jax.block.spec import LoRASpec
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.models.spec import ProbeSpec, ReLopeSpec
from relope_jax.states.statistics import Moments, TokenStatistics
from relope_jax.training.arrays import load_arrays, save_arrays
from relope_jax.training.assembly import assemble
from relope_jax.training.checkpoints import load_ensemble, load_member, save_router
from relope_jax.training.fit import Fitted
from relope_jax.training.members import Member
from relope_jax.training.snapshots import saved_epoch
from relope_jax.training.spec import TrainSpec
from tests.builders import make_block

WIDTHS = (8, 4)
SPECS = {"probe": ProbeSpec(widths=WIDTHS), "relope": ReLopeSpec(widths=WIDTHS, lora=LoRASpec(rank=2))}
BLOCK = make_block(np.random.default_rng(0))


@pytest.fixture(scope="module", params=list(SPECS))
def saved(request, tmp_path_factory):
    """A checkpoint of two members."""
    folder, method = tmp_path_factory.mktemp("run") / "checkpoints" / request.param, METHODS[request.param]
    members = [Member(SPECS[request.param], TrainSpec(), seed) for seed in (0, 1)]
    moments = Moments(np.zeros(16, np.float32), np.ones(16, np.float32))
    parts = assemble(method, members, BLOCK, TokenStatistics(moments, moments))
    save_router(folder, method, members, Fitted(parts, np.ones(2, np.int64), np.ones(2), np.zeros(2)))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints" / saved.name)


def edited(folder, change):
    record = json.loads((folder / "router.json").read_text(encoding="utf-8"))
    change(record)
    (folder / "router.json").write_text(json.dumps(record), encoding="utf-8")


def refused(folder, match=None) -> None:
    """Both readers end with one line and use almost no memory."""
    for read in (lambda: load_ensemble(folder, BLOCK), lambda: load_member(folder, BLOCK, 0)):
        tracemalloc.start()
        with pytest.raises(ReLopeError, match=match) as caught:
            read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "\n" not in str(caught.value)
        assert peak < 2**27


def test_an_intact_checkpoint_is_read(folder):
    assert [m.seed for m in load_ensemble(folder, BLOCK)[1]] == [0, 1]
    assert load_member(folder, BLOCK, 1).member.seed == 1


def each(field, value):
    def change(record):
        for m in record["members"]:
            m["spec"][field] = value

    return change


CHANGES = {
    "untrained": lambda r: r.update(method="oracle"),
    "unknown": lambda r: r.update(method="../x"),
    "no-text": lambda r: r.update(method=3),
    "other-method": lambda r: r.update(method="attention_probe"),
    "no-members": lambda r: r.update(members=[]),
    "many-members": lambda r: r.update(members=r["members"] * 2000),
    "too-many-members": lambda r: r.update(members=r["members"] * 5000),
    "null-members": lambda r: r.update(members=None),
    "seed-text": lambda r: r["members"][0].update(seed="0"),
    "seed-negative": lambda r: r["members"][0].update(seed=-1),
    "seed-huge": lambda r: r["members"][0].update(seed=10**30),
    "seed-true": lambda r: r["members"][0].update(seed=True),
    "spec-list": lambda r: r["members"][0].update(spec=[]),
    "train-text": lambda r: r["members"][0].update(train="x"),
    "train-field": lambda r: r["members"][0]["train"].update(epochs="many"),
    "widths-huge": each("widths", [2**40]),
    "widths-large": each("widths", [2**20, 2**20]),
    "widths-other": each("widths", [16, 4]),
    "widths-many": each("widths", [8] * 10_000),
    "widths-text": each("widths", "8"),
    "widths-null": each("widths", None),
    "widths-float": each("widths", [1.5]),
    "widths-none": each("widths", []),
    "unknown-field": each("hook", "os.system"),
    "rate-nan": each("learning_rate", float("nan")),
    "lora-text": each("lora", "x"),
    "lora-rank": each("lora", {"rank": 2**40}),
    "lora-target": each("lora", {"targets": ["../x"]}),
    "bottleneck": each("bottleneck", 2**50),
    "one-differs": lambda r: r["members"][0]["spec"].update(widths=[4, 4]),
    "best-short": lambda r: r.update(best_epoch=[1]),
    "best-text": lambda r: r.update(best_validation_auc=["a", "b"]),
    "best-missing": lambda r: r.pop("beta_at_best"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_record_that_does_not_fit_is_refused(folder, change):
    edited(folder, change)
    if "best" not in next(name for name, found in CHANGES.items() if found is change):
        refused(folder)
        return
    with pytest.raises(ReLopeError, match="damaged"):  # reading a single member skips the epochs of all
        load_ensemble(folder, BLOCK)


def array(folder):
    return next(folder.glob("arrays/*/params/mlp/layers/0/kernel/**/.zarray")).parent


def header(folder, **changes):
    path = array(folder) / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


FAULTS = {
    "shape": lambda f: header(f, shape=[2**40, 16, 8]),
    "chunks": lambda f: header(f, chunks=[2**40, 1, 1]),
    "dtype": lambda f: header(f, dtype="<f8"),
    "objects": lambda f: header(f, dtype="|O", filters=[{"id": "pickle"}]),
    "compressed": lambda f: header(f, compressor={"id": "zstd", "level": 1}),
    "no-header": lambda f: (array(f) / ".zarray").unlink(),
    "deep-header": lambda f: (array(f) / ".zarray").write_text("[" * 10**5, encoding="utf-8"),
    "list-header": lambda f: (array(f) / ".zarray").write_text("[]", encoding="utf-8"),
    "no-data": lambda f: (array(f) / "0.0.0").unlink(),
    "short-data": lambda f: (array(f) / "0.0.0").write_bytes(b"x"),
    "long-data": lambda f: (array(f) / "0.0.0").write_bytes(bytes(10**6)),
    "nan": lambda f: (array(f) / "0.0.0").write_bytes(b"\xff" * (array(f) / "0.0.0").stat().st_size),
    "folder": lambda f: ((array(f) / "0.0.0").unlink(), (array(f) / "0.0.0").mkdir()),
    "no-arrays": lambda f: shutil.rmtree(f / "arrays"),
    "two-sets": lambda f: ((f / "arrays/other").mkdir(), (f / "arrays/other/_METADATA").touch()),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_arrays_that_do_not_fit_are_refused(folder, fault):
    fault(folder)
    refused(folder)


@pytest.mark.parametrize("name", ["router.json", "arrays", "0.0.0"])
def test_no_file_outside_is_read(folder, tmp_path, name):
    path = array(folder) / name if name == "0.0.0" else folder / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(folder, "symbolic link out of")


def test_every_kind_of_array_comes_back(tmp_path):
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.asarray(3, jnp.int32), "c": jnp.ones((2,), bool)}
    tree |= {"d": jnp.ones((3,), jnp.bfloat16), "e": np.arange(4, dtype=np.uint32)}
    save_arrays(tmp_path / "arrays", tree)
    for name, found in load_arrays(tmp_path / "arrays", tree).items():
        assert found.dtype == tree[name].dtype
        np.testing.assert_array_equal(found, tree[name])


@pytest.mark.parametrize("name", ["epoch-x", "epoch-", "epoch-²", "epoch-1/../../x", "epoch-" + "9" * 200])
def test_names_that_are_no_snapshot_are_passed_over(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    assert saved_epoch(tmp_path) == 0
