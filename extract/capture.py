"""Catch Z^(l-1), z_n^(l) and the rotary positions during one prefill, with hooks on decoder layer l."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from extract.backbone import Backbone
from relope_jax.states.ragged import TokenStates


class _PrefillDone(Exception):
    """Raised after layer l when nothing above it is needed."""


class Capture:
    """Context manager around a forward pass or `generate`; only the first pass, the prefill, is kept.

    Args:
      attention_mask: `[batch, n]` of the prompts, padded on either side.
    """

    def __init__(self, backbone: Backbone, layer: int, attention_mask: torch.Tensor, *, stop_after: bool = False):
        self._family, self._layer = backbone.family, backbone.decoder_layer(layer)
        self._keep = attention_mask.bool()
        self._stop_after = stop_after
        self._caught: dict[str, torch.Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Capture:
        self._hooks = [
            self._layer.rotary.register_forward_hook(self._on_rotary, with_kwargs=True),
            self._layer.module.register_forward_pre_hook(self._on_input, with_kwargs=True),
            self._layer.module.register_forward_hook(self._on_output),
        ]
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        for hook in self._hooks:
            hook.remove()
        return kind is _PrefillDone

    def _on_rotary(self, module: torch.nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if "positions" not in self._caught:
            ids = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
            self._caught["positions"] = self._family.positions(self._layer, ids)

    def _on_input(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if "hidden" not in self._caught:
            self._caught["hidden"] = args[0] if args else kwargs["hidden_states"]

    def _on_output(self, module: torch.nn.Module, args: tuple, output: Any) -> None:
        if "last" not in self._caught:
            full = output[0] if isinstance(output, tuple) else output
            n = self._keep.shape[1]
            last = n - 1 - self._keep.flip(1).int().argmax(dim=1)  # the last prompt token, wherever padding is
            self._caught["last"] = full[torch.arange(len(full), device=full.device), last.to(full.device)].clone()
            if self._stop_after:
                raise _PrefillDone

    def states(self) -> TokenStates:
        """The prompts' states without padding, in float32 on the CPU."""
        hidden, positions = self._caught["hidden"], self._caught["positions"]
        batch, n, _ = hidden.shape
        positions = positions.expand(-1, batch, n).permute(1, 2, 0)
        lengths = self._keep.sum(dim=1).cpu().numpy()
        return TokenStates(
            hidden=hidden[self._keep].float().cpu().numpy(),
            positions=positions[self._keep].to(torch.int32).cpu().numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            last_hidden=self._caught["last"].float().cpu().numpy(),
        )
