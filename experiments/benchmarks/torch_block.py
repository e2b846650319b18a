"""The torch baselines: a transformers decoder layer with PEFT's LoRA, for all tokens and for the last token only."""

from __future__ import annotations

from collections.abc import Callable

import peft
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding, apply_rotary_pos_emb

from extract.backbone.dump_block import dump_layer
from extract.backbone.families.family import DecoderLayer
from extract.backbone.families.llama import LLAMA
from relope_jax.block.spec import Block, BlockSpec


class Layer(torch.nn.Module):
    """One decoder layer under a name that PEFT can adapt, with its rotary embedding."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.layer = LlamaDecoderLayer(config, layer_idx=0)
        self.rotary = LlamaRotaryEmbedding(config)
        self.config = config


def make_layer(spec: BlockSpec) -> Layer:
    """A Llama layer of the spec's shape with random weights of unit gain."""
    config = LlamaConfig(
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_attention_heads=spec.n_heads,
        num_key_value_heads=spec.n_kv_heads,
        head_dim=spec.head_dim,
        rms_norm_eps=spec.norm_eps,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    layer = Layer(config).requires_grad_(False)
    for weight in layer.parameters():
        if weight.ndim == 2:
            weight.normal_(std=weight.shape[1] ** -0.5)
    return layer


def dump(layer: Layer) -> Block:
    """The layer as a block for JAX."""
    return dump_layer(LLAMA, DecoderLayer(layer.layer, layer.config, layer.rotary, 1))


def adapt(layer: Layer, rank: int, alpha: float) -> Layer:
    """The layer with a random LoRA (A and B not zero) on all seven projections."""
    torch.manual_seed(1)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=r".*_proj", init_lora_weights=False)
    return peft.get_peft_model(layer, config, autocast_adapter_dtype=False).get_base_model()


def lora_matrices(layer: Layer) -> dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    """`{projection: (A, B)}` of an adapted layer."""
    modules = dict(layer.layer.named_modules())
    return {
        name: (modules[path].lora_A["default"].weight, modules[path].lora_B["default"].weight)
        for name, path in LLAMA.modules.items()
    }


def full_block(layer: Layer, hidden: torch.Tensor) -> torch.Tensor:
    """z_n^(l) as PEFT trains it: every token goes through the whole layer."""
    cos_sin = layer.rotary(hidden, torch.arange(hidden.shape[1])[None])
    return layer.layer(hidden, position_embeddings=cos_sin, attention_mask=None)[:, -1]


def last_token_block(layer: Layer, hidden: torch.Tensor) -> torch.Tensor:
    """z_n^(l) with less work: keys and values of all tokens, everything else for the last one."""
    block, attention, dim = layer.layer, layer.layer.self_attn, layer.config.head_dim
    batch, n, _ = hidden.shape
    normed = block.input_layernorm(hidden)
    q = attention.q_proj(normed[:, -1:]).view(batch, 1, -1, dim).transpose(1, 2)
    k = attention.k_proj(normed).view(batch, n, -1, dim).transpose(1, 2)
    v = attention.v_proj(normed).view(batch, n, -1, dim).transpose(1, 2)
    cos, sin = layer.rotary(hidden, torch.arange(n)[None])
    _, k = apply_rotary_pos_emb(k, k, cos, sin)
    q, _ = apply_rotary_pos_emb(q, q, cos[:, -1:], sin[:, -1:])
    context = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    z = hidden[:, -1] + attention.o_proj(context.transpose(1, 2).reshape(batch, -1))
    return z + block.mlp(block.post_attention_layernorm(z))


def step(
    block: Callable[[Layer, torch.Tensor], torch.Tensor],
    layer: Layer,
    states: torch.Tensor,
    head: torch.Tensor,
    labels: torch.Tensor,
) -> Callable[[], torch.Tensor]:
    """Forward and backward pass: BCE of a fixed linear head on z. Leaves the LoRA gradients in the layer."""
    dtype = next(layer.parameters()).dtype

    def run() -> torch.Tensor:
        layer.zero_grad(set_to_none=True)
        z = block(layer, states.to(dtype)).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z @ head, labels)
        loss.backward()
        return loss.detach()

    return run
