"""The absorbed block against transformers and PEFT, for every family, on the production path: processor, chat template,
prefill hooks, exported block. Tolerances: both sides compute in float32 with different summation orders, which costs
about 1e-6 relative; 1e-5 for z and 1e-4 for gradients leave one order of magnitude."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import peft
import pytest
import torch
from PIL import Image

from extract.backbone.batching import PromptLengths
from extract.backbone.capture import Capture
from extract.backbone.dump_block import dump_block, dump_layer
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.prompts import build_inputs, image_spans, image_token_id
from extract.spec import ModelSpec
from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import gather, with_key_cache
from relope_jax.block.peft import load_peft, save_peft
from relope_jax.block.reference import last_token_block_reference
from relope_jax.block.spec import LoRASpec, by_module, projection_shape
from relope_jax.errors import ReLopeError
from relope_jax.models.padding import padded_length, to_device
from relope_jax.models.replay import replay_block
from tests.extract import tiny_models as tiny

pytestmark = [  # raised by PaliGemma's processor and by PEFT's own code
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


class Case(NamedTuple):
    """A tiny model and the layer under test."""

    save: Any
    layer: int = 2
    attention: str = "sdpa"
    load: Any = load_backbone


QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": 6, "layer_types": ["sliding_attention"] * 3}
YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
CASES = {
    "llava": Case(tiny.save_llava),
    "idefics3": Case(tiny.save_idefics3),
    "qwen2_vl": Case(tiny.save_qwen2_vl),
    "qwen2_5_vl": Case(tiny.save_qwen2_5_vl),
    "qwen3_vl": Case(tiny.save_qwen3_vl),
    "gemma3_sliding": Case(tiny.save_gemma3),
    "gemma3_global": Case(tiny.save_gemma3, layer=3),
    "paligemma2": Case(tiny.save_paligemma2, attention="eager"),
    "mistral3": Case(tiny.save_mistral3),
    "pixtral": Case(tiny.save_pixtral),
    "mistral3_window": Case(functools.partial(tiny.save_mistral3, window=6)),
    "qwen2_5_vl_window": Case(functools.partial(tiny.save_qwen2_5_vl, **QWEN_WINDOW)),
    "llama_biases_yarn": Case(functools.partial(tiny.save_llava, attention_bias=True, mlp_bias=True, **YARN)),
    "phi4_multimodal": Case(tiny.save_phi4_multimodal, load=tiny.load_phi4),
}


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


QUERIES = [
    ("what is this?", picture(0, (60, 90))),
    ("a much longer question about the second picture, which has another shape", picture(1, (110, 70))),
    ("no image here", None),
    ("x", picture(2, (56, 56))),
]


class Subject(NamedTuple):
    """A loaded tiny model, the layer, and queries that it accepts."""

    name: str
    backbone: Backbone
    layer: int
    queries: list


@pytest.fixture(scope="module", params=CASES)
def subject(request, toy, tmp_path_factory) -> Subject:
    case = CASES[request.param]
    folder = case.save(tmp_path_factory.mktemp("tiny"), copy.deepcopy(toy.tokenizer))
    backbone = case.load(ModelSpec(name=str(folder), device="cpu", attention=case.attention))
    queries = [q for q in QUERIES if q[1] is not None or request.param != "paligemma2"]  # takes no text-only query
    return Subject(request.param, backbone, case.layer, queries)


@contextlib.contextmanager
def padding(backbone: Backbone, side: str):
    before = backbone.tokenizer.padding_side
    backbone.tokenizer.padding_side = side
    yield
    backbone.tokenizer.padding_side = before


def prefill(subject: Subject, inputs, *, generate: bool = False, stop_after: bool = False, backbone=None):
    backbone = backbone or subject.backbone
    caught = Capture(backbone, [subject.layer], inputs["attention_mask"], stop_after=stop_after)
    with torch.inference_mode(), caught:
        if generate:
            backbone.model.generate(**inputs, max_new_tokens=2, do_sample=False)
        else:
            backbone.model(**inputs)
    return caught.states(subject.layer)


@pytest.fixture(scope="module")
def states(subject):
    """Left-padded prompts, captured while the model answers, as in an extraction."""
    return prefill(subject, build_inputs(subject.backbone, subject.queries), generate=True)


def test_prompt_lengths_are_exact(subject):
    """The lengths used to form batches, computed without running the processor on the images."""
    lengths = PromptLengths(subject.backbone)
    expected = build_inputs(subject.backbone, subject.queries)["attention_mask"].sum(dim=1).tolist()
    assert [lengths(text, [] if image is None else [image.size]) for text, image in subject.queries] == expected


@pytest.fixture(scope="module")
def block(subject):
    return dump_block(subject.backbone, subject.layer)


def token_batch(states, block=None):
    on_device = to_device(states)
    if block is not None:
        on_device = with_key_cache(on_device, block)
    return gather(on_device, jnp.arange(len(states), dtype=jnp.int32), padded_length(states))


def z_of(block, states, adapters=None):
    return last_token_block(block.spec, block.weights, adapters or {}, token_batch(states))


def relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def test_frozen_block(subject, states, block):
    """Prompts of different lengths, with images of different shapes and without images."""
    assert len(set(states.lengths)) > 2
    assert relative(z_of(block, states), states.last_hidden) < 1e-5
    cached = last_token_block(block.spec, block.weights, {}, token_batch(states, block))
    assert relative(cached, states.last_hidden) < 1e-5
    plain = last_token_block_reference(block.spec, block.weights, {}, token_batch(states))
    assert relative(plain, states.last_hidden) < 1e-5
    # The neighbouring layer differs, so the comparison can fail.
    other = dump_block(subject.backbone, subject.layer % 3 + 1)
    assert relative(z_of(other, states), states.last_hidden) > 1e-2


def test_right_padding(subject, states, block):
    """Right padding gives the same states as left padding, and the same parity."""
    with padding(subject.backbone, "right"):
        inputs = build_inputs(subject.backbone, subject.queries)
    assert not inputs["attention_mask"][:, -1].all()
    right = prefill(subject, inputs)
    np.testing.assert_array_equal(right.lengths, states.lengths)
    assert relative(right.last_hidden, states.last_hidden) < 1e-5
    assert relative(z_of(block, right), right.last_hidden) < 1e-5


def test_prompt_of_one_token(subject, block):
    ids = build_inputs(subject.backbone, subject.queries[:1])["input_ids"][:, -1:]
    states = prefill(subject, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert states.lengths.tolist() == [1]
    assert relative(z_of(block, states), states.last_hidden) < 1e-5


def test_every_feature_of_the_family_matters(subject, states, block):
    """Without any one feature in which the family differs from Llama, z differs, so parity tests all of them."""
    spec, weights = block.spec, block.weights
    plain = {"window": None, "softcap": None, "rope_scaling": 1.0}
    specs = [dataclasses.replace(spec, **{k: v}) for k, v in plain.items() if getattr(spec, k) != v]
    variants = [(changed, weights) for changed in specs]
    for name in weights:
        if name.endswith((".bias", "norm")) or name == "frequencies":
            variants.append((spec, weights | {name: weights[name][..., ::-1].copy()}))
    if spec.rope_axes == 3 and spec.window is None:  # the last few tokens are text, whose axes are equal
        one_axis = weights["frequencies"].sum(axis=0, keepdims=True).repeat(3, axis=0) / 3
        variants.append((spec, weights | {"frequencies": one_axis.astype(np.float32)}))
    for changed, other in variants:
        z = last_token_block(changed, other, {}, token_batch(states))
        assert relative(z, states.last_hidden) > 1e-4, [k for k in other if other[k] is not weights[k]]


def test_specs(subject, states, block):
    """The features that distinguish the families are read from the models, and the inputs exercise them."""
    spec, name = block.spec, subject.name
    assert spec.rope_axes == (3 if "qwen" in name else 2 if "phi4" in name else 1)
    qwen2 = name.startswith("qwen2")
    assert spec.biases == (tuple(block.modules) if "biases" in name else ("q", "k", "v") if qwen2 else ())
    assert spec.qk_norm == name.startswith(("gemma3", "qwen3"))
    assert spec.output_norms == ("gemma" in name)
    assert spec.window == (6 if name.endswith(("sliding", "window")) else None)
    assert (spec.rope_dim < spec.head_dim) == (name == "phi4_multimodal")
    assert (spec.rope_scaling != 1.0) == (name in ("phi4_multimodal", "llama_biases_yarn"))
    assert set(block.modules.values()) <= dict(subject.backbone.model.named_modules()).keys()
    assert spec.window is None or states.lengths.min() > spec.window
    if "qwen" in name:
        assert (np.ptp(states.positions, axis=1) > 0).any()


@pytest.mark.parametrize("subject", ["phi4_multimodal"], indirect=True)
def test_longrope_follows_the_batch(subject, block):
    """A short prompt alone uses Phi-4's short factors, and in a batch with a long prompt the long ones; both replay."""
    short = prefill(subject, build_inputs(subject.backbone, [subject.queries[2]]), generate=True)
    together = prefill(subject, build_inputs(subject.backbone, subject.queries), generate=True).select(np.array([2]))
    assert (short.positions[:, 0].max(), short.positions[:, 1].max()) == (len(short.hidden) - 1, 0)
    assert (together.positions[:, 0].max(), together.positions[:, 1].max()) == (0, len(short.hidden) - 1)
    assert relative(z_of(block, short), short.last_hidden) < 1e-5
    assert relative(z_of(block, together), together.last_hidden) < 1e-5
    assert relative(together.last_hidden, short.last_hidden) > 1e-2


