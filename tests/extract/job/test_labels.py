"""`extract.labels_from`: labels are reused from a store whose answers would be the same if generated now."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from extract import grading
from extract.job import extraction
from extract.job.labels import COLUMNS, SAME, differing
from extract.job.open import open_or_extract
from extract.plan import Extraction
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import Identity
from relope_jax.states.store import Store
from tests.extract.job.plans import tiny_plan

OTHER = {
    "model": "other/model", "source": "1" * 64, "commit": "2" * 40, "adapter": "3" * 64, "min_pixels": 3136,
    "max_pixels": 6272, "image_reading": 99, "model_dtype": "bfloat16", "attention": "eager", "device": "cuda",
    "prompt_hash": "4" * 64, "questions": "5" * 64, "graders": 6, "max_new_tokens": 99,
}  # fmt: skip
# What a variant or another machine may change.
FREE = {
    "layers": [1, 2],
    "hidden_size": 1,
    "state_dtype": "float32",
    "device_map": "auto",
    "samples": "7" * 64,
    "labels_from": "8" * 64,
    "part_size": 1,
    "token_budget": 1,
}


@pytest.fixture(scope="module")
def plan(toy, tmp_path_factory) -> Extraction:
    return tiny_plan(tmp_path_factory.mktemp("plan"), toy.tokenizer, part_size=12)


@pytest.fixture(scope="module")
def clean(plan) -> Store:
    return open_or_extract(plan)


def variant(plan: Extraction, folder: Path, **changes) -> Extraction:
    """Noisy images, with the labels of the plan's store."""
    dataset = {"variant": "noise:60"} | changes.pop("dataset", {})
    extract = {"labels_from": str(plan.store)} | changes.pop("extract", {})
    return Extraction(
        model=dataclasses.replace(plan.model, **changes.pop("model", {})),
        dataset=dataclasses.replace(plan.dataset, **dataset),
        extract=dataclasses.replace(plan.extract, **extract),
        store=folder / "variant",
    )


def elsewhere(plan: Extraction, folder: Path) -> Extraction:
    """The same plan over a copy of its data in another folder."""
    shutil.copytree(Path(plan.dataset.path).parent, folder / "data", ignore=shutil.ignore_patterns("store", "model"))
    return dataclasses.replace(
        plan, dataset=dataclasses.replace(plan.dataset, path=str(folder / "data" / "data.jsonl"))
    )


@pytest.mark.parametrize("field", SAME)
def test_what_shapes_an_answer_is_compared(clean, field):
    identity = dataclasses.replace(clean.identity, commit="0" * 40)  # a hub model: its name counts too
    other = dataclasses.replace(identity, **{field: OTHER[field]})
    (line,) = differing(other, identity)
    shown = OTHER[field][:12] if isinstance(OTHER[field], str) and len(OTHER[field]) == 64 else OTHER[field]
    assert line.startswith(f"{field}: config {shown!r}, store ")


@pytest.mark.parametrize("package", extraction.PACKAGES)
@pytest.mark.parametrize("adapter", ["", "vision-lora"])
def test_versions_are_compared(clean, package, adapter):
    identity = dataclasses.replace(clean.identity, adapter=adapter)
    other = dataclasses.replace(identity, versions=identity.versions | {package: "0.1"})
    found = differing(other, identity)
    assert [line.split(",")[0] for line in found] == (
        [] if package == "peft" and not adapter else [f"versions.{package}: config '0.1'"]
    )


@pytest.mark.parametrize("field", FREE)
def test_what_does_not_shape_an_answer_may_differ(clean, field):
    assert differing(dataclasses.replace(clean.identity, **{field: FREE[field]}), clean.identity) == []


def test_every_field_of_an_identity_is_decided():
    decided = {*SAME, *FREE, "dataset", "versions"}
    assert decided == {field.name for field in dataclasses.fields(Identity)}


def test_a_model_folder_may_be_called_otherwise(clean):
    assert differing(dataclasses.replace(clean.identity, model="moved"), clean.identity) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"extract": {"max_new_tokens": 5}}, "max_new_tokens: config 5, store 3"),
        ({"model": {"dtype": "bfloat16"}}, "model_dtype: config 'bfloat16', store 'float32'"),
        ({"model": {"attention": "eager"}}, "attention: config 'eager', store 'sdpa'"),
    ],
    ids=["max_new_tokens", "dtype", "attention"],
)
def test_labels_made_otherwise_are_refused_with_both_values(plan, clean, tmp_path, changes, line):
    with pytest.raises(ReLopeError) as error:
        open_or_extract(variant(plan, tmp_path, **changes))
    assert str(error.value) == f"extract.labels_from={plan.store} has labels for other settings ({line})"
    assert not (tmp_path / "variant").exists()


def test_labels_of_other_graders_are_refused(plan, clean, tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "VERSION", 0)
    with pytest.raises(ReLopeError, match=r"\(graders: config 0, store [1-9]\d*: .*extract.regrade"):
        open_or_extract(variant(plan, tmp_path))


def test_labels_of_other_pictures_under_the_same_names_are_not_taken(plan, clean, tmp_path):
    moved = elsewhere(plan, tmp_path)
    folder = Path(moved.dataset.path).parent
    for name in ("3.png", "7.png"):
        Image.new("RGB", (40, 40), "red").save(folder / name)
    store = open_or_extract(variant(moved, tmp_path))
    reasons = {entry["sample_id"]: entry["reason"] for entry in store.manifest.failed}
    assert list(reasons) == ["q03", "q07"]
    there = dict(zip(clean.column("sample_id"), clean.samples["contents"].to_pylist(), strict=True))["q03"]
    assert "is about other images: contents " in reasons["q03"]
    assert f"{there[0][:12]} there" in reasons["q03"]


def test_a_variant_takes_labels_over_from_the_same_pictures_elsewhere(plan, clean, tmp_path):
    store = open_or_extract(variant(elsewhere(plan, tmp_path), tmp_path))
    assert store.manifest.failed == []
    for name in COLUMNS:
        assert store.samples[name].equals(clean.samples[name])
    assert store.samples["contents"].equals(clean.samples["contents"])


def test_other_right_answers_are_refused(plan, clean, tmp_path):
    moved = elsewhere(plan, tmp_path)
    path = Path(moved.dataset.path)
    rows = [json.loads(line) | {"answer": "y"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ReLopeError, match=r"labels for other settings \(questions: config '\w{12}', store '\w{12}'\)"):
        open_or_extract(variant(moved, tmp_path))
