"""Labels from other graders: opening such a store reports it, and python -m extract.regrade regrades it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from extract import grading
from extract.datasets.jsonl import JSONL
from extract.inspect import describe
from extract.job import extraction
from extract.job.open import open_or_extract
from extract.job.regrade import regrade as regrade_store
from extract.verify import verify
from relope_jax.errors import ReLopeError
from relope_jax.io.place import LocalPlace
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard
from tests.extract.job.plans import contents, end_often, tiny_plan

OLD = 0


@pytest.fixture(scope="module")
def graded(toy, tmp_path_factory):
    """The plan of a store labelled by other code, which called every answer right."""
    patch = pytest.MonkeyPatch()
    plan = tiny_plan(tmp_path_factory.mktemp("plan"), toy.tokenizer, part_size=6)
    end_often(Path(plan.model.name), every=1)  # truncated answers are not graded
    old = dataclasses.replace(JSONL, grade=lambda sample, response: True, final_answer=lambda sample, response: "old")
    patch.setattr(extraction, "get_dataset", lambda name: old)
    patch.setattr(grading, "VERSION", OLD)
    open_or_extract(plan)
    patch.undo()
    return plan


@pytest.fixture
def plan(graded, tmp_path):
    """With a copy of that store."""
    shutil.copytree(graded.store, tmp_path / "store")
    return dataclasses.replace(graded, store=tmp_path / "store")


def test_open_says_that_other_code_graded_and_uses_the_labels(plan, capsys):
    store = open_or_extract(plan)
    assert store.column("label").all()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "graded by another version" in line]
    assert "python -m extract.regrade" in line
    assert "labels: from another version" in "\n".join(describe(store))


def test_regrading_changes_labels_and_nothing_else(plan, capsys):
    before = open_or_extract(plan)
    old, states = before.samples, before.states()
    line = regrade_store(plan)
    assert line == f"{plan.store}: 24 responses regraded, {24 - Store(plan.store).column('label').sum()} labels changed"
    capsys.readouterr()
    store = open_or_extract(plan)
    assert "graded by another version" not in capsys.readouterr().out
    assert store.column("label").sum() < 24
    samples = {sample.sample_id: sample for sample in JSONL.load(plan.dataset)}
    for row in store.samples.to_pylist():
        assert row["label"] == JSONL.grade(samples[row["sample_id"]], row["response"])
        assert row["final_answer"] == JSONL.final_answer(samples[row["sample_id"]], row["response"])
    graded = ["label", "final_answer"]
    assert store.samples.drop_columns(graded).equals(old.drop_columns(graded))
    assert (store.states().hidden == states.hidden).all()
    verify(str(plan.store))
    assert extraction.extract_store(plan)  # an extraction finds nothing to do and nothing to refuse
    assert Store(plan.store).samples.equals(store.samples)
    assert regrade_store(plan).endswith("its labels are those of the current graders")


def test_regraded_store_is_the_one_that_an_extraction_makes(plan, tmp_path):
    regrade_store(plan)
    again = dataclasses.replace(plan, store=tmp_path / "again")
    fresh, graded = open_or_extract(again), Store(plan.store)
    assert graded.samples.equals(fresh.samples)
    assert graded.identity == fresh.identity
    tables = ("samples.parquet", "part.json", "manifest.json")  # the same table has other bytes: Parquet's statistics
    old, new = (
        {k: v for k, v in contents(store).items() if not k.endswith(tables)} for store in (plan.store, again.store)
    )
    assert old == new


class Killed(BaseException):
    """Like SIGKILL: nothing cleans up after it."""


def test_killed_at_any_write_the_same_command_finishes(plan, tmp_path, monkeypatch):
    """Every file operation in turn is the last one; nobody reads a store that is half regraded."""
    whole = dataclasses.replace(plan, store=shutil.copytree(plan.store, tmp_path / "whole"))
    regrade_store(whole)
    untouched = contents(plan.store)
    operations = {name: getattr(LocalPlace, name) for name in ("write", "delete")}
    for limit in range(100):
        store = shutil.copytree(plan.store, tmp_path / f"killed-{limit}")
        killed, left = dataclasses.replace(plan, store=store), [limit]
        with monkeypatch.context() as process:
            for name, operation in operations.items():

                def counted(self, *args, operation=operation, left=left):
                    if not left[0]:
                        raise Killed
                    left[0] -= 1
                    return operation(self, *args)

                process.setattr(LocalPlace, name, counted)
            try:
                regrade_store(killed)
                break
            except Killed:
                pass
        if (store / "manifest.json").exists():
            Store(store).verify()
        elif contents(store) != contents(whole.store):
            with pytest.raises(ReLopeError, match=r"regrading .* was interrupted: run .* extract.regrade"):
                Store(store)
            with pytest.raises(ReLopeError, match=r"regrading the responses of .* was interrupted"):
                extraction.extract_store(killed, Shard(0, 2))
        regrade_store(killed)
        assert contents(store) == contents(whole.store)
    assert 10 < limit < 99  # every operation had its turn
    assert contents(plan.store) == untouched


def test_grader_that_fails_changes_nothing(plan, monkeypatch):
    def failing(sample, response):
        raise ValueError("no number")

    before = contents(plan.store)
    monkeypatch.setattr(extraction, "get_dataset", lambda name: dataclasses.replace(JSONL, grade=failing))
    with pytest.raises(ReLopeError, match=r"q00 cannot be graded \(ValueError: no number\): nothing is changed"):
        regrade_store(plan)
    assert {k: v for k, v in contents(plan.store).items() if not k.startswith("regrading/")} == before


def test_store_of_other_questions_or_settings_is_not_graded(plan, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(Path(plan.dataset.path).read_text().replace('"answer": "x"', '"answer": "y"', 1))
    changed = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, path=str(other)))
    with pytest.raises(ReLopeError, match=r"made with other settings \(dataset.sha256"):
        regrade_store(changed)
    load = JSONL.load
    reading = dataclasses.replace(JSONL, load=lambda spec: [dataclasses.replace(s, answer="z") for s in load(spec)])
    with pytest.MonkeyPatch.context() as patch:  # the same file, read by other code
        patch.setattr(extraction, "get_dataset", lambda name: reading)
        with pytest.raises(ReLopeError, match="other questions or reference answers than the dataset has now"):
            regrade_store(plan)
    with pytest.raises(ReLopeError, match="no store at"):
        regrade_store(dataclasses.replace(plan, store=tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_labels_of_another_store_are_graded_there(plan, tmp_path, capsys, monkeypatch):
    """Opening the variant does not ask for something that only the store with its labels can do."""
    variant = dataclasses.replace(
        plan,
        store=tmp_path / "variant",
        dataset=dataclasses.replace(plan.dataset, variant="blur:2"),
        extract=dataclasses.replace(plan.extract, labels_from=str(plan.store)),
    )
    with monkeypatch.context() as then:
        then.setattr(grading, "VERSION", OLD)
        open_or_extract(variant)
    capsys.readouterr()
    open_or_extract(variant)
    assert "graded by another version" not in capsys.readouterr().out
    with pytest.raises(ReLopeError, match="come from another store: regrade that one"):
        regrade_store(variant)
    regrade_store(plan)
    with pytest.raises(ReLopeError, match=r"extract.labels_from: config '\w{12}', store '\w{12}'"):
        open_or_extract(variant)


def test_unfinished_store_of_other_graders_is_refused_with_the_reason(plan, tmp_path, monkeypatch):
    begun = dataclasses.replace(plan, store=tmp_path / "begun")
    monkeypatch.setattr(grading, "VERSION", OLD)
    extraction.extract_store(begun, Shard(0, 2))
    monkeypatch.undo()
    with pytest.raises(ReLopeError, match=r"graders: config [1-9]\d*, store 0: the labels were graded by another"):
        extraction.extract_store(begun, Shard(1, 2))