def test_bfloat16_states(states, block):
    """Storing Z^(l-1) in bfloat16 rounds every entry by at most 2^-8 relative (8 significant bits). The residual passes
    this on: at most 2^-8 of the largest entry of z. The update sums over independent roundings through projections of
    about unit gain and norms that preserve relative errors, which adds at most the same again."""
    rounded = dataclasses.replace(states, hidden=states.hidden.astype(ml_dtypes.bfloat16))
    error = relative(z_of(block, rounded), states.last_hidden)
    assert 1e-5 < error < 2**-7


def test_bfloat16_model(subject):
    """A bfloat16 model rounds every intermediate to 8 significant bits (at most 2^-8 relative). A block chains about
    ten roundings, whose errors add up to a few percent of its update at worst."""
    half = dataclasses.replace(subject.backbone, model=copy.deepcopy(subject.backbone.model).to(torch.bfloat16))
    half = dataclasses.replace(half, decoder=half.model.get_decoder())
    inputs = build_inputs(half, subject.queries)
    states = prefill(subject, inputs, generate=True, backbone=half)
    block = dump_block(half, subject.layer)
    assert str(block.weights["q.weight"].dtype) == "bfloat16"
    replay = replay_block(block, states, "bfloat16")
    assert 1e-4 < replay.largest < replay.tolerance


