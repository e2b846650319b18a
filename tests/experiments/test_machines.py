"""Commands on unusual machines: home folders, notebooks, locales, read-only disks, other working directories."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from experiments import pipeline, sweep
from experiments.configs import quickstart
from experiments.report.__main__ import main as report_main
from experiments.report.write import write_report
from experiments.runs.plan import plan_run
from experiments.runs.recorded import without_places
from experiments.runs.rundir import RunWriter, open_run
from experiments.sweeps.plan import plan_sweep
from extract.answers.cache import Cache
from extract.input_spec import InputSpec, LargeSpec
from extract.source import dataset_source, model_title
from extract.spec import AnswerSpec, DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.run import Run, store_record
from relope_jax.states.store import Store
from tests import ROOT
from tests.experiments.runs.made_runs import made_run
from tests.experiments.test_calibrate import write_run
from tests.relope_jax.states.test_store import IDENTITY, write_store


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(elsewhere)
    yield folder
    assert not list(elsewhere.glob("~*"))


def config_with(**fields):
    config = quickstart.get_config()
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


@pytest.mark.parametrize(
    ("read", "field"),
    [
        pytest.param(lambda c: plan_run(c).target.store, "store", id="C39-store"),
        pytest.param(lambda c: str(Path(plan_run(c).target.store).parent), "stores", id="C39-stores"),
        pytest.param(lambda c: str(plan_run(c).folder.parent), "runs", id="C39-runs"),
        pytest.param(lambda c: plan_run(c).target.dataset.path, "dataset.path", id="C39-dataset"),
        pytest.param(lambda c: plan_run(c).target.dataset.image_cache, "dataset.image_cache", id="C39-image_cache"),
        pytest.param(lambda c: plan_run(c).target.dataset.captions, "dataset.captions", id="captions"),
        pytest.param(lambda c: plan_run(c).target.model.name, "model.name", id="model"),
        pytest.param(lambda c: plan_run(c).target.model.adapter, "model.adapter", id="adapter"),
        pytest.param(lambda c: plan_run(c).target.extract.labels_from, "extract.labels_from", id="labels_from"),
        pytest.param(lambda c: plan_run(c).inputs.answers.cache, "answers.cache", id="C39-answers.cache"),
        pytest.param(lambda c: plan_run(c).inputs.inputs.encoder, "inputs.encoder", id="encoder"),
        pytest.param(lambda c: plan_run(c).inputs.large.model.name, "large.name", id="large"),
    ],
)
def test_a_tilde_in_any_field_of_a_config_is_the_home_folder(home, read, field):
    config = quickstart.get_config()
    config.update_from_flattened_dict({field: "~/x/y"})
    assert read(config) == str(home / "x" / "y")
    config.update_from_flattened_dict({field: "~nobody-of-that-name/x"})
    with pytest.raises(ReLopeError, match="the home folder of ~nobody-of-that-name is unknown"):
        read(config)


def test_every_text_field_that_may_be_a_path_is_tried_above(home):
    """A new spec field that holds a path must expand it."""
    for spec in (ModelSpec, DatasetSpec, ExtractSpec, AnswerSpec, InputSpec):
        names = [field.name for field in dataclasses.fields(spec) if field.type == "str"]
        paths = {"name", "adapter", "path", "image_cache", "captions", "labels_from", "cache", "encoder"}
        words = ("path", "folder", "file", "cache", "dir")
        assert {name for name in names if any(word in name for word in words)} <= paths


def test_a_servers_model_may_begin_with_a_tilde(home):
    assert LargeSpec(name="~vendor/model-latest", base_url="http://localhost:1/v1").name == "~vendor/model-latest"


def test_urls_stay_urls(home):
    config = config_with(store="s3://bucket/~/x")
    assert plan_run(config).target.store == "s3://bucket/~/x"
    assert plan_run(config_with(stores="gs://bucket/~")).target.store.startswith("gs://bucket/~/")


def test_the_answer_cache_is_made_in_the_home_folder(home):
    Cache("~/c/answers.sqlite").close()
    assert (home / "c" / "answers.sqlite").exists()


def test_trained_datasets_in_the_home_folder(home, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline, "open_or_extract", lambda plan: asked.append(plan.dataset.path))
    monkeypatch.setattr(pipeline, "JoinedStore", lambda target, sources: types.SimpleNamespace(left_out={}))
    config = config_with(train_on=("jsonl=~/a.jsonl",), dataset__name="jsonl", dataset__path="~/b.jsonl")
    plan = plan_run(config)
    pipeline.open_store(plan.target, plan.sources)
    assert asked == [str(home / "b.jsonl"), str(home / "a.jsonl")]


def test_a_sweep_goes_into_the_home_folder(home):
    store = str(home / "none")
    config = config_with(methods=("probe",), store=store, dataset__name="jsonl", dataset__path="none.jsonl")
    with pytest.raises(ReLopeError, match=r"none\.jsonl"):
        sweep.run(plan_sweep(config, ["seed=0:2"]), out="~/sweeps")
    assert (home / "sweeps" / "quickstart").is_dir()


NOTEBOOK = "module://matplotlib_inline.backend_inline"


@pytest.mark.slow
def test_a_notebooks_backend_draws_every_figure(tmp_path):
    """C40: the MPLBACKEND of `!python -m experiments.report`; every figure of a report and a sweep is drawn."""
    made_run(tmp_path / "run", ("relope", "probe"))
    code = (
        "import os, sys; from pathlib import Path; from experiments.report.write import write_report\n"
        "from experiments.sweeps.figures import write_plots; from experiments.sweeps.grid import Axis\n"
        "from relope_jax.run import Run\n"
        "write_report(Run(sys.argv[1]), None)\n"
        "rows = [{'method': 'probe', 'seed': s, 'auc': 0.5 + s / 9} for s in (0, 1)]\n"
        "assert write_plots(Path(sys.argv[1]), [Axis('seed', (0, 1))], rows)[0].stat().st_size > 1000\n"
        "assert os.environ['MPLBACKEND'] == sys.argv[2]\n"
    )
    done = command(["-c", code, str(tmp_path / "run"), NOTEBOOK], {"MPLBACKEND": NOTEBOOK})
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "backend",
    ["nonsense", *(pytest.param(name, marks=pytest.mark.slow) for name in ("TkAgg", "", "agg", "module://", "nbAgg"))],
)
def test_any_backend_that_a_notebook_names_works(backend):
    light = "import experiments.report.drawing, experiments.sweeps.figures, experiments.report.figures"
    done = command(["-c", light], {"MPLBACKEND": backend})
    assert done.returncode == 0, done.stderr.decode()


def test_a_report_is_written_in_the_c_locale(tmp_path):
    """C41: report, tables and terminal output in an ASCII locale, from another working directory."""
    made_run(tmp_path / "run", ("relope", "probe"))
    code = (
        "import sys; from experiments.report import write as report\n"
        "from relope_jax.run import Run; from relope_jax.errors import *\n"
        "@exit_on_error\n"
        "def main(argv):\n"
        "    print(report.write_report(Run(argv[1]), None)); print(report.terminal_table(Run(argv[1])), '\\u2014')\n"
        "main(sys.argv)\n"
    )
    done = command(["-c", code, str(tmp_path / "run")], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def command(arguments: list[str], env: dict[str, str], **options) -> subprocess.CompletedProcess:
    settings = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, check=False, **options)


@pytest.fixture
def stored(tmp_path, monkeypatch) -> Store:
    """A store at here/stores/s, with `here` as the working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_store("stores/s")
    return Store("stores/s")


