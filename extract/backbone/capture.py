"""Captures Z^(l-1), z_n^(l) and the rotary positions of several layers during one prefill, with hooks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from extract.backbone.dump_block import to_numpy
from extract.backbone.load import Backbone
from relope_jax.states.ragged import TokenStates


class _PrefillDone(Exception):
    """Raised after the last captured layer when nothing above it is needed."""


class Capture:
    """Context manager around a forward pass or `generate`. Only the first pass, the prefill, is captured.

    Args:
      layers: every l to capture, 1-based.
      attention_mask: `[batch, n]` of the prompts, padded on either side.
      stop_after: stop the forward pass after the highest of the layers.
      dtype: of the token states returned by `states`.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[int],
        attention_mask: torch.Tensor,
        *,
        stop_after: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        self._family, self._layers = backbone.family, {n: backbone.decoder_layer(n) for n in layers}
        self._keep, self._dtype = attention_mask.bool(), dtype
        self._stop_at = max(layers) if stop_after else None
        self._positions: torch.Tensor | None = None
        self._hidden: dict[int, torch.Tensor] = {}
        self._last: dict[int, torch.Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Capture:
        first = next(iter(self._layers.values()))
        self._hooks = [first.rotary.register_forward_hook(self._on_rotary, with_kwargs=True)]
        for number, layer in self._layers.items():
            on_input = functools.partial(self._on_input, number)
            self._hooks.append(layer.module.register_forward_pre_hook(on_input, with_kwargs=True))
            self._hooks.append(layer.module.register_forward_hook(functools.partial(self._on_output, number)))
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        for hook in self._hooks:
            hook.remove()
        return kind is _PrefillDone

    def _on_rotary(self, module: torch.nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if self._positions is None:
            ids = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
            self._positions = self._family.positions(next(iter(self._layers.values())), ids)

    def _on_input(self, layer: int, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if layer not in self._hidden:
            self._hidden[layer] = args[0] if args else kwargs["hidden_states"]

    def _on_output(self, layer: int, module: torch.nn.Module, args: tuple, output: Any) -> None:
        if layer not in self._last:
            full = output[0] if isinstance(output, tuple) else output
            n = self._keep.shape[1]
            last = n - 1 - self._keep.flip(1).int().argmax(dim=1)  # the last prompt token, wherever padding is
            self._last[layer] = full[torch.arange(len(full), device=full.device), last.to(full.device)].clone()
            if layer == self._stop_at:
                raise _PrefillDone

    def states(self, layer: int) -> TokenStates:
        """The states of the prompts at one layer, without padding, on the CPU."""
        hidden, positions = self._hidden[layer], self._positions
        assert positions is not None  # set by the prefill, as `hidden` is
        batch, n, _ = hidden.shape
        positions = positions.expand(-1, batch, n).permute(1, 2, 0)
        lengths = self._keep.sum(dim=1).cpu().numpy()
        return TokenStates(
            hidden=to_numpy(hidden[self._keep.to(hidden.device)].to(self._dtype)),
            positions=positions[self._keep.to(positions.device)].to(torch.int32).cpu().numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            last_hidden=self._last[layer].float().cpu().numpy(),
        )
