"""Dump decoder layer l of a loaded model as the frozen block that JAX trains on."""

from __future__ import annotations

import copy
import dataclasses

import ml_dtypes
import numpy as np
import torch

from extract.backbone import Backbone
from extract.models import DecoderLayer, Family
from relope_jax.errors import ReLopeError
from relope_jax.models.block_spec import Block, by_module, projection_shape


def dump_block(backbone: Backbone, layer: int) -> Block:
    """Weights and spec of decoder layer `layer` (1-based), its active adapters merged.

    Raises:
      ReLopeError: a weight of the layer maps to no name of ours, or one of ours to none or to a taken one.
    """
    source = backbone.decoder_layer(layer)
    family = backbone.family
    merged = merge_adapters(source.module)
    found = dict(merged.named_parameters())
    spec = family.spec(dataclasses.replace(source, module=merged))
    weights: dict[str, torch.Tensor] = {}
    for module, names in by_module(family.modules).items():
        sizes = [projection_shape(spec, name)[0] for name in names]
        for suffix in ("weight", "bias"):
            fused = found.pop(f"{module}.{suffix}", None)
            if fused is None:
                continue
            if sum(sizes) != fused.shape[0]:
                raise ReLopeError(
                    f"family {family.name} maps {' and '.join(names)} to '{module}.{suffix}', "
                    f"which has {fused.shape[0]} rows where they need {sum(sizes)}"
                )
            for name, rows in zip(names, fused.split(sizes), strict=True):
                weights[f"{name}.{suffix}"] = rows
    for name, module in family.norms.items():
        if f"{module}.weight" not in found:
            raise ReLopeError(f"family {family.name} maps {name} to '{module}.weight', which is taken or absent")
        weights[name] = _gain(found.pop(f"{module}.weight"), family.gain_offset)
    if found:
        raise ReLopeError(f"family {family.name} maps no rule to the layer's weight '{min(found)}'")
    if missing := [name for name in family.modules if f"{name}.weight" not in weights]:
        raise ReLopeError(f"family {family.name}: the layer has no weight '{family.modules[missing[0]]}.weight'")

    weights["frequencies"] = family.frequencies(source).float()
    spec = dataclasses.replace(
        spec,
        biases=tuple(name for name in family.modules if f"{name}.bias" in weights),
        qk_norm="q_norm" in weights,
        output_norms="attention_output_norm" in weights,
    )
    arrays = {name: to_numpy(weight) for name, weight in weights.items()}
    return Block(spec, arrays, module_names(backbone, source, family))


def merge_adapters(layer: torch.nn.Module) -> torch.nn.Module:
    """The layer itself, or a copy in float32 with its active PEFT adapters merged into its weights.

    float32 because the model adds adapter and weight after their products; merging in bfloat16 would round.
    """
    if not any(_has_adapter(module) for module in layer.modules()):
        return layer
    merged = copy.deepcopy(layer).float()
    for name, module in [(name, module) for name, module in merged.named_modules() if _has_adapter(module)]:
        if not module.disable_adapters:
            module.merge()
        merged.set_submodule(name, module.get_base_layer())
    return merged


def module_names(backbone: Backbone, layer: DecoderLayer, family: Family) -> dict[str, str]:
    """`{projection: full name of its module in the model}`."""
    prefix = next(name for name, module in backbone.model.named_modules() if module is layer.module)
    return {name: f"{prefix}.{module}" for name, module in family.modules.items()}


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values in its own dtype, bfloat16 included."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _has_adapter(module: torch.nn.Module) -> bool:
    return hasattr(module, "base_layer") and hasattr(module, "get_base_layer")


def _gain(weight: torch.Tensor, offset: float) -> torch.Tensor:
    return weight if offset == 0.0 else weight.float() + offset
