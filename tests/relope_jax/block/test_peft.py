"""Checkpoints written by PEFT: plain LoRA is read as PEFT computes it, everything else is refused in one line."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch

from relope_jax.block.peft import CONFIG, WEIGHTS, load_peft
from relope_jax.block.spec import PROJECTIONS, Block, projection_shape
from relope_jax.errors import ReLopeError
from tests.builders import make_block, make_spec

SPEC = make_spec()
MODULES = {name: f"model.layers.1.self_attn.{name}_proj" for name in ("q", "k", "v", "o")}
MODULES |= {name: f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")}
TARGETS = [f"{name}_proj" for name in PROJECTIONS]
pytestmark = [  # PEFT's warnings about its own settings
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def base_model() -> torch.nn.Module:
    """Two layers with the block's projections and random weights."""
    torch.manual_seed(0)
    layers = []
    for _ in range(2):
        layer = torch.nn.Module()
        layer.self_attn, layer.mlp = torch.nn.Module(), torch.nn.Module()
        for name, path in MODULES.items():
            fan_out, fan_in = projection_shape(SPEC, name)
            parent = layer.get_submodule(path.split(".")[-2])
            setattr(parent, f"{name}_proj", torch.nn.Linear(fan_in, fan_out, bias=name == "q"))
        layers.append(layer)
    model, outer = torch.nn.Module(), torch.nn.Module()
    model.layers, outer.model = torch.nn.ModuleList(layers), model
    outer.head = torch.nn.Linear(16, 3)
    outer.config = {"model_type": "custom"}
    return outer


@pytest.fixture(scope="module")
def block() -> Block:
    return dataclasses.replace(make_block(np.random.default_rng(0), SPEC), modules=MODULES)


def save(folder, dtype=torch.float32, **settings):
    """Save an adapter with random matrices on layer 2 with PEFT; returns its model and the weights before."""
    values = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": TARGETS,
        "layers_to_transform": [1],
        "layers_pattern": "layers",
    }
    base = base_model()
    before = {name: base.get_submodule(path).weight.detach().clone() for name, path in MODULES.items()}
    model = peft.get_peft_model(base, peft.LoraConfig(**values | settings))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    model.save_pretrained(folder)
    return model, before


PLAIN = [
    pytest.param({}, id="defaults"),
    pytest.param({"use_rslora": True}, id="rslora"),
    pytest.param({"rank_pattern": {"q_proj": 2, "mlp.down_proj": 6}}, id="rank-pattern"),
    pytest.param({"alpha_pattern": {"v_proj": 3, r".*\.layers\.1\.mlp\.up_proj": 40}}, id="alpha-pattern"),
    pytest.param(
        {"rank_pattern": {"k_proj": 8}, "alpha_pattern": {"k_proj": 1}, "use_rslora": True}, id="all-patterns"
    ),
    pytest.param({"lora_dropout": 0.3}, id="dropout"),
    pytest.param({"target_modules": ["q_proj", "down_proj"]}, id="some-modules"),
    pytest.param({"init_lora_weights": False}, id="random"),
    pytest.param({"init_lora_weights": "gaussian"}, id="gaussian"),
    pytest.param({"init_lora_weights": "orthogonal"}, id="orthogonal"),
    pytest.param({"init_lora_weights": "eva", "eva_config": peft.EvaConfig()}, id="eva"),
    pytest.param({"dtype": torch.bfloat16}, id="bfloat16"),
    pytest.param({"dtype": torch.float16}, id="float16"),
]


@pytest.mark.parametrize("settings", PLAIN)
def test_a_plain_lora_is_what_peft_adds_to_the_weights(settings, block, tmp_path):
    """On every projection, scale * B A is the weight merged by PEFT minus the original weight. PEFT multiplies 16-bit
    matrices in 16 bits."""
    atol = 0.1 if "dtype" in settings else 1e-4
    model, before = save(tmp_path / "adapter", **settings)
    adapters = load_peft(tmp_path / "adapter", block)
    merged = model.merge_and_unload()
    targets = settings.get("target_modules", TARGETS)
    assert {f"{name}_proj" for name in adapters} == set(targets)
    for name, (a, b) in adapters.items():
        added = merged.get_submodule(MODULES[name]).weight.detach() - before[name]
        np.testing.assert_allclose(jnp.matmul(b, a, precision="highest"), added, atol=atol, err_msg=name)


CHANGES_THE_BASE = ["pissa", "pissa_niter_4", "olora"]


@pytest.mark.parametrize("initialisation", CHANGES_THE_BASE)
def test_an_initialisation_that_changes_the_base_is_refused(initialisation, block, tmp_path):
    model, before = save(tmp_path / "adapter", init_lora_weights=initialisation)
    own = model.get_base_model().get_submodule(MODULES["q"]).base_layer.weight.detach()
    assert (own - before["q"]).abs().max() > 1e-3, "PEFT took the adapter out of the model's own weights"
    with pytest.raises(ReLopeError, match=rf"init_lora_weights='{initialisation}', which changes .*conversion") as e:
        load_peft(tmp_path / "adapter", block)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("initialisation", CHANGES_THE_BASE)
