"""Paths as people write them, everywhere the library accepts one."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import numpy as np
import pytest

import relope_jax
from relope_jax.block.spec import Block
from relope_jax.config import find_config
from relope_jax.errors import ReLopeError
from relope_jax.io.paths import absolute, absolute_if_local, expand, folder_name
from relope_jax.io.place import open_place
from relope_jax.run import store_paths, store_record
from tests.relope_jax.states.test_store import write_store


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A separate home folder, with another working directory."""
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(elsewhere)
    yield folder
    assert not [path for path in elsewhere.rglob("*") if path.name.startswith("~")]


@pytest.mark.parametrize("tail", ["", "/", "/x", "/x/../y z", "/é/~"])
def test_the_home_folder_stands_for_a_tilde(home, tail):
    assert os.path.normpath(expand(f"~{tail}")) == os.path.normpath(f"{home}{tail}")


def test_another_users_home_folder_stands_for_a_tilde_with_a_name():
    user = pwd.getpwuid(os.getuid())
    assert expand(f"~{user.pw_name}/x") == os.path.join(user.pw_dir, "x")


@pytest.mark.parametrize(
    "text", ["", "x", "/x/~", "./~", "x/~/y", "s3://bucket/~/x", "gs://~/x", "org/model", "$HOME/x", "file:///~/x", "é"]
)
def test_anything_else_stays_as_it_is(home, text):
    assert expand(text) == text


@pytest.mark.parametrize("text", ["~nobody-of-that-name/x", "~nobody-of-that-name", "x\0y", "~\0", "~é/x"])
def test_a_path_that_names_nothing_is_one_line(text):
    with pytest.raises(ReLopeError) as caught:
        expand(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_without_home_the_list_of_users_is_asked(monkeypatch, value):
    monkeypatch.setenv("HOME", value) if value is not None else monkeypatch.delenv("HOME")
    assert expand("~/x") == os.path.join(pwd.getpwuid(os.getuid()).pw_dir, "x")


def test_a_user_whom_nobody_knows_has_no_home(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    with pytest.raises(ReLopeError, match="the home folder of ~ is unknown: give the full path"):
        expand("~/x")


@pytest.mark.parametrize("value", ["~", "relative"])
def test_a_home_that_is_no_whole_path_is_refused(monkeypatch, value):
    monkeypatch.setenv("HOME", value)
    with pytest.raises(ReLopeError, match="unknown"):
        expand("~/x")


@pytest.mark.parametrize("url", ["~/s", "file://~/s", Path("~/s")], ids=["C39-open_place", "file-url", "Path"])
def test_a_place_in_the_home_folder(home, url):
    open_place(url).write("a/b", b"x")
    assert (home / "s" / "a" / "b").read_bytes() == b"x"


def test_stores_and_runs_in_the_home_folder(home):
    write_store("~/stores/s")  # C39: StoreWriter
    assert relope_jax.Store("~/stores/s").path == str(home / "stores" / "s")
    with pytest.raises(ReLopeError, match=f"{home}/runs/r is not a run"):
        relope_jax.Run("~/runs/r")
    with pytest.raises(ReLopeError, match=f"{home}/runs/r is not a run"):
        relope_jax.restore("~/runs/r", "probe")


def test_a_config_in_the_home_folder(home):
    (home / "mine.py").write_text("", encoding="utf-8")
    assert find_config("~/mine.py") == str(home / "mine.py")


def test_peft_checkpoints_are_exported_to_the_home_folder(home, monkeypatch):
    from relope_jax import run as runs

    asked = []
    monkeypatch.setattr(runs, "save_peft", lambda folder, *args, **options: asked.append(folder))
    router = _untrained_relope_router()
    router.export_peft("~/adapter")
    assert asked == [home / "adapter"]


def _untrained_relope_router():
    import dataclasses

    from relope_jax.block.spec import LoRASpec
    from relope_jax.methods import METHODS
    from relope_jax.models.spec import ReLopeSpec
    from relope_jax.run import Router
    from relope_jax.states.statistics import Moments, TokenStatistics
    from relope_jax.training.assembly import build_all
    from relope_jax.training.checkpoints import Restored
    from relope_jax.training.members import Member
    from relope_jax.training.spec import TrainSpec
    from tests.builders import make_block

    block: Block = make_block(np.random.default_rng(0))
    unset = Moments(np.zeros(16, np.float32), np.ones(16, np.float32))
    member = Member(ReLopeSpec(widths=(8,), lora=LoRASpec(rank=2, targets=("q",))), TrainSpec(), 0)
    parts = build_all(METHODS["relope"], [member], block, TokenStatistics(unset, unset))[0]

    @dataclasses.dataclass
    class _Run:
        block: Block
        config: dict

    return Router(Restored(METHODS["relope"], member, parts), _Run(block, {"model": {"name": "m", "adapter": ""}}))


@pytest.mark.parametrize("spelled", ["data/x", "./data/x", "data/../data/x/", "{cwd}/data/x", "link"])
def test_a_folder_has_one_name_however_it_is_spelled(tmp_path, monkeypatch, spelled):
    (tmp_path / "data" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "x")
    monkeypatch.chdir(tmp_path)
    assert folder_name(spelled.format(cwd=tmp_path)) == "x"
    monkeypatch.chdir(tmp_path / "data" / "x")
    assert folder_name(".") == "x"


def test_only_what_is_here_is_made_absolute(tmp_path, monkeypatch):
    (tmp_path / "d.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert absolute_if_local("d.jsonl") == str(tmp_path / "d.jsonl")
    assert absolute_if_local("org/model") == "org/model"
    assert absolute_if_local("") == ""
    assert absolute("s3://bucket/x") == "s3://bucket/x"
    assert absolute("not/there") == str(tmp_path / "not" / "there")


def test_a_store_is_recorded_by_its_path_and_by_its_way_from_the_run(tmp_path, monkeypatch):
    for folder in ("work/stores/s", "work/runs/r"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    record = store_record(Path("runs/r"), "stores/s")
    assert record == {"path": str(tmp_path / "work/stores/s"), "from_run": "../../stores/s"}
    (tmp_path / "work").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert store_paths(Path("moved/runs/r"), record)[1] == str(tmp_path / "moved/stores/s")
    assert store_record(Path("runs/r"), "s3://bucket/s") == {"path": "s3://bucket/s"}
