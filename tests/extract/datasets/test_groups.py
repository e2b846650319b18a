"""No image is in two splits: groups depend on the content of images, not on their names."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import random
from pathlib import Path

import pytest

from extract.datasets import get_dataset
from extract.datasets.reading.grouping import contents, regroup
from extract.job.splits import draw, group_split
from extract.sample import Sample
from extract.spec import DatasetSpec


@pytest.fixture
def image(tmp_path):
    """`image("name", "content")` is a file."""

    def make(name: str, content: str) -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return make


def ask(sample_id: str, *images: Path, group: str = "", question: str = "q", choices: tuple[str, ...] = ()) -> Sample:
    return Sample(sample_id, group, question, "a", images, choices)


def groups(*samples: Sample) -> list[str]:
    return [sample.group for sample in regroup(samples)]


def test_the_same_bytes_under_two_names_are_one_group(image):
    assert groups(ask("b", image("1", "x")), ask("a", image("2", "x")), ask("c", image("3", "y"))) == ["a", "a", "c"]


def test_a_sample_of_several_images_ties_their_groups_together(image):
    one, two, three = image("1", "x"), image("2", "y"), image("3", "z")
    assert groups(ask("a", one), ask("b", two), ask("c", three), ask("d", one, two)) == ["a", "a", "c", "a"]


def test_given_groups_keep_their_names_and_tie_too(image):
    one, two, three = image("1", "x"), image("2", "y"), image("3", "x")
    given = [ask("1", one, group="n"), ask("2", two, group="m"), ask("3", three, group="o"), ask("4", two, group="k")]
    assert groups(*given[:2]) == ["n", "m"]
    assert groups(*given) == ["n", "k", "n", "k"]
    assert groups(ask("1", group="g"), ask("2", group="g", question="other")) == ["g", "g"]


def test_questions_without_an_image_group_by_question_and_choices():
    first = ask("1", choices=("x", "y"))
    assert groups(first, ask("2", choices=("y", "x")), ask("3", choices=("x", "z"))) == ["1", "1", "3"]


def test_contents_are_what_samples_of_two_stores_may_share(image):
    one, two = image("1", "x"), image("2", "y")
    assert contents(ask("a", one, two)) == [hashlib.sha256(text).hexdigest() for text in (b"x", b"y")]
    assert contents(ask("a", image("3", "x"), question="q")) == contents(ask("b", one, question="other"))
    assert contents(ask("1", choices=("x", "y"))) == contents(ask("2", choices=("y", "x")))
    assert contents(ask("1", choices=("x", "y"))) != contents(ask("1", choices=("x", "z")))
    assert contents(ask("1", question="p")) != contents(ask("1", question="q"))


def test_missing_files_fall_back_to_their_path(image, tmp_path):
    gone, there = tmp_path / "gone", image("1", "x")
    assert groups(ask("1", gone), ask("2", there), ask("3", gone)) == ["1", "2", "1"]
    image("gone", "y")  # added later: names, and so the splits, do not change
    assert groups(ask("1", gone), ask("2", there), ask("3", gone)) == ["1", "2", "1"]


def test_easy_vqa_keeps_its_groups():
    spec = DatasetSpec()
    samples = get_dataset("easy_vqa").load(spec)
    assert draw(samples, spec) == samples


def test_random_samples_never_share_an_image_across_a_split(image):
    rng = random.Random(0)
    files = [image(f"{k}", f"content {k % 60}") for k in range(120)]
    samples = [
        ask(f"{i:03d}", *rng.sample(files, rng.choice((0, 1, 1, 1, 2))), question=f"{i % 90}") for i in range(80)
    ]
    spec = DatasetSpec()
    drawn = draw(samples, spec)
    assert [dataclasses.replace(sample, group="") for sample in drawn] == samples  # only the group changes
    splits = group_split(drawn, spec)
    sides = collections.defaultdict(set)
    for sample in drawn:
        for file in sample.images:
            sides[file.read_text()].add(splits[sample.group])
    assert all(len(names) == 1 for names in sides.values())
    backwards = regroup(drawn[::-1])[::-1]
    assert backwards == drawn
    assert draw(samples, spec) == drawn
    assert group_split(drawn, spec) == splits


def test_the_groups_of_a_draw_depend_on_what_is_drawn_only(image):
    samples = [ask(f"{i}", image(f"{i}", "same" if i < 2 else f"{i}")) for i in range(9)]
    drawn = draw(samples, DatasetSpec(max_questions=6))
    assert drawn == regroup(drawn)
    assert len(drawn) == 6