# transformers normalises the hidden states of the last layer, which is the layer under test in "gemma3_global".
@pytest.mark.parametrize("subject", [name for name in CASES if name != "gemma3_global"], indirect=True)
def test_hidden_states_are_transformers_own(subject, states):
    """Z^(l-1) equals `hidden_states[l-1]` of a plain forward pass, and z_n^(l) `hidden_states[l]`."""
    queries = subject.queries
    if subject.name == "phi4_multimodal":  # transformers loses Phi-4's image features when it records hidden states
        queries = [query for query in queries if query[1] is None]
        states = prefill(subject, build_inputs(subject.backbone, queries), generate=True)
    inputs = build_inputs(subject.backbone, queries)
    model = copy.deepcopy(subject.backbone.model)  # recording hidden states leaves hooks behind
    with torch.inference_mode():
        hidden = model(**inputs, output_hidden_states=True).hidden_states
    keep = inputs["attention_mask"].bool()
    compared = slice(None)
    if subject.name == "qwen3_vl":  # adds image features between layers, after hidden_states are recorded
        compared = (inputs["input_ids"] != image_token_id(subject.backbone.model.config))[keep].numpy()
    assert relative(states.hidden[compared], hidden[subject.layer - 1][keep][compared]) < 1e-5
    assert relative(states.last_hidden, hidden[subject.layer][:, -1]) < 1e-5


def test_stopping_after_the_layer_gives_the_same_states(subject, states):
    reached = []
    last = subject.backbone.decoder.norm
    hook = last.register_forward_hook(lambda *_: reached.append(True))
    again = prefill(subject, build_inputs(subject.backbone, subject.queries), stop_after=True)
    hook.remove()
    assert relative(again.last_hidden, states.last_hidden) < 1e-5
    assert not reached


def test_image_span(subject):
    backbone = subject.backbone
    inputs = build_inputs(backbone, subject.queries)
    is_image = inputs["input_ids"] == image_token_id(backbone.model.config)
    spans = image_spans(backbone, inputs, [int(image is not None) for _, image in subject.queries])
    for row, (_, image) in enumerate(subject.queries):
        start, count, height, width = spans[row]
        assert (count > 0) == (image is not None)
        if image is not None:
            tokens = is_image[row][inputs["attention_mask"][row].bool()]
            assert tokens[start]
            assert int(tokens.sum()) == count
            # Tiles, or breaks between rows: there is no single grid.
            no_grid = subject.name.startswith(("idefics3", "mistral3", "pixtral", "phi4"))
            assert height * width == (0 if no_grid else count)
    if "qwen" in subject.name:
        assert spans[0][2:] != spans[1][2:]


