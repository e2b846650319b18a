"""The baseline without cached states: transformers and PEFT run the small model on prompts and images in every step.

It is optimised as a careful user would: images preprocessed and prompts tokenised in advance, batches of equal lengths,
no gradient below layer l (nothing there is trained) and none recorded above it, logits of the last position only. Users
of PEFT run the whole model; `until_layer` also omits the layers above l and the logits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import peft
import torch
from torch import nn

from experiments.benchmarks.torch_train import Bottleneck
from extract.backbone.load import Backbone
from relope_jax.block.spec import LoRASpec


def adapt(backbone: Backbone, modules: dict[str, str], spec: LoRASpec) -> None:
    """Add a LoRA (B = 0) to the named modules, in place."""
    config = peft.LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=list(modules.values()))
    peft.get_peft_model(backbone.model, config, autocast_adapter_dtype=False)


class WholeModel(nn.Module):
    """ReLope on a small model with an adapted layer l. Only the LoRA and the head are its parameters."""

    def __init__(self, backbone: Backbone, layer: int, head: Bottleneck, until_layer: bool):
        super().__init__()
        self.lora = nn.ParameterList(p for p in backbone.model.parameters() if p.requires_grad)
        self.backbone, self.number, self.head, self.until_layer = backbone, layer, head, until_layer

    def forward(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        return self.head(self.last_hidden(inputs))

    def last_hidden(self, inputs: Any) -> torch.Tensor:
        """z_n^(l) of left-padded prompts."""
        caught = []

        def catch(module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
            caught.append(output[:, -1])
            return output.detach()

        model = self.backbone.model
        hook = self.backbone.layer(self.number).register_forward_hook(catch)
        try:
            if self.until_layer:
                with _truncated(self.backbone.decoder, self.number):
                    model.base_model(**inputs, use_cache=False)
            else:
                model(**inputs, use_cache=False, logits_to_keep=1)
        finally:
            hook.remove()
        return caught[0]


@contextlib.contextmanager
def _truncated(decoder: nn.Module, layers: int) -> Iterator[None]:
    """The decoder without the layers above."""
    every = decoder.layers
    decoder.layers = every[:layers]
    try:
        yield
    finally:
        decoder.layers = every
