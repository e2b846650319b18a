"""Malicious folders of models, adapters and encoders: one line, no code is run, no repository is contacted."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from extract.backbone.load import decoder_depth, load_backbone
from extract.job.embeddings import encoder_source, load_encoder
from extract.model_files.adapter import lora_settings
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from tests.extract import tiny_models as tiny
from tests.extract.backbone.test_backbone import save_adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Unexpected keyword:UserWarning"),
]
CONFIGS = ("config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json", "tokenizer.json")


class Boom:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory) -> Path:
    folder = tiny.save_llava(tmp_path_factory.mktemp("llava"), copy.deepcopy(toy.tokenizer))
    save_adapter(load_backbone(ModelSpec(name=str(folder), device="cpu")).model, ["q_proj", "v_proj"], folder / "lora")
    return folder


@pytest.fixture
def model(llava, tmp_path) -> Path:
    return Path(shutil.copytree(llava, tmp_path / "model"))


@pytest.fixture
def encoder(tmp_path) -> Path:
    return Path(shutil.copytree(encoder_source(""), tmp_path / "encoder"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Any access to the hub fails the test. The working directory has a module that must not be imported."""

    def asked(*args: object, **options: object) -> None:
        pytest.fail(f"the hub was asked: {args} {options}")

    monkeypatch.setattr(huggingface_hub.file_download, "_get_metadata_or_catch_error", asked)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", asked)
    monkeypatch.chdir(tmp_path)


def load(folder: Path, adapter: str = "") -> None:
    load_backbone(ModelSpec(name=str(folder), device="cpu", adapter=adapter))


def one_line(call: Callable[[], object]) -> str:
    """The one line with which a call ends, quickly."""
    began = time.monotonic()
    with pytest.raises(ReLopeError) as error:
        call()
    assert time.monotonic() - began < 20
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "[" * 10_000, '{"a":' * 10_000, "\x00", "[1" + ",1" * 1000],
    ids=["empty", "cut", "list", "null", "number", "text", "deep list", "deep dict", "NUL", "cut list"],
)
def test_damaged_settings_are_one_line(model, name, text):
    (model / name).write_text(text)
    assert one_line(lambda: load(model))


@pytest.mark.parametrize("name", [*CONFIGS, "chat_template.jinja", "some_other.json"])
def test_huge_settings_are_refused_before_they_are_read(model, name, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_JSON_MB", "8")
    with open(model / name, "ab") as file:
        file.truncate(20 * 2**20)
    line = one_line(lambda: load(model))
    assert "above the limit of" in line
    assert "RELOPE_MAX_" in line


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": None},
        {"model_type": "no such"},
        {"model_type": ["llava"]},
        {"text_config": None},
        {"text_config": "x"},
        {"text_config": {"model_type": "gpt2"}},
        {"vision_config": 7},
        {"architectures": 5},
        {"dtype": "complex512"},
        {"quantization_config": {"quant_method": "made_up"}},
        {"image_token_id": "x"},
    ],
    ids=json.dumps,
)
def test_odd_configs_are_one_line_or_loaded(model, fields):
    edit(model / "config.json", **fields)
    with contextlib.suppress(ReLopeError):
        load(model)


@pytest.mark.parametrize("number", [0, -1, 10**6, 10**12, 1.5, "3", None])
def test_a_config_of_another_size_than_its_weights_is_one_line(model, number):
    whole = json.loads((model / "config.json").read_text())
    for field in ("num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads"):
        config = copy.deepcopy(whole)
        config["text_config"][field] = number
        (model / "config.json").write_text(json.dumps(config))
        with contextlib.suppress(ReLopeError) if number is None else pytest.raises(ReLopeError) as error:
            load(model)
        assert "\n" not in str(error and error.value)


def test_code_of_a_model_is_not_run(model, tmp_path):
    """Code for its configuration, its processor, its tokenizer, and its own `generate`."""
    boom = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (model / "custom_generate").mkdir()
    for name in ("code.py", "custom_generate/generate.py"):
        (model / name).write_text(boom + "def generate(*a, **k): ...\nclass C: ...\n")
    auto = {f"Auto{kind}": "code.C" for kind in ("Config", "Model", "Processor", "Tokenizer", "ImageProcessor")}
    auto |= {"AutoModelForMultimodalLM": "code.C", "AutoModelForImageTextToText": "code.C"}
    for name in CONFIGS[:-1]:
        edit(model / name, auto_map=auto)
    edit(model / "config.json", model_type="mine")
    assert "add --config.model.trust_remote_code=True" in one_line(lambda: load(model))
    edit(model / "config.json", model_type="llava")
    load(model)  # a known type, for which the code is not needed
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_pickles_are_refused(model, tmp_path):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    assert "pytorch_model.bin, a pickle, which can run code" in one_line(lambda: load(model))
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(tmp_path / "ran")))
    assert one_line(lambda: load(model))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-5],
        lambda data: data[:7],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"[" * 100 + data[108:],
        lambda data: data.replace(b"F32", b"X99"),
        lambda data: (2**40).to_bytes(8, "little") + data[8:],
    ],
)
@pytest.mark.parametrize("which", ["model.safetensors", "lora/adapter_model.safetensors"])
def test_damaged_weights_are_one_line(model, damage, which):
    (model / which).write_bytes(damage((model / which).read_bytes()))
    assert one_line(lambda: load(model, "lora" if "lora" in which else ""))


