"""What a store's identity depends on, and the message when a store has another one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extract.inspect import describe
from extract.job import extraction
from extract.job import open as settings
from extract.job.open import mismatches, open_or_extract
from extract.plan import plan_from_config
from extract.source import answering_model, dataset_source, model_source, model_title
from extract.spec import DatasetSpec, ModelSpec
from extract.verify import verify
from relope_jax.errors import ReLopeError
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard
from tests import ROOT
from tests.extract.job.plans import asking, contents, tiny_plan
from tests.selection import first


@pytest.fixture(scope="module")
def plan(tmp_path_factory, toy):
    """Four parts; the store does not exist yet."""
    folder = tmp_path_factory.mktemp("plan")
    return tiny_plan(folder, toy.tokenizer, part_size=6)


@pytest.fixture(scope="module")
def made(plan) -> Store:
    return open_or_extract(plan)


@pytest.fixture
def copy_of(made, plan, tmp_path):
    """The plan with a copy of the finished store."""
    shutil.copytree(made.path, tmp_path / "store")
    return dataclasses.replace(plan, store=tmp_path / "store")


SPELLINGS = {
    "relative": lambda path, tmp: os.path.relpath(path),
    "trailing slash": lambda path, tmp: f"{path}/" if path.is_dir() else str(path),
    "dot": lambda path, tmp: f"./{os.path.relpath(path)}",
    "dotdot": lambda path, tmp: f"{path.parent}/../{path.parent.name}/{path.name}",
    "double slash": lambda path, tmp: str(path).replace("/", "//"),
    "link": lambda path, tmp: str(linked(path, tmp) if path.is_dir() else linked(path.parent, tmp) / path.name),
    "link to its folder": lambda path, tmp: str(linked(path.parent, tmp) / path.name),
}


def files(store: Store) -> list[dict[str, str]]:
    """Checksums of all parts. The table contains paths of images, for reports."""
    return [{k: v for k, v in part.files.items() if k != "samples.parquet"} for part in store.manifest.parts]


def linked(path: Path, folder: Path) -> Path:
    link = folder / f"link-{path.name}"
    if not link.exists():
        link.symlink_to(path)
    return link


def respelled(plan, spelling: str, folder: Path, **fields):
    """The plan with the paths of model and data written differently."""
    spell = SPELLINGS[spelling]
    model = dataclasses.replace(plan.model, name=spell(Path(plan.model.name), folder))
    data = dataclasses.replace(plan.dataset, path=spell(Path(plan.dataset.path), folder))
    return dataclasses.replace(plan, model=model, dataset=data, **fields)


@pytest.mark.parametrize("spelling", first(3, SPELLINGS))
def test_spelling_of_paths_is_no_difference(plan, made, tmp_path, monkeypatch, spelling):
    """C41, C45: for a finished store and for one that another process started; also from another folder."""
    monkeypatch.chdir(tmp_path)
    other = respelled(plan, spelling, tmp_path)
    assert mismatches(other, made.identity) == []
    begun = dataclasses.replace(other, store=tmp_path / "begun")
    extraction.extract_store(begun, Shard(0, 2))
    assert extraction.extract_store(dataclasses.replace(plan, store=begun.store), Shard(1, 2))
    finished = Store(begun.store)
    assert finished.identity == made.identity
    assert files(finished) == files(made)


def test_moved_and_renamed_files_are_the_same(plan, made, tmp_path):
    model = shutil.copytree(plan.model.name, tmp_path / "another name")
    data = shutil.copy(plan.dataset.path, tmp_path / "other.jsonl")
    moved = dataclasses.replace(
        plan,
        model=dataclasses.replace(plan.model, name=str(model)),
        dataset=dataclasses.replace(plan.dataset, path=str(data)),
    )
    assert mismatches(moved, made.identity) == []
    assert mismatches(plan, made.identity) == []


def test_other_files_of_the_same_name_are_different(plan, made, tmp_path):
    model = shutil.copytree(plan.model.name, tmp_path / Path(plan.model.name).name)
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    data = tmp_path / Path(plan.dataset.path).name
    data.write_text(Path(plan.dataset.path).read_text() + "\n")
    other = dataclasses.replace(plan, model=dataclasses.replace(plan.model, name=str(model)))
    assert [line.split(":")[0] for line in mismatches(other, made.identity)] == ["the model's files or revision"]
    other = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, path=str(data)))
    assert [line.split(":")[0] for line in mismatches(other, made.identity)] == ["dataset.sha256"]


def test_data_that_are_gone_are_known_by_their_name(plan, made, tmp_path):
    gone = dataclasses.replace(plan.dataset, path=str(tmp_path / Path(plan.dataset.path).name))
    assert mismatches(dataclasses.replace(plan, dataset=gone), made.identity) == []
    other = dataclasses.replace(plan.dataset, path=str(tmp_path / "never.jsonl"))
    assert mismatches(dataclasses.replace(plan, dataset=other), made.identity) == [
        "dataset.path: config 'never.jsonl', store 'data.jsonl'"
    ]


def test_missing_image_has_no_path_in_the_identity(plan, tmp_path):
    """Its reason, which contains the path, is only in the part."""
    digests = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        shutil.copytree(Path(plan.dataset.path).parent, folder, ignore=shutil.ignore_patterns("store", "3.png"))
        _, samples, splits = extraction.chosen_samples(DatasetSpec(name="jsonl", path=str(folder / "data.jsonl")))
        digests.add(json.dumps([extraction._content(path) for sample in samples for path in sample.images]))
        assert len({splits[sample.group] for sample in samples}) == 3
    assert len(digests) == 1


def test_store_is_named_alike_for_every_spelling(plan, tmp_path, monkeypatch):
    from experiments.configs import base

    monkeypatch.chdir(tmp_path)
    names = set()
    for spelling in SPELLINGS:
        config, other = base.get_config(), respelled(plan, spelling, tmp_path)
        config.model.name = other.model.name
        names.add(plan_from_config(config).store)
    assert len(names) == 1
    assert names.pop().startswith("stores/model-")


CODE = """
import json, sys
from extract.source import answering_model, dataset_source, model_source
from extract.spec import DatasetSpec, ModelSpec
model, data = ModelSpec(sys.argv[1]), DatasetSpec(name="jsonl", path=sys.argv[2])
print(json.dumps([dataset_source(data), model_source(model)]))
"""


@pytest.mark.parametrize("locale", first(2, ["C", "zh_CN.GBK", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1", "ja_JP.EUC-JP"]))
def test_locale_is_no_difference(plan, tmp_path, locale):
    """C41: also in another working directory. A locale missing on this machine behaves like C, which is ASCII."""
    environment = os.environ | {
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", CODE, plan.model.name, plan.dataset.path]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    expected = [dataset_source(plan.dataset), model_source(plan.model)]
    assert json.loads(run.stdout) == expected


def test_title_of_a_model():
    assert model_title(ModelSpec(name="Qwen/Qwen2.5-VL-7B-Instruct")) == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert model_title(ModelSpec(name="toy-mllm")) == "toy-mllm"


def test_answers_in_process_are_cached_by_what_they_follow_from(plan, tmp_path):
    """They do not depend on how the model's path is written, but on the size at which it sees images."""
    keys = {answering_model(respelled(plan, spelling, tmp_path).model) for spelling in SPELLINGS}
    assert len(keys) == 1
    for change in ({"max_pixels": 3136}, {"min_pixels": 3136}, {"dtype": "bfloat16"}, {"attention": "eager"}):
        keys.add(answering_model(dataclasses.replace(plan.model, **change)))
    assert len(keys) == 5


