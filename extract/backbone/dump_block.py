"""Exports decoder layer l of a loaded model as the frozen block that JAX trains on."""

from __future__ import annotations

import copy
import dataclasses

import ml_dtypes
import numpy as np
import torch

from extract.backbone.families import DecoderLayer, Family
from extract.backbone.load import Backbone
from relope_jax.block.spec import Block, BlockSpec, by_module, projection_shape
from relope_jax.errors import ReLopeError


def dump_block(backbone: Backbone, layer: int) -> Block:
    """Weights and spec of decoder layer `layer` (1-based), with its active adapters merged.

    Raises:
      ReLopeError: a weight of the layer maps to none of our names, or one of ours to no weight or to a taken one.
    """
    source = backbone.decoder_layer(layer)
    prefix = next(name for name, module in backbone.model.named_modules() if module is source.module)
    modules = {name: f"{prefix}.{module}" for name, module in backbone.family.modules.items()}
    return dataclasses.replace(dump_layer(backbone.family, source), modules=modules)


def dump_layer(family: Family, source: DecoderLayer) -> Block:
    """Like `dump_block`, for a decoder layer alone, without the names of its modules in a whole model."""
    source = dataclasses.replace(source, module=merge_adapters(source.module))
    spec, found = family.spec(source), dict(source.module.named_parameters())
    weights = _take_projections(family, spec, found) | _take_norms(family, found)
    if found:
        raise ReLopeError(f"family {family.name} has no rule for the layer's weight '{min(found)}'")
    weights["frequencies"] = family.frequencies(source).float()
    spec = dataclasses.replace(
        spec,
        biases=tuple(name for name in family.modules if f"{name}.bias" in weights),
        qk_norm="q_norm" in weights,
        output_norms="attention_output_norm" in weights,
    )
    return Block(spec, {name: to_numpy(weight) for name, weight in weights.items()})


def _take_projections(family: Family, spec: BlockSpec, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Move the projections' weights and biases out of `found`; fused ones are split into rows."""
    weights: dict[str, torch.Tensor] = {}
    for module, names in by_module(family.modules).items():
        if f"{module}.weight" not in found:
            raise ReLopeError(f"family {family.name}: the layer has no weight '{module}.weight' for {names[0]}")
        sizes = [projection_shape(spec, name)[0] for name in names]
        for suffix in ("weight", "bias"):
            rows = found.pop(f"{module}.{suffix}", None)
            if rows is None:
                continue
            if sum(sizes) != rows.shape[0]:
                raise ReLopeError(
                    f"family {family.name} maps {' and '.join(names)} to '{module}.{suffix}', "
                    f"which has {rows.shape[0]} rows where they need {sum(sizes)}"
                )
            weights |= {f"{name}.{suffix}": part for name, part in zip(names, rows.split(sizes), strict=True)}
    return weights


def _take_norms(family: Family, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Move the norms' gains out of `found`, in the form in which they are applied."""
    gains = {}
    for name, module in family.norms.items():
        if f"{module}.weight" not in found:
            raise ReLopeError(f"family {family.name} maps {name} to '{module}.weight', which is taken or absent")
        weight = found.pop(f"{module}.weight")
        gains[name] = weight.float() + family.gain_offset if family.gain_offset else weight
    return gains


def merge_adapters(layer: torch.nn.Module) -> torch.nn.Module:
    """The layer itself, or a float32 copy with its active PEFT adapters merged into the weights.

    float32, because the model adds the outputs of adapter and weight; merging in bfloat16 would round.
    """
    if not any(_has_adapter(module) for module in layer.modules()):
        return layer
    merged = copy.deepcopy(layer).float()
    for name, module in [(name, module) for name, module in merged.named_modules() if _has_adapter(module)]:
        if not module.disable_adapters:
            module.merge()
        merged.set_submodule(name, module.get_base_layer())
    return merged


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values in its own dtype, including bfloat16."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _has_adapter(module: torch.nn.Module) -> bool:
    return hasattr(module, "base_layer") and hasattr(module, "get_base_layer")