def projections(model, block):
    """`{module: the PEFT layer}` of the block's projections."""
    modules = dict(model.named_modules())
    return {module: modules[module] for module in by_module(block.modules)}


def layer_output(subject, model, inputs):
    """The output of decoder layer l for the last prompt token, with gradients."""
    caught = []
    layer = model.get_decoder().layers[subject.layer - 1]
    hook = layer.register_forward_hook(lambda _m, _a, out: caught.append(out[0] if isinstance(out, tuple) else out))
    model(**inputs)
    hook.remove()
    return caught[0][:, -1]


def split(block, fused):
    """Adapters of our projections from a PEFT layer's A and B per module; alpha / r = 2."""
    adapters = {}
    for module, names in by_module(block.modules).items():
        a, b = fused[module]
        rows = np.cumsum([projection_shape(block.spec, name)[0] for name in names])[:-1]
        adapters |= {name: (a, 2.0 * part) for name, part in zip(names, jnp.split(b, rows), strict=True)}
    return adapters


@pytest.mark.parametrize(
    ("rank", "cached"),
    [(4, True), pytest.param(4, False, marks=pytest.mark.slow), pytest.param(64, True, marks=pytest.mark.slow)],
)
def test_lora_with_peft(subject, block, rank, cached):
    """z and every LoRA gradient with a random adapter on all projections. Rank 64 is wider than the keys."""
    inputs = build_inputs(subject.backbone, subject.queries)
    states = prefill(subject, inputs)
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=sorted(set(block.modules.values())), init_lora_weights=False
    )
    model = peft.get_peft_model(copy.deepcopy(subject.backbone.model), config).get_base_model()
    layers = projections(model, block)
    theirs = layer_output(subject, model, inputs)
    direction = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(0))
    (theirs * direction).sum().backward()

    params = {
        module: (jnp.asarray(p.lora_A["default"].weight.detach()), jnp.asarray(p.lora_B["default"].weight.detach()))
        for module, p in layers.items()
    }
    batch = token_batch(states, block if cached else None)

    def z(params):
        return last_token_block(block.spec, block.weights, split(block, params), batch)

    assert relative(z(params), theirs.detach()) < 1e-5
    assert relative(states.last_hidden, theirs.detach()) > 1e-2  # the adapter has an effect
    gradients = jax.grad(lambda p: jnp.sum(z(p) * jnp.asarray(direction)))(params)
    for module, layer in layers.items():
        for ours, weight in zip(gradients[module], (layer.lora_A, layer.lora_B), strict=True):
            assert relative(ours, weight["default"].weight.grad) < 1e-4, module


@pytest.mark.parametrize(
    ("targets", "rslora"), [(("q", "k", "v", "o", "gate", "up", "down"), False), (("k", "up"), True)]
)
def test_export_loads_in_peft(subject, block, tmp_path, targets, rslora):
    """Our adapter -> PEFT checkpoint -> PeftModel on the original model -> the same z; and back."""
    spec = LoRASpec(rank=3, alpha=6.0, targets=targets, rslora=rslora)
    rng = np.random.default_rng(0)
    matrices = {}
    for name in targets:
        fan_out, fan_in = projection_shape(block.spec, name)
        a, b = rng.normal(size=(3, fan_in)) / np.sqrt(fan_in), 0.3 * rng.normal(size=(fan_out, 3))
        matrices[name] = (a.astype(np.float32), b.astype(np.float32))
    inputs = build_inputs(subject.backbone, subject.queries)
    states = prefill(subject, inputs)
    z = z_of(block, states, {name: (a, jnp.float32(spec.scale) * b) for name, (a, b) in matrices.items()})

    folder = tmp_path / "adapter"
    save_peft(folder, block, spec, matrices, base_model=subject.backbone.spec.name, below="vision")
    assert "after merging its adapter 'vision'" in (folder / "README.md").read_text()
    wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(subject.backbone.model), folder)
    with torch.inference_mode():
        theirs = layer_output(subject, wrapped.get_base_model(), inputs)
    assert relative(z, theirs) < 1e-5
    assert relative(z, states.last_hidden) > 1e-2  # not the base model

    assert relative(z_of(block, states, load_peft(folder, block)), z) < 1e-6
    saved = tmp_path / "saved_by_peft"
    wrapped.save_pretrained(saved)
    assert relative(z_of(block, states, load_peft(saved, block)), z) < 1e-6

    with pytest.raises(ReLopeError, match="already exists"):
        save_peft(folder, block, spec, matrices)
    other = dump_block(subject.backbone, subject.layer % 3 + 1)
    with pytest.raises(ReLopeError, match=r"also changes .* not in layer"):
        load_peft(folder, other)


