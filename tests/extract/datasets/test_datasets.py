"""Datasets, splits and graders."""

from __future__ import annotations

import collections
import json

import pytest

from extract.datasets import get_dataset
from extract.grading import exact_match, multiple_choice
from extract.job.splits import draw, group_split
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

JSONL = get_dataset("jsonl")


def write(tmp_path, *rows) -> DatasetSpec:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return DatasetSpec(name="jsonl", path=str(path))


def test_easy_vqa_splits_are_image_disjoint():
    spec = DatasetSpec(max_questions=3000)
    samples = draw(get_dataset("easy_vqa").load(spec), spec)
    splits = group_split(samples, spec)
    assert len(samples) == 3000
    assert all(sample.images[0].exists() for sample in samples[:50])
    images = collections.defaultdict(set)
    for sample in samples:
        images[sample.images].add(splits[sample.group])
    assert all(len(sides) == 1 for sides in images.values())
    counts = collections.Counter(splits.values())
    groups = sum(counts.values())
    assert counts["test"] == round(0.3 * groups)
    assert counts["validation"] == round(0.2 * groups)
    assert draw(get_dataset("easy_vqa").load(spec), spec) == samples  # the same draw every time


def test_too_few_groups_and_impossible_shares_are_refused():
    samples = [Sample(str(i), f"g{i}", "q", "a") for i in range(10)]
    with pytest.raises(ReLopeError, match="at least 3 groups"):
        group_split(samples[:2], DatasetSpec())
    with pytest.raises(ReLopeError, match="no group to train on"):
        group_split(samples, DatasetSpec(test=0.7, validation=0.3))


def test_jsonl_reads_images_choices_and_groups(tmp_path):
    spec = write(
        tmp_path,
        {"question": "Which?", "answer": "B", "choices": ["cat", "dog"], "image": "i.png"},
        {"question": "How many?", "answer": 3, "id": "n"},
        {"question": "line\u2028break", "answer": "x", "group": 0},
        {"question": "again", "answer": "x", "group": 0, "image": "j.png", "choices": None},
    )
    first, second, third, fourth = JSONL.load(spec)
    assert third.group == fourth.group == "0"
    assert first.images == (tmp_path / "i.png",)
    assert (first.group, second.group, second.sample_id) == ("i.png", "n", "n")
    assert JSONL.prompt(first) == "Which?\nA. cat\nB. dog\nAnswer with the letter of the right choice."
    assert JSONL.prompt(second) == "How many?"
    assert JSONL.grade(first, "B. dog")
    assert JSONL.grade(second, "3")


def test_jsonl_takes_several_images(tmp_path):
    spec = write(tmp_path, {"question": "<image 2>?", "answer": "x", "image": ["a.png", "b/c.png"]})
    (sample,) = JSONL.load(spec)
    assert sample.images == (tmp_path / "a.png", tmp_path / "b/c.png")
    assert sample.group == "a.png"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], "data.jsonl:1 is not JSON"),
        ([{"question": "q", "answer": "a"}, {"question": "q"}], "data.jsonl:2 needs the fields"),
        ([{"question": "q", "answer": "a", "img": "x"}], "unknown field 'img'"),
        ([{"question": "q", "answer": "a", "choices": "cat"}], "data.jsonl:1: 'choices' is 'cat'"),
        ([{"question": "q", "answer": "a", "image": 3}], "data.jsonl:1: 'image' is 3"),
        ([{"question": "q", "answer": "a", "image": ["x", 3]}], r"data.jsonl:1: 'image' is \['x', 3\]"),
        ([{"question": "q", "answer": 1, "choices": ["cat", "dog"]}], "answer 1 is neither a choice nor one of A, B"),
        ([{"question": "q", "answer": "a", "id": 1}] * 2, "'1' appears more than once"),
    ],
)
def test_bad_jsonl_names_the_line(tmp_path, rows, message):
    with pytest.raises(ReLopeError, match=message):
        JSONL.load(write(tmp_path, *rows))


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(ReLopeError, match="did you mean 'easy_vqa'"):
        get_dataset("easyvqa")


@pytest.mark.parametrize(("response", "right"), [("Yes.", True), (" yes\n", True), ("no", False), ("yes no", False)])
def test_exact_match(response, right):
    assert exact_match(response, "yes") is right


def test_exact_match_ignores_articles_but_no_values():
    assert exact_match("The triangle.", "triangle")
    assert exact_match("A", "a")
    for response, answer in [("5", "-5"), ("5", ".5"), ("50", "$50"), ("", "A"), ("", "-"), ("the", "a")]:
        assert not exact_match(response, answer), (response, answer)


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("B", "B", True), ("(b)", "B", True), ("B. dog", "dog", True), ("dog", "B", True),
        ("The answer is B.", "B", True), ("Answer: B", "B", True), ("A", "B", False),
        ("A dog", "B", True), ("A big dog", "A", False),
        ("**B**", "B", True), ("Answer: **B**", "B", True), ("B\ndog", "B", True), ("Option B is right", "B", True),
        ("The answer is B because it barks", "B", True), ("A because", "A", True), ("a.", "A", True),
        ("Z", "B", False), ("", "B", False), ("neither", "nothing", False),
    ],
)  # fmt: skip
def test_multiple_choice(response, answer, right):
    assert multiple_choice(response, answer, ("cat", "dog")) is right
