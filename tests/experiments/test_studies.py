"""The paper's tables and figures through the real pipeline, with tiny models whose answers serve as references."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoTokenizer

from experiments.configs import paper
from experiments.runs.plan import plan_run
from experiments.runs.tested import read_test_split
from experiments.studies import STUDIES, execute, figure3, get_studies, table1, table3, table4
from experiments.studies.jobs import main_run, main_runs, run_job
from experiments.studies.plan import StudyDataset, plan_study
from experiments.studies.study import Study
from extract.job.open import open_or_extract
from extract.queries.variants import load_captions
from extract.spec import TOY_MLLM
from extract.toy import build
from relope_jax.errors import ReLopeError
from relope_jax.metrics.auc import delong
from relope_jax.run import Run
from tests.extract import tiny_models
from tests.extract.job.plans import end_often

N = 80
NAMES = ("first", "second")


def write_questions(path: Path, answers: dict[str, str]) -> None:
    """Every other question in the first file has no image."""
    lines = []
    for i in range(N):
        row = {"id": f"{path.stem}-{i:02d}", "question": f"what is {i} in {path.stem}?"}
        if path.stem == "second" or i % 2:
            row["image"] = f"{i}.png"
        lines.append(row | {"answer": answers.get(row["id"], "x")})
    path.write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A study of two files of questions, with stores and runs in a separate folder."""
    folder = tmp_path_factory.mktemp("studies")
    tokenizer = AutoTokenizer.from_pretrained(build.ensure_built(TOY_MLLM))
    for name, theta in (("small", 1e4), ("large", 100.0)):
        tiny_models.save_llava(folder / name, copy.deepcopy(tokenizer), rope_theta=theta)
        end_often(folder / name)  # a truncated answer would not count
    rng = np.random.default_rng(0)
    for i in range(N):
        Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    config = paper.get_config()
    config.model.name, config.model.device = str(folder / "small"), "cpu"
    config.large.name, config.large.device = str(folder / "large"), "cpu"
    config.extract.layer, config.extract.max_new_tokens, config.answers.max_tokens = 2, 3, 3
    config.answers.cache, config.runs, config.seeds = str(folder / "cache.sqlite"), str(folder / "runs"), (0,)
    config.train.epochs, config.dataset.max_questions = 1, 0
    config.methods, config.probes = ("probe", "chow_average"), ("probe",)
    config.datasets = tuple(f"jsonl={folder / name}.jsonl" for name in NAMES)
    config.choice_dataset = config.datasets[0]
    config.ablation_dataset = config.datasets[1]
    config.perturbations, config.layers = ("jpeg:95",), (1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in NAMES:
            write_questions(folder / f"{name}.jsonl", {})
            write_questions(folder / f"{name}.jsonl", graded_by_answers(config, folder, name))
        yield config


def graded_by_answers(config, folder: Path, name: str) -> dict[str, str]:
    """References: the small model's own answer for two of three questions, else the large model's."""
    responses = {}
    for model in ("small", "large"):
        plan = plan_study(config)
        job = main_run(plan, plan.backbones[0], StudyDataset(f"jsonl={folder / name}.jsonl"))
        job.config.model.name, job.config.store = str(folder / model), str(folder / f"draft-{name}-{model}")
        samples = open_or_extract(plan_run(job.config).target).samples
        responses[model] = dict(zip(*(samples[c].to_pylist() for c in ("sample_id", "response")), strict=True))
    ids = sorted(responses["small"])
    return {sample_id: responses["small" if i % 3 else "large"][sample_id] for i, sample_id in enumerate(ids)}


@pytest.fixture(scope="module")
def finished(config):
    """All studies except Table 1: without images the questions have other answers, all of them wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "get_studies", lambda name: [s for s in STUDIES.values() if s.name != "table1"])
        return execute.run(plan_study(config))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_every_study_leaves_a_page_a_pdf_and_its_tables(finished):
    for study in STUDIES.keys() - {"table1"}:
        names = {path.name for path in (finished / study).iterdir()}
        assert {"report.html", "report.pdf"} <= names
        assert any(name.endswith(".csv") for name in names)
        assert {Path(name).stem for name in names if name.endswith(".tex")} == {
            Path(name).stem for name in names if name.endswith(".csv")
        }
    page = (finished / "report.html").read_text()
    assert all(study.title in page for study in STUDIES.values() if study.name != "table1")
    assert page.count("<svg") == 2


@pytest.mark.slow
def test_table2_is_what_the_runs_measured(finished):
    table = rows_of(finished / "table2" / "table2.csv")
    for title in NAMES:
        split = read_test_split(Run(finished / "runs" / title))
        assert float(table["Probe"][title]) == pytest.approx(delong(split.scores["probe"], split.labels).auc.mean())
    mean = np.mean([float(table["Probe"][title]) for title in NAMES])
    assert float(table["Probe"]["mean"]) == pytest.approx(mean)


@pytest.mark.slow
def test_table4_trains_on_the_others_only(finished):
    run = Run(finished / "runs" / "all-but-first")
    found = {row["split"]: set() for row in run.samples.to_pylist()}
    for row in run.samples.to_pylist():
        store, _, sample_id = row["sample_id"].rpartition("/")  # ids of training stores have a prefix
        found[row["split"]].add((bool(store), sample_id.rpartition("-")[0]))
    assert found == {"train": {(True, "second")}, "validation": {(True, "second")}, "test": {(False, "first")}}


@pytest.mark.slow
def test_the_same_command_again_runs_nothing(config, finished, monkeypatch, capsys):
    monkeypatch.setattr(execute.pipeline, "run", lambda plan: pytest.fail(f"{plan.name} is finished"))
    again = paper.get_config("figure2")
    again.update({name: value for name, value in config.items() if name != "study"})
    execute.run(plan_study(again))
    out = capsys.readouterr().out
    assert "2 runs are finished" in out
    assert "APGR" in out


def test_table4_trains_on_the_others_for_as_many_steps_as_on_one():
    plan = plan_study(paper.get_config())
    assert {(job.config.train.epochs, job.config.train.patience) for job in main_runs(plan)} == {(60, 20)}
    left_out = [job.config for job in table4.STUDY.jobs(plan) if job.config.train_on]
    assert {len(job.train_on) for job in left_out} == {4}
    assert {(job.train.epochs, job.train.patience) for job in left_out} == {(15, 5)}


def test_names_of_datasets():
    config = paper.get_config()
    config.datasets = ("jsonl=a/mine.jsonl", "chartqa=data/chartqa")
    plan = plan_study(config)
    assert list(plan.datasets) == ["mine", "chartqa"]
    job = run_job(plan, plan.backbones[0], "x", plan.datasets["chartqa"], {"dataset.variant": "blur:2"})
    assert (job.config.dataset.name, job.config.dataset.path) == ("chartqa", "data/chartqa")
    assert job.config.dataset.variant == "blur:2"
    assert "study" not in job.config
    config.datasets = ("chartqa=a", "chartqa=b")
    with pytest.raises(ReLopeError, match="two of them have the same name"):
        plan_study(config)
    config.datasets = ("chartqaa",)
    with pytest.raises(ReLopeError, match="did you mean 'chartqa'"):
        plan_study(config)


def test_table1_asks_three_versions_of_one_dataset(tmp_path):
    config = paper.get_config()
    config.dataset.image_cache = str(tmp_path)
    jobs = {job.name: job.config for job in table1.STUDY.jobs(plan_study(config))}
    assert {name: (c.dataset.modality, c.dataset.variant) for name, c in jobs.items()} == {
        "us_places-text": ("text", ""),
        "us_places-image": ("image", ""),
        "us_places-caption": ("image", "caption"),
    }
    captions = load_captions(jobs["us_places-caption"].dataset.captions)
    assert all("red dot at" in text for (text,) in captions.values())


@pytest.mark.slow
def test_rank_and_beta_are_swept_where_relope_is():
    config = paper.get_config()
    jobs = {job.name: job for job in figure3.STUDY.jobs(plan_study(config))}
    assert {name: len(job.plan.axes[0].values) for name, job in jobs.items()} == {
        "rank-vega_plots": 3,
        "layer-vega_plots": 4,
        "beta-vega_plots": 3,
    }
    scales = {cell.member.spec.lora.scale for cell in jobs["rank-vega_plots"].plan.cells}
    assert scales == {2.0}
    config.probes = ("probe",)
    assert [job.name for job in figure3.STUDY.jobs(plan_study(config))] == ["layer-vega_plots"]


@pytest.mark.slow
def test_a_study_that_fails_spares_the_others(config, finished, monkeypatch, capsys):
    def fail(plan, done):
        raise ReLopeError("no luck")

    failing = Study("first_one", "The first one", main_runs, fail)
    monkeypatch.setattr(execute, "get_studies", lambda name: [failing, STUDIES["table2"]])
    (finished / "table2" / "table2.csv").unlink()
    with pytest.raises(ReLopeError, match="1 of 2 failed: first_one: no luck"):
        execute.run(plan_study(config))
    assert (finished / "table2" / "table2.csv").exists()


@pytest.mark.slow
def test_a_run_of_another_model_is_not_finished(config, finished, monkeypatch):
    plan = plan_study(config)
    job = main_run(plan, plan.backbones[0], plan.datasets["first"])
    assert execute.is_finished(job.plan)
    monkeypatch.setattr(execute, "model_source", lambda spec: "retrained")
    assert not execute.is_finished(job.plan)


def test_datasets_and_probes_that_a_study_cannot_use_are_refused_before_anything_runs():
    config = paper.get_config()
    config.datasets = ("chartqa=a", "mmmu=b")
    with pytest.raises(ReLopeError, match=r"choice_dataset is 'us_places'.* to one of chartqa, mmmu"):
        table1.STUDY.jobs(plan_study(config))
    config.datasets = ("chartqa=a",)
    assert {job.config.dataset.path for job in table1.STUDY.jobs(plan_study(config))} == {"a"}
    config.methods = ("relope", "probe")
    with pytest.raises(ReLopeError, match=r"config\.probes has 'attention_probe'"):
        table3.STUDY.jobs(plan_study(config))
    config.store = "somewhere"
    with pytest.raises(ReLopeError, match=r"leave config\.store empty"):
        plan_study(config)


def test_unknown_study_lists_the_known_ones():
    with pytest.raises(ReLopeError, match=r"did you mean 'table2'.*figure3"):
        get_studies("tabel2")
    assert len(get_studies("paper")) == 6
