"""Batches of prompts of like length, within a budget of padded tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from PIL import Image

from extract.backbone import Backbone
from extract.prompts import build_inputs, prompt_text

Size = tuple[int, int]


class PromptLengths:
    """Lengths of prompts in tokens, without running the processor on every image twice.

    What an image adds depends only on its size, so it is measured once a size, on a blank image.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._image_tokens = functools.lru_cache(maxsize=None)(self._measure)

    def __call__(self, text: str, sizes: Sequence[Size]) -> int:
        """Tokens of the prompt with this text and images of these (width, height).

        Raises:
          ValueError: the processor refuses an image of such a size.
        """
        ids = self._backbone.tokenizer(prompt_text(self._backbone, text, len(sizes)))["input_ids"]
        return len(ids) + sum(self._image_tokens(size) for size in sizes)

    def _measure(self, size: Size) -> int:
        """Tokens that an image adds to the one placeholder that the prompt's text has for it."""
        whole = build_inputs(self._backbone, [("x", Image.new("RGB", size))])["input_ids"].shape[1]
        return whole - len(self._backbone.tokenizer(prompt_text(self._backbone, "x", 1))["input_ids"])


def form_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of prompts, batched in order of length; a batch padded to its longest holds at most `budget` tokens.

    A prompt longer than the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and lengths[index] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch failed for lack of memory, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
