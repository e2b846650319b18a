"""Extraction and live prefill see the same picture. Samples without their picture are listed and left out."""

from __future__ import annotations

import base64
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from extract.backbone.load import load_backbone
from extract.backbone.prefill import prefill
from extract.datasets import get_dataset
from extract.imaging.images import LeftOut, read_image
from extract.job.open import open_or_extract
from extract.queries.captions import Captions
from extract.queries.queries import QueryBuilder
from extract.queries.variants import Variant
from extract.sample import Sample
from relope_jax.errors import ReLopeError
from tests.extract.imaging.pictures import encoded, turned_exif
from tests.extract.job.plans import tiny_plan


@pytest.fixture
def plan(tmp_path, toy):
    return tiny_plan(tmp_path, toy.tokenizer)


def odd_images(folder) -> list[str]:
    """A rotated photo, a transparent drawing, 16-bit grey; as files, and one inside the table."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 56, 3), dtype=np.uint8))
    drawing = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (0, 0, 20, 40))
    (folder / "turned.jpg").write_bytes(encoded(photo, "JPEG", exif=turned_exif(6)))
    (folder / "transparent.png").write_bytes(encoded(drawing, "PNG"))
    (folder / "deep.png").write_bytes(encoded(Image.new("I;16", (30, 40), 30000), "PNG"))
    inside = "data:image/png;base64," + base64.b64encode(encoded(drawing, "PNG")).decode()
    return ["turned.jpg", "transparent.png", "deep.png", inside]


def test_odd_images_are_extracted_as_prefill_shows_them_and_missing_ones_are_listed(plan, tmp_path, capsys):
    rows = [
        {"id": f"o{i}", "question": "what?", "answer": "x", "image": image}
        for i, image in enumerate(odd_images(tmp_path))
    ]
    rows += [{"id": "lacks", "question": "what is <image 1>?", "answer": "x"}]
    rows += [{"id": "gone", "question": "what?", "answer": "x", "image": "nowhere.png"}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = dataclasses.replace(plan.dataset, image_cache=str(tmp_path / "cache"))
    plan = dataclasses.replace(plan, dataset=spec)
    store = open_or_extract(plan)
    said = capsys.readouterr().out
    assert "1 of 6 questions cannot be asked and are left out; the first lacks: it places <image 1>" in said
    assert "1 of 5 image files are missing" in said
    failed = {entry["sample_id"]: entry["reason"] for entry in store.manifest.failed}
    assert failed.keys() == {"lacks", "gone"}
    assert failed["lacks"] == "it places <image 1>, and its row has 0 images"
    assert failed["gone"].startswith("unreadable image ")

    backbone = load_backbone(plan.model)
    asked = store.samples.to_pylist()
    assert {row["sample_id"] for row in asked} == {"o0", "o1", "o2", "o3"}
    live = prefill(backbone, [(row["question"], row["images"][0]) for row in asked], layer=2)
    stored = store.states(np.arange(len(asked)))
    assert live.lengths.tolist() == stored.lengths.tolist()
    np.testing.assert_allclose(live.last_hidden, stored.last_hidden, atol=1e-4)
    seen = prefill(backbone, [("what?", read_image(tmp_path / "turned.jpg"))], layer=2)
    given = Image.open(tmp_path / "turned.jpg")
    np.testing.assert_allclose(prefill(backbone, [("what?", given)], layer=2).last_hidden, seen.last_hidden, atol=1e-4)
    given.close()


def test_prefill_names_an_image_that_cannot_be_read(plan, tmp_path):
    with pytest.raises(ReLopeError, match=r"unreadable image .*gone.png: No such file"):
        prefill(load_backbone(plan.model), [("what?", tmp_path / "gone.png")], layer=2)


def test_a_failure_of_the_model_on_one_image_leaves_out_its_question_alone(plan, tmp_path):
    odd_images(tmp_path)
    backbone = load_backbone(plan.model)
    names = ("turned.jpg", "deep.png")
    samples = [Sample(name, "g", "what?", "x", (tmp_path / name,)) for name in names]
    own = Captions(backbone, "", samples)

    def fail(*inputs):
        raise RuntimeError("split_with_sizes expects " + "x" * 500)

    assert isinstance(own.of(samples[0])[0], str)
    backbone.decoder.layers[0].register_forward_pre_hook(fail)
    assert isinstance(own.of(samples[0])[0], str), "described once"
    with pytest.raises(LeftOut, match=r"the model cannot describe .*deep\.png: split_with_sizes") as reason:
        own.of(samples[1])
    assert len(str(reason.value)) < 300


def test_the_length_of_a_prompt_is_that_of_the_turned_image(plan, tmp_path):
    odd_images(tmp_path)
    backbone, dataset = load_backbone(plan.model), get_dataset("jsonl")
    queries = QueryBuilder(backbone, dataset, Variant())
    (tmp_path / "data.jsonl").write_text(json.dumps({"question": "q", "answer": "a", "image": "turned.jpg"}))
    (sample,) = dataset.load(plan.dataset)
    asked = queries.inputs([queries.read(sample)])
    assert queries.length(sample) == asked["input_ids"].shape[1]
