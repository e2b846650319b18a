"""The size at which images are shown, in each family's terms, and their number of tokens."""

from __future__ import annotations

import copy
import dataclasses
import json
import types

import pytest
from PIL import Image

from extract.backbone import batching
from extract.backbone.batching import PromptLengths
from extract.backbone.families.image_size import limit_images
from extract.backbone.load import load_backbone
from extract.backbone.prompts import build_inputs, image_token_id
from extract.job import extraction, token_counts
from extract.job.open import open_or_extract
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from tests.extract import tiny_models as tiny
from tests.extract.job.plans import asking, save_pictures
from tests.selection import first

SIZES = [(300, 300), (600, 150), (90, 500), (28, 28)]
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
UNITS = dict.fromkeys(QWEN, 28) | {"mistral3": 14, "pixtral": 7, "idefics3": 28}  # side of one image token in pixels
FIXED = ("llava", "gemma3", "paligemma2")


@pytest.fixture(scope="module")
def folders(toy, tmp_path_factory):
    """Tiny models, saved on first use."""
    saved = {}

    def folder(family: str):
        if family not in saved:
            path = tmp_path_factory.mktemp(family)
            saved[family] = getattr(tiny, f"save_{family}")(path, copy.deepcopy(toy.tokenizer))
        return str(saved[family])

    return folder


def load(folder: str, family: str, **limits):
    attention = "eager" if family == "paligemma2" else "sdpa"
    return load_backbone(ModelSpec(name=folder, device="cpu", attention=attention, **limits))


def counts(backbone) -> list[int]:
    """Image tokens of a picture of every size."""
    lengths = PromptLengths(backbone)
    return [lengths.image_tokens(size).count for size in SIZES]


@pytest.mark.parametrize("family", first(2, UNITS))
@pytest.mark.parametrize("side", [2, 3])
def test_max_pixels_bounds_the_image_tokens(folders, family, side):
    """For every shape, the shown area is at most max_pixels. Idefics3 adds a downscaled copy of the whole image."""
    unit = UNITS[family]
    own = counts(load(folders(family), family))
    limited = counts(load(folders(family), family, max_pixels=(side * unit) ** 2 + 1))
    copies = 1 if family == "idefics3" and side > 1 else 0
    assert max(limited) - copies <= side**2
    assert max(limited) <= max(own)
    if family != "idefics3" or side == 1:  # its own limit is two tiles
        assert sum(limited) < sum(own)
    assert all(count >= 1 for count in limited)


def test_one_tile_is_no_splitting(folders):
    assert set(counts(load(folders("idefics3"), "idefics3", max_pixels=28 * 28))) == {1}


@pytest.mark.parametrize("family", first(1, QWEN))
def test_min_pixels_enlarges_small_images(folders, family):
    small = SIZES.index((28, 28))
    own = counts(load(folders(family), family))
    enlarged = counts(load(folders(family), family, min_pixels=84 * 84))
    assert own[small] == 4  # 56 x 56, the model's own
    assert enlarged[small] == 9
    beyond = load(folders(family), family, min_pixels=140 * 140)  # above the model's own maximum
    assert min(counts(beyond)) > 16 >= max(own)
    below = load(folders(family), family, max_pixels=28 * 28)  # below the model's own minimum
    assert max(counts(below)) <= 2  # a long one keeps its shape in whole tokens
    between = load(folders(family), family, min_pixels=56 * 56, max_pixels=56 * 56)
    assert max(counts(between)) <= 4


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("family", [*UNITS, *FIXED])
def test_measured_image_tokens_are_those_of_the_prompt(folders, family):
    backbone = load(folders(family), family, **({} if family in FIXED else {"max_pixels": 56 * 56}))
    for size, count in zip(SIZES, counts(backbone), strict=True):
        ids = build_inputs(backbone, [("what is this?", Image.new("RGB", size))])["input_ids"]
        assert int((ids == image_token_id(backbone.model.config)).sum()) == count


@pytest.mark.parametrize("family", FIXED)
@pytest.mark.parametrize("field", ["min_pixels", "max_pixels"])
def test_fixed_size_is_one_line(folders, family, field):
    with pytest.raises(
        ReLopeError, match=r"has a fixed image size \(\w+ImageProcessor\): leave min_pixels and"
    ) as error:
        load(folders(family), family, **{field: 100_000})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["mistral3", "pixtral", "idefics3"])