@pytest.mark.parametrize("file", ["../other/model.safetensors", "/abs/model.safetensors", "a/b.safetensors", 5, None])
def test_an_index_names_files_beside_it(model, tmp_path, file):
    (tmp_path / "other").mkdir()
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").rename(tmp_path / "other" / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, file)}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "must map every weight to a file next to it" in one_line(lambda: load(model))


def test_a_folder_that_is_an_adapter_fetches_no_model(model):
    (model / "lora" / "x").mkdir()
    edit(model / "lora/adapter_config.json", base_model_name_or_path="somebody/else")
    assert "is an adapter, not a model" in one_line(lambda: load(model / "lora"))
    assert "is an adapter, not a model" in one_line(lambda: decoder_depth(ModelSpec(name=str(model / "lora"))))
    assert "is an adapter, not a model" in one_line(lambda: load_encoder(str(model / "lora")))
    shutil.copy(model / "lora/adapter_config.json", model)
    assert "holds an adapter_config.json next to its config.json" in one_line(lambda: load(model))


def test_an_adapter_asks_nobody_and_imports_nothing(model, tmp_path, monkeypatch):
    """Names of repositories and modules are dropped; the adapter still works."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    edit(
        model / "lora/adapter_config.json",
        base_model_name_or_path="somebody/else",
        revision="v6",
        megatron_core="evil",
        auto_mapping={"base_model_class": "X", "parent_library": "evil"},
        task_type="CAUSAL_LM",
    )
    load(model, "lora")
    edit(model / "lora/adapter_config.json", megatron_config={"a": 1})
    assert "sets 'megatron_config', which is not supported" in one_line(lambda: load(model, "lora"))
    assert not (tmp_path / "ran").exists()


def test_an_adapter_in_a_pickle_is_refused(model, tmp_path):
    (model / "lora/adapter_model.safetensors").unlink()
    (model / "lora/adapter_model.bin").write_bytes(pickle.dumps(Boom(tmp_path / "ran")))
    assert "holds no adapter_model.safetensors; weights in other files are pickles" in one_line(
        lambda: load(model, "lora")
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": "(.*a)+b"}, {"target_modules": "(((.*)*)*)*x"}, {"exclude_modules": "(a|a)*b"},
        {"target_modules": ".*.*.*.*.*.*x"}, {"target_modules": "q" * 5000}, {"target_modules": [5]},
        {"layers_to_transform": [0], "layers_pattern": ["(x+x+)+y"]}, {"rank_pattern": {"(x+)+y": 4}},
        {"alpha_pattern": {"(x+){9,}y": 4}}, {"rank_pattern": {"q_proj": 0}}, {"rank_pattern": {"q_proj": 10**9}},
        {"rank_pattern": [4]}, {"alpha_pattern": [4]}, {"r": 0}, {"r": -4}, {"r": 10**9}, {"r": "4"}, {"r": True},
        {"r": None}, {"r": 1.5}, {"lora_alpha": "x"}, {"lora_alpha": None}, {"peft_type": "LOHA"}, {"peft_type": 5},
        {"peft_type": None}, {"init_lora_weights": "pissa"}, {"init_lora_weights": "loftq"}, {"unheard_of": 1},
        {"layer_replication": [[0, 3], [0, 3]]}, {"trainable_token_indices": [1]}, {"bias": 7},
        {"target_modules": None}, {"target_modules": {"a": 1}}, {"modules_to_save": 5}, {"layers_to_transform": "x"},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)  # fmt: skip
def test_odd_adapter_configs_are_one_line(model, fields):
    edit(model / "lora/adapter_config.json", **fields)
    assert one_line(lambda: load(model, "lora"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a":' * 10_000])
def test_damaged_adapter_configs_are_one_line(model, text):
    (model / "lora/adapter_config.json").write_text(text)
    assert one_line(lambda: load(model, "lora"))


def test_patterns_that_real_adapters_have_are_read(model):
    for pattern in (
        r".*language_model.layers.*((self_attn\.(q_proj|v_proj))|(mlp\.(gate|down)_proj_))",
        r"^(?!.*vision).*(?:q_proj|v_proj)$",
    ):
        edit(model / "lora/adapter_config.json", target_modules=pattern)
        assert lora_settings(model / "lora")["target_modules"] == pattern


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", "{"),
        ("1_Pooling/config.json", "[" * 9999),
        ("1_Pooling/config.json", '{"pooling_mode_mean_tokens": "yes"}'),
        ("1_Pooling/config.json", '{"pooling_mode_mean_tokens": null}'),
        ("1_Pooling/config.json", '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}'),
        ("sentence_bert_config.json", '{"max_seq_length": "many"}'),
        ("sentence_bert_config.json", "3"),
        ("sentence_bert_config.json", '{"max_seq_length": -1}'),
        ("sentence_bert_config.json", '{"max_seq_length": []}'),
        ("sentence_bert_config.json", '{"max_seq_length": 1e99}'),
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"model_type": "bert", "hidden_size": "x"}'),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_odd_encoders_are_one_line(encoder, name, text):
    (encoder / name).write_text(text)
    assert one_line(lambda: load_encoder(str(encoder)))


def test_an_encoder_in_a_pickle_is_refused(encoder, tmp_path):
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(tmp_path / "ran")))
    assert "a pickle, which can run code" in one_line(lambda: load_encoder(str(encoder)))
    assert not (tmp_path / "ran").exists()


def test_adapter_weights_of_odd_shapes_are_one_line(model):
    path = model / "lora/adapter_model.safetensors"
    weights = load_file(path)
    for shape in ((0,), (0, 0), (4, 0), (1, 1, 1)):
        save_file({name: torch.zeros(shape) for name in weights}, path)
        assert one_line(lambda: load(model, "lora"))
