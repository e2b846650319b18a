"""Variants of a query: images changed exactly as stated, captions and markers in the right places, one-line errors."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

from extract.queries.variants import Variant, load_captions, parse_variant
from relope_jax.errors import ReLopeError

PLAIN = ("", "noise:25", "noise:0.5", "jpeg:20", "blur:2", "caption", "question_only")
# Least to most damage.
STRENGTHS = {
    "noise": ("noise:0", "noise:5", "noise:25", "noise:100"),
    "jpeg": ("jpeg:95", "jpeg:60", "jpeg:20", "jpeg:1"),
    "blur": ("blur:0", "blur:0.5", "blur:2", "blur:8"),
}


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Smooth, with edges, colour and texture. The sides differ and are not multiples of 8."""
    y, x = np.mgrid[:61, :90]
    red, green = 128 + 100 * np.sin(x / 7), 255.0 * (x > y)
    blue = np.random.default_rng(0).integers(0, 255, (61, 90))
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def change(text: str, image: Image.Image, key: str = "q1") -> Image.Image:
    (changed,) = parse_variant(text).apply("what?", (image,), key=key)[1]
    return changed


def psnr(image: Image.Image, reference: Image.Image) -> float:
    error = np.mean((np.asarray(image, dtype=float) - np.asarray(reference, dtype=float)) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


@pytest.mark.parametrize("text", PLAIN)
def test_a_variant_is_written_as_it_is_read(text):
    variant = parse_variant(text)
    assert str(variant) == text
    assert variant.changes_images == (":" in text)
    assert variant.needs_captions == (text == "caption")


def test_as_it_is(picture):
    text, images = parse_variant("").apply("what is in <image 1>?", (picture, picture), key="q1")
    assert text == "what is in <image 1>?"
    assert images[0] is images[1] is picture


@pytest.mark.parametrize("kind", STRENGTHS)
def test_stronger_is_worse_and_the_size_stays(kind, picture):
    changed = [change(text, picture) for text in STRENGTHS[kind]]
    assert {(image.size, image.mode) for image in changed} == {((90, 61), "RGB")}
    quality = [psnr(image, picture) for image in changed]
    assert quality == sorted(quality, reverse=True)
    assert len(set(quality)) == len(quality)
    assert parse_variant(STRENGTHS[kind][-1]).apply("what?", (picture,), key="q1")[0] == "what?"


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
@pytest.mark.parametrize("text", ["noise:25", "jpeg:20", "blur:2"])
def test_other_modes_become_rgb(mode, text, picture):
    converted = picture.convert(mode)
    changed = change(text, converted)
    assert changed.mode == "RGB"
    assert psnr(changed, change(text, converted.convert("RGB"))) == np.inf


def test_noise_has_the_stated_strength():
    """Unclipped on mid grey. With 3 * 400 * 400 values the standard error of their deviation is 0.1%; rounding to grey
    levels adds a variance of 1/12, below 0.1% of the strengths here."""
    grey = Image.new("RGB", (400, 400), (128, 128, 128))
    for sigma in (10, 25):
        noise = np.asarray(change(f"noise:{sigma}", grey), dtype=float) - 128
        assert noise.std() == pytest.approx(sigma, rel=0.005)
        assert abs(noise.mean()) < 5 * sigma / np.sqrt(noise.size)
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02  # channels are independent


def test_noise_follows_from_the_sample_alone(picture):
    noise = parse_variant("noise:25")
    one, two = noise.apply("", (picture, picture), key="q1")[1]
    np.random.seed(7)
    (again,) = noise.apply("another text", (picture,), key="q1")[1]
    (other,) = noise.apply("", (picture,), key="q2")[1]
    assert one.tobytes() == again.tobytes()
    assert len({one.tobytes(), two.tobytes(), other.tobytes()}) == 3


def test_noise_is_the_same_on_every_machine():
    """Recorded bytes."""
    noisy = change("noise:25", Image.new("RGB", (8, 8), (128, 128, 128)))
    assert hashlib.sha256(noisy.tobytes()).hexdigest()[:16] == "3eab942db5636217"


def test_jpeg_is_pils_round_trip(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=20)
    assert change("jpeg:20", picture).tobytes() == Image.open(file).tobytes()


def test_blur_is_pils_filter(picture):
    assert change("blur:2", picture).tobytes() == picture.filter(ImageFilter.GaussianBlur(2)).tobytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is this?", "what is this?"),
        ("what does <image 1> show?", "what does show?"),
        ("what is shown in <image 12>?", "what is shown in?"),
        ("<image 1>\nwhat is this?", "what is this?"),
        ("<image 1> <image 2>\n\nwhich is larger?\nA. <image 3>\nB. none", "which is larger?\nA.\nB. none"),
        ("compare<image 1>and <image 2><image 3>, (see <image 4>) now", "compare and, (see) now"),
        ("first\n\n  second  line\n<image 1>\nthird", "first\n\n  second  line\nthird"),
    ],
)
def test_question_only(text, expected, picture):
    assert parse_variant("question_only").apply(text, (picture,), key="q1") == (expected, ())