def test_what_peft_converted_to_plain_lora_is_read(initialisation, block, tmp_path):
    """The advice in the message works."""
    model = peft.get_peft_model(
        base_model(),
        peft.LoraConfig(
            r=4,
            lora_alpha=6,
            target_modules=TARGETS,
            layers_to_transform=[1],
            layers_pattern="layers",
            init_lora_weights=initialisation,
        ),
    )
    before = base_model().get_submodule(MODULES["q"]).weight.detach()
    initial = tmp_path / "initial"
    model.peft_config["default"].init_lora_weights = True  # as in PEFT's guide
    model.save_pretrained(initial)
    model.peft_config["default"].init_lora_weights = initialisation
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data += 0.1
    model.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=initial)
    a, b = load_peft(tmp_path / "adapter", block)["q"]
    added = model.merge_and_unload().get_submodule(MODULES["q"]).weight.detach() - before
    np.testing.assert_allclose(jnp.matmul(b, a, precision="highest"), added, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"use_dora": True}, r"uses use_dora \(DoRA rescales", id="dora"),
        pytest.param({"bias": "lora_only"}, r"trains biases of the model \(bias='lora_only'\)", id="bias-lora-only"),
        pytest.param({"bias": "all"}, r"trains biases of the model \(bias='all'\)", id="bias-all"),
        pytest.param({"lora_bias": True}, r"uses lora_bias \(it adds a bias\)", id="lora-bias"),
        pytest.param({"modules_to_save": ["head"]}, r"uses modules_to_save \(it replaces", id="modules-to-save"),
        pytest.param(
            {"target_parameters": ["model.layers.1.mlp.up_proj.weight"], "target_modules": ["q_proj"]},
            r"uses target_parameters \(it changes parameters",
            id="target-parameters",
        ),
    ],
)
def test_other_arithmetic_is_refused(settings, message, block, tmp_path):
    save(tmp_path / "adapter", **settings)
    with pytest.raises(ReLopeError, match=message) as e:
        load_peft(tmp_path / "adapter", block)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_lora_weights": "corda"}, "'corda', which changes"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "'loftq', which changes"),
        ({"init_lora_weights": "lora_ga"}, "'lora_ga', which changes"),
        ({"init_lora_weights": "PiSSA"}, "'PiSSA', which changes"),
        ({"init_lora_weights": "of_next_year"}, "'of_next_year', which changes"),
        ({"fan_in_fan_out": True}, "uses fan_in_fan_out"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "uses layer_replication"),
        ({"trainable_token_indices": [0, 1]}, "uses trainable_token_indices"),
        ({"alora_invocation_tokens": [5]}, "uses alora_invocation_tokens"),
        ({"a_setting_of_next_year": {"x": 1}}, "uses a_setting_of_next_year"),
        ({"r": 8}, r"config says rank 8 for .*, and its A has 4 rows"),
        ({"r": None}, "damaged .*r(' is|'$| is |\\))"),
        ({"peft_type": "LOHA"}, "is a LOHA adapter; only LoRA can be read"),
    ],
)
def test_settings_that_cannot_be_made_here_are_refused_by_what_the_config_says(changes, message, block, tmp_path):
    """CorDA, LoftQ and LoRA-GA need data, a quantiser or gradients for initialisation; a config names them."""
    save(tmp_path / "adapter")
    path = tmp_path / "adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ReLopeError, match=message) as e:
        load_peft(tmp_path / "adapter", block)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("name", "data"), [(CONFIG, b"[1]"), (CONFIG, b"{"), (WEIGHTS, b"no"), (CONFIG, None)])
def test_what_is_no_checkpoint_is_refused(name, data, block, tmp_path):
    save(tmp_path / "adapter")
    path = tmp_path / "adapter" / name
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(ReLopeError, match=r"is not a PEFT checkpoint|only LoRA can be read") as e:
        load_peft(tmp_path / "adapter", block)
    assert "\n" not in str(e.value)


HOSTILE = [
    {"r": 0}, {"r": -4}, {"r": 4.5}, {"r": True}, {"r": 2**40}, {"r": "4"}, {"lora_alpha": float("nan")},
    {"lora_alpha": float("inf")}, {"lora_alpha": -1}, {"lora_alpha": 0}, {"lora_alpha": True}, {"lora_alpha": None},
    {"rank_pattern": {"(a+)+$": 4, r"(a)\1": 4}}, {"rank_pattern": {"q_proj": 0}}, {"rank_pattern": {"q_proj": 9}},
    {"rank_pattern": []}, {"rank_pattern": "q_proj"}, {"alpha_pattern": {"q_proj": float("nan")}},
    {"alpha_pattern": {"q_proj": "x"}}, {"alpha_pattern": {"[": 1}}, {"use_rslora": "yes"}, {"peft_type": []},
]  # fmt: skip


@pytest.mark.parametrize("changes", HOSTILE, ids=str)
def test_settings_of_a_hostile_adapter_are_refused_in_a_line(changes, block, tmp_path):
    save(tmp_path / "adapter")
    path = tmp_path / "adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ReLopeError) as caught:
        load_peft(tmp_path / "adapter", block)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_no_file_outside_of_an_adapter_is_read(name, block, tmp_path):
    save(tmp_path / "adapter")
    (tmp_path / "adapter" / name).rename(tmp_path / name)
    (tmp_path / "adapter" / name).symlink_to(tmp_path / name)
    with pytest.raises(ReLopeError, match="symbolic link out of"):
        load_peft(tmp_path / "adapter", block)


def test_a_config_of_an_adapter_that_is_deep_is_refused(block, tmp_path):
    save(tmp_path / "adapter")
    (tmp_path / "adapter" / CONFIG).write_text("[" * 10**6)
    with pytest.raises(ReLopeError, match="is not a PEFT checkpoint"):
        load_peft(tmp_path / "adapter", block)