def test_no_smallest_size_is_one_line(folders, family):
    with pytest.raises(ReLopeError, match=r"has no smallest image size: leave model.min_pixels at 0"):
        load(folders(family), family, min_pixels=3136)


@pytest.mark.parametrize("family", UNITS)
def test_limit_below_one_token_is_one_line(folders, family):
    unit = UNITS[family]
    with pytest.raises(ReLopeError, match=rf"model.max_pixels is 10; .* needs at least {unit**2}, one "):
        load(folders(family), family, max_pixels=10)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_pixels": -1}, "model.max_pixels is -1; it must be at least 0"),
        ({"min_pixels": -1}, "model.min_pixels is -1; it must be at least 0"),
        ({"min_pixels": 5000, "max_pixels": 4000}, "model.min_pixels is 5000, above model.max_pixels, 4000"),
    ],
)
def test_limits_that_make_no_sense_are_one_line(limits, message):
    with pytest.raises(ReLopeError, match=message):
        ModelSpec(**limits)


@pytest.mark.parametrize(("max_pixels", "crops"), [(448 * 448, 1), (4 * 448 * 448, 4), (10**6, 4)])
def test_phi4_counts_crops(max_pixels, crops):
    """Its image processor needs torchvision, so only the fields are checked."""
    images = type("Phi4MultimodalImageProcessor", (), {"size": {"height": 448, "width": 448}, "dynamic_hd": 36})()
    limit_images(types.SimpleNamespace(image_processor=images), ModelSpec(max_pixels=max_pixels))
    assert images.dynamic_hd == crops


def test_tokens_are_printed_before_the_extraction(folders, tmp_path, capsys, monkeypatch):
    """By size, not by image: ten pictures of three sizes, one of them unreadable and skipped."""
    shapes = {f"{i}.png": ((56, 56), (112, 56), (112, 112))[i % 3] for i in range(10)}
    save_pictures(tmp_path, shapes)
    (tmp_path / "9.png").write_bytes(b"no picture")
    rows = [{"question": "what is this?" + " and" * i, "image": name} for i, name in enumerate(shapes)]
    measured, build = [], batching.build_inputs
    monkeypatch.setattr(batching, "build_inputs", lambda *args: measured.append(args) or build(*args))
    store = open_or_extract(asking(tmp_path, folders("qwen2_5_vl"), rows))
    lines = capsys.readouterr().out.splitlines()
    longest, median = store.column("n_tokens").max(), sorted(store.column("n_tokens"))[4]
    assert lines[0] == (
        "images: 4 to 16 tokens each (median 8, over 3 sizes measured), "
        f"prompts: median {median}, longest {longest} tokens (9 of 10 measured); model positions 512"
    )
    assert len(measured) == 3  # each size once, for the line and the extraction together


def test_measuring_takes_seconds_at_most(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(token_counts, "SECONDS", 0.0)
    save_pictures(tmp_path, {f"{i}.png": (40 + i, 40) for i in range(6)})
    rows = [{"question": "what?", "image": f"{i}.png"} for i in range(6)]
    open_or_extract(asking(tmp_path, folders("llava"), rows))
    assert "(1 of 6 measured)" in capsys.readouterr().out


def test_smaller_images_are_another_store(folders, tmp_path):
    save_pictures(tmp_path, {f"{i}.png": (112, 112) for i in range(4)})
    rows = [{"question": f"what is this {i}?", "image": f"{i}.png"} for i in range(4)]
    plan = asking(tmp_path, folders("qwen2_5_vl"), rows)
    large = open_or_extract(plan)
    small_plan = dataclasses.replace(plan, model=dataclasses.replace(plan.model, max_pixels=56 * 56))
    with pytest.raises(ReLopeError, match=r"model.max_pixels: config 3136, store 0"):
        open_or_extract(small_plan)
    small = open_or_extract(dataclasses.replace(small_plan, store=tmp_path / "small"))
    assert set(large.column("image_tokens")) == {16}
    assert set(small.column("image_tokens")) == {4}
    identity = json.loads((tmp_path / "small" / "identity.json").read_text())
    assert (identity["min_pixels"], identity["max_pixels"]) == (0, 3136)
    (tmp_path / "small" / "manifest.json").unlink()
    with pytest.raises(ReLopeError, match=r"started with other settings \(max_pixels: config 0, store 3136"):
        extraction.extract_store(dataclasses.replace(plan, store=tmp_path / "small"))
