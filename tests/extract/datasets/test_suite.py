"""The suite's tasks: the same on every machine, answerable from the picture, and separate from the toys' training."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from extract.datasets import get_dataset
from extract.datasets.suite import charts, digits, places, plots
from extract.datasets.suite.canvas import COLOURS, SIDE
from extract.datasets.suite.scene import shuffled
from extract.job.splits import draw, group_split
from extract.queries.variants import load_captions
from extract.spec import DatasetSpec
from extract.toy.training.examples import SUITE, TASKS, examples
from relope_jax.errors import ReLopeError

NAMES = tuple(TASKS)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return DatasetSpec(image_cache=str(tmp_path_factory.mktemp("images")))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_samples_every_time_and_every_reference_is_right(name, spec, tmp_path):
    dataset = get_dataset(name)
    samples = dataset.load(spec)
    again = dataset.load(DatasetSpec(image_cache=str(tmp_path)))
    assert [(s.sample_id, s.question, s.answer, s.choices) for s in samples] == [
        (s.sample_id, s.question, s.answer, s.choices) for s in again
    ]
    assert [[p.name for p in s.images] for s in samples] == [[p.name for p in s.images] for s in again]  # their digests
    assert len(samples) >= 700
    for sample in samples:
        assert dataset.grade(sample, sample.answer)
        wrong = [choice for choice in sample.choices if choice != sample.answer] or ["nothing of the kind"]
        assert not dataset.grade(sample, wrong[0])
    assert max(Counter(s.answer for s in samples).values()) < 0.5 * len(samples)  # constants are right on less


@pytest.mark.parametrize("name", NAMES)
def test_no_piece_is_both_asked_about_and_trained_on(name):
    task = TASKS[name]
    asked, trained = shuffled(task, "questions"), shuffled(task, "training")
    assert not set(asked) & set(trained)
    assert set(asked) | set(trained) == set(task.material())


@pytest.mark.parametrize("name", NAMES)
def test_questions_about_one_scene_stay_together(name, spec):
    drawn = draw(get_dataset(name).load(spec), DatasetSpec(max_questions=300))
    splits = group_split(drawn, spec)
    by_image: dict = {}
    for sample in drawn:
        for path in sample.images:
            by_image.setdefault(path, set()).add(splits[sample.group])
    assert all(len(found) == 1 for found in by_image.values())


def test_bars_are_as_tall_as_their_values():
    """Read back from the picture: columns of each colour, from the axis upwards."""
    bars = (10.0, 40.0, 20.0)
    scene = charts.draw(bars, random.Random(0))
    pixels = np.asarray(scene.image).astype(int)
    heights = {
        name: max(int((np.abs(pixels[: charts.BASE, x] - colour).sum(axis=1) < 40).sum()) for x in range(9, SIDE))
        for name, colour in COLOURS.items()
    }
    tallest = max(heights.values())
    found = sorted(height / tallest for height in heights.values() if height > 5)
    np.testing.assert_allclose(found, [0.25, 0.5, 1.0], atol=0.04)  # a pixel of 80 is 0.0125


def test_chart_questions_have_the_right_answers():
    height = {"red": 3.0, "blue": 1.0, "green": 2.0}
    rng = random.Random(1)
    seen = set()
    for _ in range(60):
        for kind in (charts._extreme, charts._compare, charts._taller_than, charts._ratio):
            question = kind(height, rng)
            words = question.text.rstrip("?").split()
            if "tallest" in words or "shortest" in words:
                expected = "red" if "tallest" in words else "blue"
            elif words[0] == "How":
                expected = {"red": "0", "green": "1", "blue": "2"}[words[-2]]
            else:
                first, second = words[2], words[-2]
                factor = 2 if "half" in words else 1
                expected = "yes" if factor * height[first] > height[second] else "no"
            assert question.answer == expected, question
            seen.add(question.text)
    assert len(seen) > 12


def test_sums_are_of_the_digits_that_scikit_learn_labels():
    _, values = digits._digits()
    pair = digits.material()[0]
    left, right = int(values[pair.left]), int(values[pair.right])
    expected = {"sum": left + right, "difference": abs(left - right), "left": left, "right": right}
    expected["larger"] = max(left, right)
    asked = {question for i in range(20) for question in digits.draw(pair, random.Random(i)).questions}
    assert len(asked) == 7
    for question in asked:
        if question.text.startswith("Is"):
            right_answer = left > right if "larger" in question.text else left + right > 9
            assert question.answer == ("yes" if right_answer else "no")
        else:
            assert int(question.answer) == next(v for k, v in expected.items() if f" {k}" in question.text)


def test_states_of_places_and_half_of_them_without_a_picture(spec):
    samples = get_dataset("us_places").load(spec)
    text_only = [s for s in samples if not s.images]
    assert 0.4 < len(text_only) / len(samples) < 0.6
    assert all(s.answer in s.choices and len(set(s.choices)) == 3 for s in samples)
    known = {row.town: row.state for row in places.material()}
    assert known["Dallas"] == "Texas" or "Dallas" not in known
    for sample in text_only[:50]:
        assert known[sample.question.removeprefix("In which state is ").rstrip("?")] == sample.answer
    captions = load_captions(places.PLACES.captions(spec))
    assert captions.keys() == {s.sample_id for s in samples if s.images}


def test_a_place_in_the_west_is_drawn_in_the_west():
    for place, half in (
        (next(p for p in places.material() if p.state == "California" and p.on_map), 0),
        (next(p for p in places.material() if p.state == "Maine" and p.on_map), 1),
    ):
        pixels = np.asarray(places.draw(place, random.Random(0)).image).astype(int)
        red = np.argwhere(np.abs(pixels - COLOURS["red"]).sum(axis=2) < 40)
        assert (red[:, 1].mean() > SIDE / 2) == bool(half)


def test_peaks_and_trends_of_lines():
    piece = plots.PlotData("weather", tuple(float(v) for v in (5, 9, 4, 3, 2, 1, 2, 3, 4)))
    found = {plots._peak(piece, random.Random(i)) for i in range(8)}
    assert {(q.text, q.answer) for q in found} == {
        ("Where is the highest point?", "left"),
        ("Where is the lowest point?", "middle"),
    }
    assert all(question.asked for question in found)
    assert plots._trend(piece, random.Random(0)).answer == "lower"
    assert plots._trend(plots.PlotData("weather", (1.0, 5.0, 1.1)), random.Random(0)).answer == "similar"


def test_plots_have_one_right_answer(spec):
    """No question is about a point with an equally high one in another third, or a flower hidden by another species."""
    for line, asked in (
        ((9, 0, 1, 9, 2, 3, 5, 5, 5), False),
        ((9, 0, 1, 8.8, 2, 3, 5, 5, 5), False),
        ((9, 0, 9, 8.5, 2, 3, 5, 5, 5), True),
    ):
        piece = plots.PlotData("weather", tuple(map(float, line)))
        highest = next(q for q in (plots._peak(piece, random.Random(i)) for i in range(9)) if "highest" in q.text)
        assert highest.asked == asked
    task, flowers = plots.PLOTS, plots._iris()
    names = ("petalLength", "petalWidth"), ("sepalLength", "sepalWidth")
    trained_on = [flowers[piece.flower] for piece in shuffled(task, "training") if piece.subject == "iris"]
    lone = 0
    for row in [piece.flower for piece in shuffled(task, "questions") if piece.subject == "iris"]:
        for pair in names:
            here = [f for f in flowers if all(f[name] == flowers[row][name] for name in pair)]
            alone = len({f["species"] for f in here}) == 1 and not any(f in here for f in trained_on)
            assert plots._is_alone(row, *pair) == alone
            lone += alone
    assert lone > 40
    asked = {sample.sample_id.rpartition("-")[0] for sample in get_dataset("vega_plots").load(spec)}
    assert len(asked) < len(shuffled(task, "questions"))


def test_modality_keeps_one_half(spec):
    samples = get_dataset("us_places").load(spec)
    for modality, images in (("text", False), ("image", True)):
        drawn = draw(samples, DatasetSpec(modality=modality))
        assert drawn
        assert all(bool(s.images) == images for s in drawn)
    with pytest.raises(ReLopeError, match="no question without an image"):
        draw(get_dataset("digit_sums").load(spec), DatasetSpec(name="digit_sums", modality="text"))


def test_training_examples_follow_the_shares():
    drawn = examples(SUITE, random.Random(0))
    batch = [next(drawn) for _ in range(400)]
    assert all(example.answer for example in batch)
    assert all(example.image is None or isinstance(example.image, Image.Image) for example in batch)
    text_only = sum(example.image is None for example in batch) / len(batch)
    assert abs(text_only - SUITE["us_places"] / 2) < 0.06