def finished_run(store: Store) -> Run:
    """runs/r: a run whose config.json gives the store's path, as written by the pipeline."""
    run = made_run(Path("runs/r"), ("relope", "probe"))
    record = run.record
    record["config"]["extract"] = {"layer": 2}
    digests = {"manifest_sha256": store.digest, "digests": store.digests}
    record["store"] |= store_record(run.path, store.path) | digests
    (run.path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    return run


@pytest.mark.parametrize("elsewhere", ["/", "stores", "runs/r"], ids=["C45-root", "stores", "the-run-itself"])
def test_a_run_is_reported_from_any_working_directory(stored, tmp_path, monkeypatch, capsys, elsewhere):
    run = finished_run(stored)
    monkeypatch.chdir(elsewhere)
    report_main(["report", os.path.relpath(tmp_path / "here" / run.path)])
    assert (tmp_path / "here" / "runs" / "r" / "report.html").exists()
    assert "test prompts" in capsys.readouterr().out


def test_a_run_and_its_store_may_move_together(stored, tmp_path, monkeypatch):
    finished_run(stored)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(tmp_path / "moved" / "runs")
    assert Run("moved/runs/r").store.digest == stored.digest
    assert Run("link/r").store.digest == stored.digest
    (tmp_path / "moved" / "stores").rename(tmp_path / "lost")
    with pytest.raises(ReLopeError, match="no store at") as caught:
        _ = Run("moved/runs/r").store
    assert "\n" not in str(caught.value)


def test_another_store_at_the_recorded_place_is_passed_over(stored, tmp_path, monkeypatch):
    finished_run(stored)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "moved")
    write_store(tmp_path / "here" / "stores" / "s", dataclasses.replace(IDENTITY, model="other"))
    assert Run("moved/runs/r").store.path == str(tmp_path / "moved" / "stores" / "s")
    (tmp_path / "moved" / "stores").rename(tmp_path / "lost")
    with pytest.raises(ReLopeError, match="is not the store that moved/runs/r was trained on"):
        _ = Run("moved/runs/r").store


