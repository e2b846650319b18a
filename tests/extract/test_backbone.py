"""Models that cannot be had, or are not supported, are one clear line."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, GPT2Model

from extract.backbone import load_backbone
from extract.models import family_of
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(ReLopeError, match="no such folder"):
        load_backbone(ModelSpec(name=str(tmp_path / "nowhere")))
    with pytest.raises(ReLopeError, match="cannot load"):
        load_backbone(ModelSpec(name=str(tmp_path)))


def test_unknown_device_is_one_line():
    with pytest.raises(ReLopeError, match="cannot put toy-mllm on device 'cudaa'"):
        load_backbone(ModelSpec(device="cudaa"))


def test_unsupported_layer_is_refused_by_name():
    layer = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16)).h[0]
    with pytest.raises(ReLopeError, match=r"GPT2Block are not supported; supported: llama .*qwen2_5_vl"):
        family_of(layer)