def test_active_adapters_are_merged(subject, tmp_path):
    """A model with an active adapter (Phi-4's vision LoRA) exports its effective weights; an inactive adapter is
    ignored."""
    model = copy.deepcopy(subject.backbone.model)
    plain = dump_block(subject.backbone, subject.layer)
    names = sorted(set(plain.modules.values()))
    torch.manual_seed(0)
    model.add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=names, init_lora_weights=False), "vision")
    backbone = dataclasses.replace(subject.backbone, model=model, decoder=model.get_decoder())
    states = prefill(subject, build_inputs(backbone, subject.queries), backbone=backbone)
    block = dump_block(backbone, subject.layer)
    assert block.modules == plain.modules
    assert relative(z_of(block, states), states.last_hidden) < 1e-5
    assert relative(z_of(plain, states), states.last_hidden) > 1e-2
    model.disable_adapters()
    off = dump_block(backbone, subject.layer)
    for name, weight in plain.weights.items():
        np.testing.assert_array_equal(off.weights[name], weight)


def test_layer_out_of_range_is_one_line(subject):
    with pytest.raises(ReLopeError, match="decoder layers 1 to 3"):
        subject.backbone.layer(4)


def test_every_weight_maps_by_one_rule(subject):
    """Weights that are unmapped, missing or mapped twice are errors that name them."""
    layer, backbone = subject.backbone.layer(subject.layer), subject.backbone
    layer.extra = torch.nn.Linear(2, 2)
    try:
        with pytest.raises(ReLopeError, match=r"no rule .* 'extra\.bias'"):
            dump_block(backbone, subject.layer)
    finally:
        del layer.extra

    def dump_with(**rules):
        return dump_block(dataclasses.replace(backbone, family=dataclasses.replace(backbone.family, **rules)), 2)

    modules, norms = backbone.family.modules, backbone.family.norms
    with pytest.raises(ReLopeError, match=r"maps .*o and down to 'mlp\.down_proj\.weight'"):
        dump_with(modules=modules | {"o": modules["down"]})
    with pytest.raises(ReLopeError, match=r"mlp_norm to 'input_layernorm\.weight', which is taken or absent"):
        dump_with(norms=norms | {"mlp_norm": norms["input_norm"]})
    with pytest.raises(ReLopeError, match=r"has no weight 'mlp\.nothing\.weight' for down"):
        dump_with(modules=modules | {"down": "mlp.nothing"})


def test_what_no_spec_expresses_is_refused(subject):
    """RoPE that changes with the prompt, bidirectional text, and a soft cap that sdpa would omit."""
    layer = subject.backbone.decoder_layer(subject.layer)
    family, config = subject.backbone.family, layer.config
    if subject.name == "llava":
        rotary = copy.deepcopy(layer.rotary)
        rotary.rope_type = "dynamic"
        with pytest.raises(ReLopeError, match="RoPE of type 'dynamic' changes with the prompt's length"):
            dump_layer(family, dataclasses.replace(layer, rotary=rotary))
    config = copy.deepcopy(config)
    if subject.name == "gemma3_sliding":
        config.use_bidirectional_attention = True
        with pytest.raises(ReLopeError, match="bidirectional"):
            dump_layer(family, dataclasses.replace(layer, config=config))
    if subject.name == "paligemma2":
        config._attn_implementation = "sdpa"
        with pytest.raises(ReLopeError, match=r"set --config\.model\.attention=eager"):
            dump_layer(family, dataclasses.replace(layer, config=config))
    if "gemma" in subject.name:  # a legacy field that the model ignores
        config.use_bidirectional_attention, config.hidden_act = False, "gelu"
        config._attn_implementation = "eager"
        dumped = dump_layer(family, dataclasses.replace(layer, config=config))
        assert dumped.spec.activation == "gelu_pytorch_tanh"


def test_unsupported_layer_is_refused_by_name():
    from extract.backbone.families import family_of

    with pytest.raises(ReLopeError, match=r"class Linear are not supported; supported: llama .*phi4_multimodal"):
        family_of(torch.nn.Linear(2, 2))
