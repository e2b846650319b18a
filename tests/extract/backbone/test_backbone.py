"""A model's adapter is loaded, exported and part of the store's identity; unavailable or unsupported models and
adapters give one clear line."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2Model, LlavaForConditionalGeneration

from extract.backbone.dump_block import dump_block
from extract.backbone.families import family_of
from extract.backbone.load import load_backbone
from extract.backbone.prefill import prefill
from extract.backbone.prompts import build_inputs
from extract.source import adapter_source
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError, first_line
from tests.extract import tiny_models as tiny
from tests.extract.backbone.test_block_parity import QUERIES, relative, z_of

LAYER = 2

# raised by PEFT's own code
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def save_adapter(model, modules: list[str], folder, seed: int = 0) -> None:
    """A random LoRA on `modules`, saved by PEFT."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=modules, init_lora_weights=False)
    peft.get_peft_model(copy.deepcopy(model), config).save_pretrained(folder)


def save_with_adapter(save, load, tokenizer, folder) -> None:
    """A tiny model with a 'vision-lora' on layers below, at and above LAYER in a subfolder, like Phi-4."""
    save(folder, copy.deepcopy(tokenizer))
    backbone = load(ModelSpec(name=str(folder), device="cpu"))
    modules = sorted({name for i in (1, 2, 3) for name in dump_block(backbone, i).modules.values()})
    save_adapter(backbone.model, modules, folder / "vision-lora")


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory):
    """Folder of a tiny LLaVA with an adapter."""
    folder = tmp_path_factory.mktemp("llava")
    save_with_adapter(tiny.save_llava, load_backbone, toy.tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def phi4(toy, tmp_path_factory):
    """Folder of a tiny Phi-4-multimodal with an adapter."""
    folder = tmp_path_factory.mktemp("phi4")
    save_with_adapter(tiny.save_phi4_multimodal, tiny.load_phi4, toy.tokenizer, folder)
    return folder


@pytest.mark.parametrize(("model", "load"), [("llava", load_backbone), ("phi4", tiny.load_phi4)])
@pytest.mark.parametrize("where", ["folder", "subfolder"])
def test_adapter_shapes_the_states_and_the_block(request, model, load, where):
    folder = request.getfixturevalue(model)
    spec = ModelSpec(name=str(folder), device="cpu")
    adapter = "vision-lora" if where == "subfolder" else str(folder / "vision-lora")
    plain, adapted = load(spec), load(dataclasses.replace(spec, adapter=adapter))
    assert not any(parameter.requires_grad for parameter in adapted.model.parameters())
    base, states = (prefill(backbone, QUERIES, LAYER) for backbone in (plain, adapted))
    assert relative(states.hidden, base.hidden) > 1e-2
    assert relative(states.last_hidden, base.last_hidden) > 1e-2
    block = dump_block(adapted, LAYER)
    assert relative(z_of(block, states), states.last_hidden) < 1e-5
    assert relative(z_of(dump_block(plain, LAYER), states), states.last_hidden) > 1e-2
    assert block.modules == dump_block(plain, LAYER).modules


def test_last_layer_is_stored_before_the_final_norm(llava):
    """M3: transformers' last `hidden_states` are normalised; ours are the layer's own output."""
    backbone = load_backbone(ModelSpec(name=str(llava), device="cpu"))
    last = len(backbone.decoder.layers)
    states = torch.from_numpy(prefill(backbone, QUERIES, last).last_hidden)
    with torch.inference_mode():
        theirs = backbone.model(**build_inputs(backbone, QUERIES), output_hidden_states=True).hidden_states[last][:, -1]
        assert relative(backbone.decoder.norm(states), theirs) < 1e-5
    assert relative(states, theirs) > 0.1


def test_adapter_of_a_model_in_bfloat16(llava):
    """Both kinds of weights have the model's dtype, as in a model saved with its adapter."""
    spec = ModelSpec(name=str(llava), device="cpu", dtype="bfloat16", adapter="vision-lora")
    backbone = load_backbone(spec)
    assert {p.dtype for p in backbone.model.parameters()} == {torch.bfloat16}
    states = prefill(backbone, QUERIES, LAYER)
    assert relative(z_of(dump_block(backbone, LAYER), states), states.last_hidden) < 2**-5


def test_adapter_is_part_of_the_identity(llava, tmp_path):
    """Its bytes count, independent of its location."""
    spec = ModelSpec(name=str(llava), adapter="vision-lora")
    moved = shutil.copytree(llava / "vision-lora", tmp_path / "moved")
    assert adapter_source(spec) == adapter_source(dataclasses.replace(spec, adapter=str(moved)))
    weights = load_file(moved / "adapter_model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, moved / "adapter_model.safetensors")
    assert adapter_source(spec) != adapter_source(dataclasses.replace(spec, adapter=str(moved)))
    assert adapter_source(ModelSpec(name="hub/model", adapter="vision-lora")) == "vision-lora"
    assert adapter_source(ModelSpec()) == ""


def test_missing_adapter_is_one_line(llava, tmp_path):
    with pytest.raises(ReLopeError, match=r"no adapter 'speech-lora': neither that folder nor .*speech-lora holds"):
        load_backbone(ModelSpec(name=str(llava), device="cpu", adapter="speech-lora"))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "target_modules": ["q_proj"]}')
    with pytest.raises(ReLopeError, match=r"cannot load the adapter .*adapter_model"):
        load_backbone(ModelSpec(name=str(llava), device="cpu", adapter=str(tmp_path)))
    for text in ("{", "{}", '{"peft_type": "UNHEARD_OF"}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(ReLopeError, match="cannot load the adapter"):
            load_backbone(ModelSpec(name=str(llava), device="cpu", adapter=str(tmp_path)))


def test_missing_peft_is_one_line(llava, monkeypatch):
    monkeypatch.setattr("transformers.utils.peft_utils.is_peft_available", lambda: False)
    with pytest.raises(ReLopeError, match=r"adapter needs the peft package: .* `pip install peft`"):
        load_backbone(ModelSpec(name=str(llava), device="cpu", adapter="vision-lora"))


def test_adapter_of_another_model_is_refused(llava, phi4, tmp_path):
    """Other modules, a missing weight, another shape, and a layer that the model lacks."""
    spec = ModelSpec(name=str(llava), device="cpu")
    with pytest.raises(ReLopeError, match=r"cannot load the adapter .*[Tt]arget modules"):
        load_backbone(dataclasses.replace(spec, adapter=str(phi4 / "vision-lora")))
    other = shutil.copytree(llava / "vision-lora", tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    name = min(weights)
    rest = {key: weight for key, weight in weights.items() if key != name}
    for instead in ({}, {name: weights[name][:, 1:].clone()}, {name.replace("layers.0", "layers.7"): weights[name]}):
        save_file(rest | instead, other / "adapter_model.safetensors")
        with pytest.raises(ReLopeError, match=r"was made for another model .* do not fit, the first '.*lora_A"):
            load_backbone(dataclasses.replace(spec, adapter=str(other)))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(ReLopeError, match="no such folder"):
        load_backbone(ModelSpec(name=str(tmp_path / "nowhere")))
    with pytest.raises(ReLopeError, match="cannot load"):
        load_backbone(ModelSpec(name=str(tmp_path)))


def test_unknown_device_is_one_line():
    with pytest.raises(ReLopeError, match="cannot put toy-mllm on device 'cudaa'"):
        load_backbone(ModelSpec(device="cudaa"))


def test_decoder_without_layers_is_refused(llava, monkeypatch):
    monkeypatch.setattr(LlavaForConditionalGeneration, "get_decoder", lambda self: self.lm_head)
    with pytest.raises(ReLopeError, match=r"its decoder Linear has no list of layers .* supported layers: Llama"):
        load_backbone(ModelSpec(name=str(llava), device="cpu"))


def test_reason_in_a_later_line_is_found():
    """transformers' message about a missing package begins with an empty line."""
    assert first_line(ImportError("\nPixtralProcessor requires the Torchvision library\n")).startswith("Pixtral")
    assert first_line(KeyError()) == "KeyError"


def test_unsupported_layer_is_refused_by_name():
    layer = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16)).h[0]
    with pytest.raises(ReLopeError, match=r"GPT2Block are not supported; supported: llama .*qwen2_5_vl"):
        family_of(layer)
