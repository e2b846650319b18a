"""The trained tensors of a toy MLLM and their places in it. Each key of a weights file maps by exactly one rule.

projector.*                the whole projector
vision.*                   tensors of the vision tower that replace ImageNet's
lora.MODULE.A, lora.MODULE.B   added to a linear layer of the language model: W + SCALE * B A
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from extract.toy import WEIGHTS

SCALE = 2.0  # of LoRA: alpha / r

State = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The trained tensors of a toy MLLM, by their names in their modules."""

    projector: State
    vision: State
    lora: State

    @staticmethod
    def load(name: str) -> Trained:
        """The shipped weights of the toy MLLM `name`."""
        groups: dict[str, State] = {"projector": {}, "vision": {}, "lora": {}}
        for key, tensor in load_file(WEIGHTS / f"{name}.safetensors").items():
            kind, _, rest = key.partition(".")
            groups[kind][rest] = tensor
        return Trained(**groups)

    def save(self, path: Path) -> None:
        """Write the weights in bfloat16."""
        groups = {"projector": self.projector, "vision": self.vision, "lora": self.lora}
        flat = {f"{kind}.{name}": tensor for kind, state in groups.items() for name, tensor in state.items()}
        save_file({name: tensor.to(torch.bfloat16).contiguous() for name, tensor in flat.items()}, path)

    def apply(self, model: Any) -> None:
        """Load the weights into an assembled model; raises KeyError or RuntimeError for a tensor without a place."""
        model.model.multi_modal_projector.load_state_dict(self.projector)
        tower = model.model.vision_tower.net.state_dict()
        for name, tensor in self.vision.items():
            tower[name].copy_(tensor)
        modules = dict(model.model.language_model.named_modules())
        for name in sorted({key.rpartition(".")[0] for key in self.lora}):
            low, high = (self.lora[f"{name}.{factor}"].float() for factor in "AB")
            with torch.no_grad():
                modules[name].weight += SCALE * high @ low