@pytest.mark.parametrize(
    ("text", "captions", "expected"),
    [
        ("what is this?", ["a cat "], "[Image: a cat]\nwhat is this?"),
        ("what does <image 1> show?", ["a cat"], "what does [Image: a cat] show?"),
        ("is <image 2> like it?", ["a cat", "a dog"], "[Image: a cat]\nis [Image: a dog] like it?"),
        ("<image 1>, <image 1>, <image 2>", [r"\1 {x}"], r"[Image: \1 {x}], [Image: \1 {x}], <image 2>"),
        ("no image", [], "no image"),
    ],
)
def test_caption_in_place_of_the_image(text, captions, expected, picture):
    images = (picture,) * len(captions)
    assert parse_variant("caption").apply(text, images, key="q1", captions=tuple(captions)) == (expected, ())


def test_missing_captions_are_one_line(picture):
    for captions, count in ((None, 0), (("a",), 1)):
        with pytest.raises(ReLopeError, match=rf"one caption per image: 'q1' has 2 images and {count} captions"):
            parse_variant("caption").apply("?", (picture, picture), key="q1", captions=captions)


WRONG = ("nois:25", "noise", "noise:", "noise:-1", "noise:256", "noise:nan", "noise:loud", "jpeg:0", "jpeg:96",
         "jpeg:20.5", "blur:-1", "blur:inf", "caption:3", "question_only:", ":", "sepia")  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_wrong_variants_say_what_there_is(text):
    with pytest.raises(ReLopeError, match=rf"^no variant '{text}'.* jpeg:N \(quality, a whole number, 1 to 95\), .*"):
        parse_variant(text)


def test_a_misspelt_kind_gets_a_hint():
    with pytest.raises(ReLopeError, match="did you mean 'question_only'"):
        parse_variant("question-only")
    with pytest.raises(ReLopeError, match="no variant 'blur:200'; it can be"):
        Variant("blur", 200)


def test_captions_are_read_by_sample(tmp_path):
    path = tmp_path / "captions.jsonl"
    lines = [
        {"id": "q1", "caption": "a cat"},
        {"id": 2, "captions": ["a", "b"], "model": "x"},
        {"id": "q3", "captions": []},
    ]
    path.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    assert load_captions(path) == {"q1": ("a cat",), "2": ("a", "b"), "q3": ()}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a row of named fields"),
        ('{"caption": "a"}', "needs the field 'id'"),
        ('{"id": "q2"}', "needs the field 'id', and 'captions'"),
        ('{"id": "q2", "caption": "a", "captions": ["a"]}', "needs the field 'id', and 'captions'"),
        ('{"id": "q2", "captions": "a"}', "a caption is not text"),
        ('{"id": "q2", "caption": " "}', "a caption is not text, or is empty"),
        ('{"id": "q1", "caption": "a"}', "the id 'q1' appears more than once"),
    ],
)
def test_a_bad_line_is_named(line, reason, tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text(f'{{"id": "q1", "caption": "a"}}\n{line}\n')
    with pytest.raises(ReLopeError, match=rf"captions\.jsonl:2:? ?{reason}"):
        load_captions(path)


def test_captions_that_cannot_be_read(tmp_path):
    with pytest.raises(ReLopeError, match=r"cannot read .*none.jsonl: No such file"):
        load_captions(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    with pytest.raises(ReLopeError, match="not UTF-8"):
        load_captions(tmp_path / "latin.jsonl")


def test_loads_without_torch():
    code = "import sys, extract.queries.variants; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