def test_other_reading_of_images_is_said(plan, made, tmp_path, monkeypatch):
    """For a finished store and for one that was started."""
    why = "images are now rotated upright and composited on white, so the states differ"
    monkeypatch.setattr(settings, "READING", made.identity.image_reading + 1)
    with pytest.raises(ReLopeError, match=rf"image_reading: config \d, store \d: {why}"):
        open_or_extract(plan)
    begun = dataclasses.replace(plan, store=tmp_path / "begun")
    extraction.extract_store(begun, Shard(0, 2))
    monkeypatch.setattr(extraction, "READING", made.identity.image_reading + 1)
    with pytest.raises(
        ReLopeError, match=rf"started with other settings \(image_reading: config \d, store \d: {why}\)"
    ):
        extraction.extract_store(begun, Shard(1, 2))


def test_text_alone_does_not_depend_on_how_images_are_read(plan, tmp_path, monkeypatch):
    rows = [json.loads(line) for line in Path(plan.dataset.path).read_text().splitlines()]
    text = asking(
        tmp_path, Path(plan.model.name), [{"question": f"{i} {row['question']}"} for i, row in enumerate(rows)]
    )
    assert open_or_extract(text).identity.image_reading == 0
    monkeypatch.setattr(settings, "READING", 99)
    open_or_extract(text)


def test_store_of_schema_3_is_one_line_everywhere(copy_of):
    """Finished and unfinished. The line says what changed."""
    url = str(copy_of.store)
    for name in ("manifest.json", "identity.json"):
        path = copy_of.store / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3}))
    uses = [lambda: verify(url), lambda: list(describe(Store(url))), lambda: open_or_extract(copy_of)]
    for finished in (True, False):
        if not finished:
            (copy_of.store / "manifest.json").unlink()
        for use in uses:
            with pytest.raises(
                ReLopeError, match=r"has schema version 3, but this software .* 6 \(since 6 a store"
            ) as error:
                use()
            assert "\n" not in str(error.value)


def test_differences_are_short(plan, made):
    """Digests are shortened, and only the differing ones of the dataset's many settings are named."""
    identity = made.identity
    other = dataclasses.replace(identity, questions="0" * 64, dataset=identity.dataset | {"seed": 7})
    assert other.differences(identity.record()) == [
        "dataset.seed: config 7, store 0",
        f"questions: config '{'0' * 12}', store '{identity.questions[:12]}'",
    ]
    assert contents(plan.store)