def test_a_run_continues_however_its_paths_are_spelled(stored, tmp_path, monkeypatch):
    config = config_with(runs="runs", store="stores/s", dataset__path="d.jsonl", model__name="m")
    open_run(plan_run(config), stored).close()
    monkeypatch.chdir("/")
    spelled = {"runs": str(tmp_path / "here/../here/runs"), "store": str(tmp_path / "here/stores/s")}
    again = config_with(**spelled, dataset__path="/elsewhere/d.jsonl", model__name="/models/m")
    open_run(plan_run(again), Store(spelled["store"])).close()
    with pytest.raises(ReLopeError, match=r"another config \(seeds: \[0, 1, 2\] -> \[5\]"):
        open_run(plan_run(config_with(**spelled, seeds=(5,))), Store(spelled["store"]))
    other = dataclasses.replace(IDENTITY, model="other")
    write_store(tmp_path / "other", other)
    with pytest.raises(ReLopeError, match="the store's contents"):
        open_run(plan_run(again), Store(tmp_path / "other"))


def test_a_recorded_config_has_whole_paths_of_what_is_here(stored, tmp_path):
    Path("m").mkdir()
    recorded = plan_run(config_with(store="stores/s", model__name="m", large__name="toy-large")).recorded
    assert recorded["model"]["name"] == str(tmp_path / "here" / "m")
    assert recorded["store"] == str(tmp_path / "here" / "stores" / "s")
    assert recorded["large"]["name"] == "toy-large"
    before = copy.deepcopy(recorded)
    assert "path" not in without_places(recorded)["dataset"]
    assert recorded == before


@pytest.mark.parametrize("spelled", ["data/d.jsonl", "./data/d.jsonl", "data/../data/d.jsonl", "{cwd}/data/d.jsonl"])
def test_a_stores_identity_does_not_depend_on_spelling(tmp_path, monkeypatch, spelled):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.jsonl").write_text('{"question": "q", "answer": "a"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    source = dataset_source(DatasetSpec(name="jsonl", path=spelled.format(cwd=tmp_path)))
    monkeypatch.chdir(tmp_path / "data")
    assert source == dataset_source(DatasetSpec(name="jsonl", path="d.jsonl"))
    assert source["sha256"]


def test_a_model_folder_has_one_title_and_one_store(tmp_path, monkeypatch):
    for folder in ("a/m", "b/m"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    named = {plan_run(config_with(model__name=name)).target.store for name in ("a/m", "./a/m", "b/../a/m/")}
    assert len(named) == 1
    assert named != {plan_run(config_with(model__name="b/m")).target.store}
    assert model_title(ModelSpec(name="./a/m")) == model_title(ModelSpec(name=str(tmp_path / "a/m"))) == "m"
    assert model_title(ModelSpec(name="org/m")) == "org/m"


def in_the_way(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


def test_a_run_folder_that_cannot_be_written_ends_a_run_before_its_extraction(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "open_store", lambda target, sources: pytest.fail("it would extract for hours"))
    for runs in (in_the_way(tmp_path), tmp_path / ("n" * 300)):
        with pytest.raises(ReLopeError, match="cannot use") as caught:
            pipeline.run(plan_run(config_with(runs=str(runs))))
        assert "\n" not in str(caught.value)


def test_a_run_and_a_sweep_folder_that_cannot_be_are_one_line(stored, tmp_path):
    with pytest.raises(ReLopeError, match="cannot use"):
        RunWriter(plan_run(config_with(runs=str(in_the_way(tmp_path)))), stored)
    with pytest.raises(ReLopeError, match="cannot use"):
        sweep.run(plan_sweep(config_with(methods=("probe",)), ["seed=0:2"]), out=str(in_the_way(tmp_path)))


def test_a_threshold_is_printed_before_it_is_written(tmp_path, monkeypatch, capsys):
    """C44: the run folder belongs to another user; the computed threshold is not lost."""
    write_run(tmp_path / "run")
    (tmp_path / "run" / "calibration-probe-0.json").mkdir()  # root may write anywhere, except over a folder
    done = command(
        ["-m", "experiments.calibrate", str(tmp_path / "run"), "--method=probe", "--deferral=0.3"], {}, cwd=ROOT
    )
    assert done.returncode == 1
    assert b"threshold" in done.stdout
    assert done.stderr.startswith(b"error: cannot use ")
    assert done.stderr.count(b"\n") == 1


def test_what_a_disk_refuses_in_a_report_is_one_line(tmp_path):
    run = made_run(tmp_path / "run", ("relope", "probe"))
    (tmp_path / "run" / "report.html").mkdir()
    with pytest.raises(ReLopeError, match=r"cannot use .*run: Is a directory"):
        write_report(run, None)


@pytest.mark.parametrize("name", ["config.json", "results.json", "summary.json"])
def test_a_damaged_file_of_a_run_is_one_line(tmp_path, name):
    run = made_run(tmp_path / "run", ("relope", "probe"))
    (run.path / name).write_text("{torn", encoding="utf-8")
    with pytest.raises(ReLopeError, match=f"{name} is damaged"):
        _ = (Run(run.path).record, Run(run.path).results, Run(run.path).summary)
