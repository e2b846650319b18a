"""What limits the size of a batch: the lengths of its prompts in tokens, and memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from PIL import Image

from extract.backbone.load import Backbone
from extract.backbone.prompts import build_inputs, image_token_id, prompt_text

Size = tuple[int, int]

# How PyTorch's back ends and their libraries report that memory ran out; not all of them raise OutOfMemoryError.
MEMORY_WORDS = ("out of memory", "DefaultCPUAllocator", "_STATUS_ALLOC_FAILED")


@dataclasses.dataclass(frozen=True)
class ImageTokens:
    """The size of one image in a prompt.

    Attributes:
      count: number of image tokens.
      added: tokens added to the prompt in place of the image's one placeholder.
    """

    count: int
    added: int


class PromptLengths:
    """Lengths of prompts in tokens, without a second run of the processor on every image.

    The number of tokens depends only on the image's size, so it is measured once per size on a blank image.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self.image_tokens = functools.lru_cache(maxsize=None)(self._measure)

    def __call__(self, text: str, sizes: Sequence[Size]) -> int:
        """Number of tokens in the prompt with this text and images of these (width, height).

        Raises:
          Exception: whatever the processor raises for an image of such a size.
        """
        ids = self._backbone.tokenizer(prompt_text(self._backbone, text, len(sizes)))["input_ids"]
        return len(ids) + sum(self.image_tokens(size).added for size in sizes)

    def _measure(self, size: Size) -> ImageTokens:
        ids = build_inputs(self._backbone, [("x", Image.new("RGB", size))])["input_ids"]
        text = self._backbone.tokenizer(prompt_text(self._backbone, "x", 1))["input_ids"]
        count = int((ids == image_token_id(self._backbone.model.config)).sum())
        return ImageTokens(count, ids.shape[1] - len(text))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the accelerator or the machine ran out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in MEMORY_WORDS)
