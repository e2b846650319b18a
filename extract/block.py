"""Dump decoder layer l of a loaded model as the frozen block that JAX trains on."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch

from extract.backbone import Backbone
from relope_jax.errors import ReLopeError
from relope_jax.models.spec import Block


def dump_block(backbone: Backbone, layer: int) -> Block:
    """Weights and spec of decoder layer `layer` (1-based).

    Raises:
      ReLopeError: a weight of the layer maps to no name of ours, or a needed one is missing.
    """
    module = backbone.layer(layer)
    family = backbone.family
    found = dict(module.named_parameters())
    weights, used = {}, set()
    for ours, theirs in family.modules.items():
        for suffix in ("weight", "bias"):
            name = f"{theirs}.{suffix}"
            if name in found:
                key = f"{ours}.{suffix}" if ours in _PROJECTIONS else ours
                weights[key] = to_numpy(found[name])
                used.add(name)
    if unmapped := sorted(found.keys() - used):
        raise ReLopeError(f"family {family.name} maps no rule to the layer's weight '{unmapped[0]}'")
    missing = [ours for ours in family.modules if ours not in weights and f"{ours}.weight" not in weights]
    if missing:
        raise ReLopeError(f"family {family.name}: the layer has no weight '{family.modules[missing[0]]}'")
    rotary = backbone.decoder.rotary_emb
    weights["inv_freq"] = to_numpy(rotary.inv_freq.float())
    return Block(family.spec(module, backbone.decoder.config, rotary, layer), weights)


_PROJECTIONS = {"q", "k", "v", "o", "gate", "up", "down"}


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values in its own dtype, bfloat16 included."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
