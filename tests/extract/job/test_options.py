"""Options of an extraction: several layers, variants, labels from another store, several images per question."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.configs import base
from extract.backbone.generate import caption_images, generate
from extract.backbone.load import load_backbone
from extract.backbone.prompts import build_inputs, image_spans
from extract.imaging.places import place_images
from extract.job.open import open_or_extract
from extract.plan import Extraction, plan_from_config
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.models.replay import replay_block
from relope_jax.states.store import Store
from tests.extract import tiny_models
from tests.extract.job.plans import tiny_plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory, toy) -> Extraction:
    return tiny_plan(tmp_path_factory.mktemp("plan"), toy.tokenizer, part_size=10)


@pytest.fixture(scope="module")
def clean(plan) -> Store:
    return open_or_extract(plan)


def changed(plan: Extraction, name: str, *, variant: str = "", captions: str = "", **extract) -> Extraction:
    """The same extraction with other settings, in a separate store."""
    return dataclasses.replace(
        plan,
        store=plan.store.with_name(name),
        dataset=dataclasses.replace(plan.dataset, variant=variant, captions=captions),
        extract=dataclasses.replace(plan.extract, **extract),
    )


def test_several_layers_in_one_pass_are_those_of_single_passes(plan, clean):
    together = changed(plan, "together", layer=2, layers=(1, 3))
    assert open_or_extract(together).identity.layers == [1, 2, 3]
    for layer in (1, 2, 3):
        alone = open_or_extract(changed(plan, f"layer-{layer}", layer=layer))
        store = open_or_extract(changed(plan, "together", layer=layer))  # one layer of a store of three is enough
        assert store.layer == store.block.spec.layer == layer
        states, expected = store.states(), alone.states()
        np.testing.assert_array_equal(states.hidden, expected.hidden)
        np.testing.assert_array_equal(states.last_hidden, expected.last_hidden)
        np.testing.assert_array_equal(store.output_embedding(), alone.output_embedding())
        assert replay_block(store.block, states, "float32").largest < 1e-1
    assert store.samples.equals(clean.samples)
    with pytest.raises(ReLopeError, match=r"extract.layers: config \[1, 2, 3\], store \[2\]"):
        open_or_extract(dataclasses.replace(together, store=plan.store))


def test_answers_come_with_log_probabilities_and_embedding(plan, clean):
    """The columns of a large batch equal those of the model run on single prompts."""
    backbone = load_backbone(plan.model)
    for row, embedding in list(zip(clean.samples.to_pylist(), clean.output_embedding(), strict=True))[::7]:
        inputs = build_inputs(backbone, [(row["question"], Image.open(row["images"][0]).convert("RGB"))])
        alone = generate(backbone, inputs, plan.extract.max_new_tokens)
        answer = alone.answers[0]
        assert row["response"] == answer.text
        np.testing.assert_allclose(row["token_logprobs"], answer.token_logprobs, atol=1e-4)  # another summation order
        assert row["first_token_entropy"] == pytest.approx(answer.first_token_entropy, abs=1e-4)
        np.testing.assert_allclose(embedding, alone.output_embedding[0], atol=1e-4)


@pytest.mark.parametrize("variant", ["noise:60", "jpeg:5", "blur:8"])
def test_changed_images_change_the_states_and_nothing_of_the_question(plan, clean, variant):
    store = open_or_extract(changed(plan, variant.replace(":", "-"), variant=variant))
    assert store.identity.dataset["variant"] == variant
    assert store.column("n_tokens").tolist() == clean.column("n_tokens").tolist()
    assert store.column("sample_id").tolist() == clean.column("sample_id").tolist()
    assert store.column("split").tolist() == clean.column("split").tolist()
    differs = np.abs(store.states().last_hidden - clean.states().last_hidden).max(axis=1)
    assert (differs > 1e-3).all()


def test_question_only_has_no_image(plan, clean):
    store = open_or_extract(changed(plan, "question-only", variant="question_only"))
    assert set(store.column("image_tokens")) == {0}
    assert (store.column("n_tokens") < clean.column("n_tokens")).all()


def test_captions_stand_in_place_of_images(plan, clean, tmp_path):
    """From a file (a question that it lacks is left out), or from the small model itself."""
    ids = clean.column("sample_id").tolist()
    lines = [json.dumps({"id": sample_id, "caption": f"a picture called {sample_id}"}) for sample_id in ids[1:]]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    store = open_or_extract(changed(plan, "caption", variant="caption", captions=str(tmp_path / "captions.jsonl")))
    assert set(store.column("image_tokens")) == {0}
    assert store.column("caption").tolist() == [f"a picture called {sample_id}" for sample_id in ids[1:]]
    assert [entry["sample_id"] for entry in store.manifest.failed] == ids[:1]
    assert "0 captions for its 1 images" in store.manifest.failed[0]["reason"]
    captions, prompts = store.column("caption"), store.samples["prompt"].to_pylist()
    assert all(caption in prompt for caption, prompt in zip(captions, prompts, strict=True))
    own = open_or_extract(changed(plan, "own", variant="caption"))
    assert own.column("sample_id").tolist() == ids
    backbone = load_backbone(plan.model)
    with Image.open(own.samples["images"][3].as_py()[0]) as image:
        assert own.column("caption")[3] == caption_images(backbone, [image.convert("RGB")])[0]
    (tmp_path / "captions.jsonl").write_text(json.dumps({"id": "elsewhere", "caption": "x"}))
    with pytest.raises(ReLopeError, match="captions for none of the samples"):
        open_or_extract(changed(plan, "none", variant="caption", captions=str(tmp_path / "captions.jsonl")))


def test_labels_of_another_store_stay(plan, clean):
    """Nothing is generated; the states are those of the changed images."""
    noisy = open_or_extract(changed(plan, "noisy", variant="noise:60"))
    kept = open_or_extract(changed(plan, "kept", variant="noise:60", labels_from=clean.path))
    assert kept.identity.labels_from == clean.digest
    for name in ("response", "label", "token_logprobs", "first_token_entropy", "final_answer"):
        assert kept.samples[name].equals(clean.samples[name])
    np.testing.assert_allclose(kept.states().last_hidden, noisy.states().last_hidden, rtol=1e-4, atol=1e-4)
    with pytest.raises(ReLopeError, match="has no output embeddings"):
        kept.output_embedding()
    with pytest.raises(ReLopeError, match=r"extract.labels_from"):
        open_or_extract(changed(plan, "kept", variant="noise:60"))
    with pytest.raises(ReLopeError, match="no store at"):
        open_or_extract(changed(plan, "other", labels_from=str(plan.store.with_name("missing"))))
    rows = [json.loads(line) | {"answer": "y"} for line in Path(plan.dataset.path).read_text().splitlines()]
    (plan.store.parent / "other.jsonl").write_text("\n".join(map(json.dumps, rows)))
    other = changed(plan, "other", labels_from=clean.path)
    other = dataclasses.replace(
        other, dataset=dataclasses.replace(other.dataset, path=str(plan.store.parent / "other.jsonl"))
    )
    with pytest.raises(ReLopeError, match="labels for other settings \\(questions: config "):
        open_or_extract(other)


@pytest.mark.parametrize(
    ("text", "n", "order", "kinds"),
    [
        ("what?", 0, [], "t"),
        ("what?", 1, [0], "it"),
        ("<image 2> or <image 1>?", 2, [1, 0], "itit"),
        ("is <image 2> first?", 2, [0, 1], "itit"),
        ("<image 1><image 1>", 1, [0, 0], "ii"),
        ("see <image 3>", 1, [0], "it"),
    ],
)
def test_images_stand_where_the_text_says(text, n, order, kinds):
    content, found = place_images(text, n)
    assert found == order
    assert "".join(piece["type"][0] for piece in content) == kinds
    assert all(piece["text"] for piece in content if piece["type"] == "text")


def test_several_images_a_question(plan, tmp_path):
    """Interleaved as in the text: other places give other states, and every image has its tokens."""
    folder = plan.store.parent
    rows = [
        {"id": "ab", "question": "first <image 1> then <image 2>", "answer": "x", "image": ["1.png", "2.png"]},
        {"id": "ba", "question": "first <image 2> then <image 1>", "answer": "x", "image": ["1.png", "2.png"]},
        {"id": "a", "question": "first <image 1> then nothing", "answer": "x", "image": ["3.png"]},
        {"id": "c", "question": "no image", "answer": "x", "choices": ["x", "yes"]},
    ]
    (folder / "several.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = dataclasses.replace(plan.dataset, path=str(folder / "several.jsonl"))
    store = open_or_extract(dataclasses.replace(plan, store=tmp_path / "store", dataset=dataset))
    tokens = dict(zip(store.column("sample_id"), store.column("image_tokens"), strict=True))
    assert tokens["ab"] == tokens["ba"] == 2 * tokens["a"]
    assert tokens["c"] == 0
    prompts = dict(zip(store.column("sample_id"), store.samples["prompt"].to_pylist(), strict=True))
    assert prompts == {row["id"]: row["question"] for row in rows[:3]} | {
        "c": "no image\nA. x\nB. yes\nAnswer with the letter of the right choice."
    }
    states = store.states()
    assert np.abs(states.last_hidden[0] - states.last_hidden[1]).max() > 1e-3
    grids = dict(zip(store.column("sample_id"), store.column("grid_height"), strict=True))
    assert grids["ab"] == grids["ba"] == grids["c"] == 0  # tokens of two images form no grid
    assert grids["a"] ** 2 == tokens["a"]


def test_grid_of_an_image_after_a_row_with_two(toy, tmp_path):
    """Grids of a processor are counted by image, not by row."""
    folder = tiny_models.save_qwen2_5_vl(tmp_path / "qwen", copy.deepcopy(toy.tokenizer))
    backbone = load_backbone(ModelSpec(name=str(folder), device="cpu"))
    wide, tall = Image.new("RGB", (168, 56)), Image.new("RGB", (56, 140))
    queries = [("<image 1> or <image 2>?", [wide, wide]), ("this?", [tall]), ("none", []), ("that?", [wide])]
    inputs = build_inputs(backbone, queries)
    spans = image_spans(backbone, inputs, [2, 1, 0, 1])
    alone = [image_spans(backbone, build_inputs(backbone, [queries[row]]), [1])[0] for row in (1, 3)]
    assert [(s.grid_height, s.grid_width) for s in spans] == [(0, 0), alone[0][2:], (0, 0), alone[1][2:]]
    assert alone[0].grid_height > alone[0].grid_width
    assert alone[1].grid_height < alone[1].grid_width


def test_stores_of_different_things_have_different_names():
    config = base.get_config()
    names = {plan_from_config(config).store}
    fields = {
        "dataset.variant": "noise:25",
        "extract.layers": (12,),
        "model.adapter": "vision-lora",
        "stores": "s3://bucket/mine/",
    }
    for field, value in fields.items():
        other = base.get_config()
        other.update_from_flattened_dict({field: value})
        names.add(plan_from_config(other).store)
    assert names == {
        "stores/toy-mllm-easy_vqa-l24",
        "stores/toy-mllm-easy_vqa-noise-25-l24",
        "stores/toy-mllm-easy_vqa-l12-24",
        "stores/toy-mllm-vision-lora-easy_vqa-l24",
        "s3://bucket/mine/toy-mllm-easy_vqa-l24",
    }


def test_states_do_not_depend_on_the_batch(plan, clean):
    """One prompt per batch gives the same states as many, up to the summation order of padded rows."""
    single = open_or_extract(changed(plan, "single", token_budget=1))
    np.testing.assert_allclose(single.states().last_hidden, clean.states().last_hidden, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        single.states().hidden.astype(np.float32), clean.states().hidden.astype(np.float32), rtol=2**-7, atol=1e-3
    )
    assert torch.tensor(single.column("n_tokens")).equal(torch.tensor(clean.column("n_tokens")))
