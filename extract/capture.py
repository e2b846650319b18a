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
    """Context manager around a forward pass or `generate`; only the first pass, the prefill, is kept."""

    def __init__(self, backbone: Backbone, layer: int, *, stop_after: bool = False):
        self._decoder, self._layer = backbone.decoder, backbone.layer(layer)
        self._stop_after = stop_after
        self._caught: dict[str, torch.Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Capture:
        self._hooks = [
            self._decoder.rotary_emb.register_forward_pre_hook(self._on_rotary, with_kwargs=True),
            self._layer.register_forward_pre_hook(self._on_input, with_kwargs=True),
            self._layer.register_forward_hook(self._on_output),
        ]
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        for hook in self._hooks:
            hook.remove()
        return kind is _PrefillDone

    def _on_rotary(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if "positions" not in self._caught:
            self._caught["positions"] = kwargs["position_ids"] if "position_ids" in kwargs else args[1]

    def _on_input(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if "hidden" not in self._caught:
            self._caught["hidden"] = args[0] if args else kwargs["hidden_states"]

    def _on_output(self, module: torch.nn.Module, args: tuple, output: Any) -> None:
        if "last" not in self._caught:
            full = output[0] if isinstance(output, tuple) else output
            self._caught["last"] = full[:, -1].clone()  # prompts are padded on the left
            if self._stop_after:
                raise _PrefillDone

    def states(self, attention_mask: torch.Tensor) -> TokenStates:
        """The prompts' states without padding, in float32 on the CPU."""
        hidden, positions = self._caught["hidden"], self._caught["positions"]
        batch, n, _ = hidden.shape
        if positions.ndim == 2:
            positions = positions[None]
        positions = positions.expand(-1, batch, n).permute(1, 2, 0)
        keep = attention_mask.bool()
        lengths = keep.sum(dim=1).cpu().numpy()
        return TokenStates(
            hidden=hidden[keep].float().cpu().numpy(),
            positions=positions[keep].to(torch.int32).cpu().numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            last_hidden=self._caught["last"].float().cpu().numpy(),
        )
