"""One prefill for several answers to the same prompts: the samples differ, the prompts do not."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch


class SharedPrefill:
    """The first forward pass over some prompts, computed once and then replayed.

    For several answers to the same `inputs`, in sequence, because some families keep the last prompts' positions
    in the model. Costs one more copy of the prompts' key-value cache.
    """

    def __init__(self) -> None:
        self._noted: tuple[Any, torch.Tensor] | None = None  # the output with its cache; the last decoder state

    @contextlib.contextmanager
    def serve(
        self, model: torch.nn.Module, state: Callable[[], torch.Tensor], restore: Callable[[torch.Tensor], None]
    ) -> Iterator[None]:
        """While a model generates, its first forward pass is the shared one.

        Args:
          state: returns the recorded state of the pass just computed; `restore` gets it when no pass is computed.
        """
        computed, calls = model.forward, itertools.count()

        @functools.wraps(computed)  # `generate` inspects the signature
        def forward(*args: Any, **kwargs: Any) -> Any:
            if next(calls):
                return computed(*args, **kwargs)
            if self._noted is None:
                output = computed(*args, **kwargs)
                output.logits = output.logits[:, -1:].clone()  # other positions are not used
                self._noted = copy.deepcopy(output), state()
                return output
            output, seen = self._noted
            restore(seen)
            return copy.deepcopy(output)  # its cache grows with the answer

        own = vars(model).get("forward")  # set on models on several devices
        model.forward = forward
        try:
            yield
        finally:
            del model.forward
            if own is not None:
                model.forward = own
