"""The re-expressed block against transformers and PEFT, through the production path: processor, chat
template, prefill hooks, dumped block. Tolerances: both sides compute in float32 and sum in different orders,
which costs about 1e-6 relative; 1e-5 for z and 1e-4 for gradients leave one order of magnitude."""

from __future__ import annotations

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
from PIL import Image

from extract.backbone import load_backbone
from extract.block import dump_block
from extract.capture import Capture
from extract.prompts import build_inputs, image_span
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.models.batch import gather, padded_length, to_device
from relope_jax.models.block import last_token_block
from relope_jax.models.replay import replay_block
from relope_jax.models.spec import PROJECTIONS
from tests.extract.tiny_models import save_llava, save_qwen2_5_vl

LAYER = 2
MODULES = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"} | {n: f"{n}_proj" for n in "qkvo"}


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


QUERIES = [
    ("what is this?", picture(0, (60, 90))),
    ("a much longer question about the second picture, which has another shape", picture(1, (110, 70))),
    ("no image here", None),
    ("x", picture(2, (56, 56))),
]


@pytest.fixture(scope="module", params=[save_llava, save_qwen2_5_vl], ids=["llava", "qwen2_5_vl"])
def backbone(request, toy, tmp_path_factory):
    folder = request.param(tmp_path_factory.mktemp("tiny"), copy.deepcopy(toy.tokenizer))
    return load_backbone(ModelSpec(name=str(folder), device="cpu"))


def capture(backbone):
    inputs = build_inputs(backbone, QUERIES)
    with torch.inference_mode(), Capture(backbone, LAYER) as caught:
        backbone.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    return inputs, caught.states(inputs["attention_mask"])


def token_batch(states):
    return gather(to_device(states), jnp.arange(len(states), dtype=jnp.int32), padded_length(states))


def relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def test_frozen_block(backbone):
    """Left-padded prompts of different lengths, with images of different shapes and without one."""
    _, states = capture(backbone)
    assert len(set(states.lengths)) > 2
    assert states.positions.shape[1] == (3 if backbone.family.name == "qwen2_5_vl" else 1)
    block = dump_block(backbone, LAYER)
    z = last_token_block(block.spec, block.weights, {}, token_batch(states))
    assert relative(z, states.last_hidden) < 1e-5
    # Not the neighbouring layer, and not without its biases: the comparison can fail.
    other = dump_block(backbone, LAYER + 1)
    assert relative(last_token_block(other.spec, other.weights, {}, token_batch(states)), states.last_hidden) > 1e-2


def test_bfloat16_model(backbone):
    """A model in bfloat16 rounds every intermediate to 8 bits of mantissa (2^-9 relative); a block chains
    about ten roundings, whose errors add to a few per cent of its update at worst."""
    half = dataclasses.replace(backbone, model=copy.deepcopy(backbone.model).to(torch.bfloat16))
    half = dataclasses.replace(half, decoder=half.model.get_decoder())
    _, states = capture(half)
    block = dump_block(half, LAYER)
    assert str(block.weights["q.weight"].dtype) == "bfloat16"
    replay = replay_block(block, states, "bfloat16")
    assert 1e-4 < replay.largest < replay.tolerance


def test_hidden_states_are_transformers_own(backbone):
    """Z^(l-1) and z_n^(l) equal `hidden_states[l-1]` and `hidden_states[l]` of a plain forward pass."""
    inputs, states = capture(backbone)
    with torch.inference_mode():
        hidden = backbone.model(**inputs, output_hidden_states=True).hidden_states
    keep = inputs["attention_mask"].bool()
    assert relative(states.hidden, hidden[LAYER - 1][keep]) < 1e-5
    assert relative(states.last_hidden, hidden[LAYER][:, -1]) < 1e-5


def test_stopping_after_the_layer_gives_the_same_states(backbone):
    _, states = capture(backbone)
    inputs = build_inputs(backbone, QUERIES)
    reached = []
    hook = backbone.layer(LAYER + 1).register_forward_hook(lambda *_: reached.append(True))
    with torch.inference_mode(), Capture(backbone, LAYER, stop_after=True) as caught:
        backbone.model(**inputs)
    hook.remove()
    again = caught.states(inputs["attention_mask"])
    assert relative(again.last_hidden, states.last_hidden) < 1e-5
    assert not reached


def test_image_span(backbone):
    inputs, _ = capture(backbone)
    for row, (_, image) in enumerate(QUERIES):
        start, count, height, width = image_span(backbone, inputs, row)
        assert (count > 0) == (image is not None)
        if image is not None:
            ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
            assert set(ids[start : start + count].tolist()) == {backbone.model.config.image_token_id}
            assert height * width == count
    if backbone.family.name == "qwen2_5_vl":
        assert len({image_span(backbone, inputs, row)[2:] for row in (0, 1)}) == 2


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's own
def test_lora_with_peft(backbone):
    """z and every LoRA gradient with a random adapter on all seven projections."""
    inputs, states = capture(backbone)
    block = dump_block(backbone, LAYER)
    model = copy.deepcopy(backbone.model)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=rf".*language_model\.layers\.{LAYER - 1}\..*_proj", init_lora_weights=False
    )
    wrapped = peft.get_peft_model(model, config)
    layer = wrapped.get_base_model().get_decoder().layers[LAYER - 1]
    projections = {
        name: getattr(layer.mlp if name in {"gate", "up", "down"} else layer.self_attn, MODULES[name])
        for name in PROJECTIONS
    }
    caught = []
    hook = layer.register_forward_hook(lambda _m, _a, out: caught.append(out[0] if isinstance(out, tuple) else out))
    wrapped(**inputs)
    hook.remove()
    theirs = caught[0][:, -1]
    direction = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(0))
    (theirs * direction).sum().backward()

    params = {
        name: (jnp.asarray(p.lora_A["default"].weight.detach()), jnp.asarray(p.lora_B["default"].weight.detach()))
        for name, p in projections.items()
    }
    batch = token_batch(states)

    def z_of(params):
        adapters = {name: (a, 2.0 * b) for name, (a, b) in params.items()}  # alpha / r = 2
        return last_token_block(block.spec, block.weights, adapters, batch)

    assert relative(z_of(params), theirs.detach()) < 1e-5
    assert relative(states.last_hidden, theirs.detach()) > 1e-2  # the adapter does something
    gradients = jax.grad(lambda p: jnp.sum(z_of(p) * jnp.asarray(direction)))(params)
    for name, projection in projections.items():
        for ours, weight in zip(gradients[name], (projection.lora_A, projection.lora_B), strict=True):
            assert relative(ours, weight["default"].weight.grad) < 1e-4, name


def test_layer_out_of_range_is_one_line(backbone):
    with pytest.raises(ReLopeError, match="decoder layers 1 to 3"):
        backbone.layer(4)


def test_unmapped_weight_is_refused(backbone):
    layer = backbone.layer(LAYER)
    layer.extra = torch.nn.Linear(2, 2)
    try:
        with pytest.raises(ReLopeError, match=r"extra\.bias"):
            dump_block(backbone, LAYER)
    finally:
        del layer.extra
