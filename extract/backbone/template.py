"""A model's chat template: how a user's question becomes a prompt, and what a question must not contain."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from extract.backbone.controls import Controls
from extract.imaging.images import LeftOut

# Trained on bare questions, without a chat template. Without an image its processor damages the question.
PALIGEMMA = "paligemma"

Piece = dict[str, str]  # {"type": "image"}, or {"type": "text", "text": ...}
IMAGE, TEXT = "image", "text"
QUESTION = "x7Qk2"  # a question that shares no text with any template
SHORTEST = 4  # characters of a marker that is looked for in questions; "A:" is too common


class Template:
    """The chat template of a loaded model.

    Args:
      config: the model's.
      name: of the model, for messages.
    """

    def __init__(self, config: Any, processor: Any, name: str):
        self._bare, self._processor, self._name = config.model_type == PALIGEMMA, processor, name
        self._controls = Controls.of(config, processor)
        self._counted = functools.lru_cache(maxsize=1000)(self._count)

    def render(self, content: Sequence[Piece]) -> str:
        """A user turn with the model's placeholders for its images."""
        if self._bare:
            if not any(piece["type"] == IMAGE for piece in content):
                raise ValueError(f"{self._name} cannot take a question without an image")
            token = self._processor.image_token
            return "".join(token if piece["type"] == IMAGE else piece["text"] for piece in content)
        messages = [{"role": "user", "content": list(content)}]
        return self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def prompt(self, content: Sequence[Piece]) -> str:
        """Like `render`, for a question that cannot be mistaken for a part of the template.

        Raises:
          LeftOut: the question contains a placeholder, another control token, or the words with which the template
            begins an answer; or the prompt does not have one placeholder per image.
        """
        for text in (piece["text"] for piece in content if piece["type"] == TEXT):
            if found := self._controls.in_text(text):
                raise LeftOut(found)
            if self._mark and self._mark in text:
                raise LeftOut(f"the question contains '{self._mark}', with which the chat template begins an answer")
        prompt, kinds = self.render(content), tuple(piece["type"] for piece in content)
        placeholders, others = self._controls.count(prompt)
        if self._per_image and placeholders != (expected := self._per_image * kinds.count(IMAGE)):
            raise LeftOut(f"its prompt has {placeholders} image placeholders where its images need {expected}")
        if others != self._counted(kinds)[1]:
            raise LeftOut("the question adds control tokens to the model's chat template")
        return prompt

    @functools.cached_property
    def _per_image(self) -> int:
        """Placeholders per image in a prompt; 0 if images are marked differently, which the processor checks."""
        one, two = (self._counted((IMAGE,) * n + (TEXT,))[0] for n in (1, 2))
        return two - one if two > one else one

    @functools.cached_property
    def _mark(self) -> str:
        """What the template writes between question and answer, such as "ASSISTANT:"; may be ""."""
        if self._bare:
            return ""
        _, question, rest = self.render([{"type": TEXT, "text": QUESTION}]).rpartition(QUESTION)
        return rest.strip() if question and len(rest.strip()) >= SHORTEST else ""

    def _count(self, kinds: tuple[str, ...]) -> tuple[int, int]:
        """Placeholders and other control tokens written by the template itself; zero if it refuses such a turn."""
        content = [{"type": kind} if kind == IMAGE else {"type": TEXT, "text": QUESTION} for kind in kinds]
        try:
            return self._controls.count(self.render(content))
        except Exception:  # templates raise many kinds, for example for several images
            return 0, 0
