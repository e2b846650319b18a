"""The small model's answers, greedy or sampled, with token log-probabilities and an embedding of the output."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from extract.backbone.decoding import GREEDY, end_tokens, only, plain_config
from extract.backbone.draws import Draws
from extract.backbone.load import Backbone
from extract.backbone.prompts import build_inputs
from extract.backbone.shared_prefill import SharedPrefill
from relope_jax.errors import ReLopeError, require_range

CAPTION_PROMPT = "Describe this image in detail."
CAPTION_TOKENS = 64
STOP, LENGTH = "stop", "length"  # finish reasons, named as servers name them


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to sample answers.

    Attributes:
      temperature: divides the logits; above 0.
      top_p: draw from the smallest set of tokens whose probability reaches it; 1 keeps all.
      seeds: one per prompt in the batch. The sample for a prompt depends only on its seed and its own logits, not on
        the batch or earlier samples. Derive it from the prompt: `stable_seed(seed, sample_id)`.
    """

    seeds: tuple[int, ...]
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ReLopeError(f"sampling.temperature is {self.temperature}; it must be above 0")
        require_range("sampling.top_p", self.top_p, 0, 1)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The model's answer to one prompt.

    Attributes:
      text: without special tokens and surrounding whitespace.
      token_logprobs: `[n_tokens]` float32, log p of every generated token including the end token, in the model's own
        distribution (before temperature and top-p).
      first_token_entropy: entropy of the model's own distribution of the first token, in nats.
      finish_reason: `STOP` when the answer ends with one of the model's end tokens, even as the last allowed token;
        else `LENGTH`: it was cut off.
    """

    text: str
    token_logprobs: np.ndarray
    first_token_entropy: float
    finish_reason: str

    @property
    def n_tokens(self) -> int:
        return len(self.token_logprobs)


@dataclasses.dataclass(frozen=True)
class Generated:
    """Answers of a batch.

    Attributes:
      output_embedding: `[batch, d]` float32, mean over an answer's tokens (including the end token) of the decoder's
        final state, after its last norm, at the position that predicts the token.
    """

    answers: list[Answer]
    output_embedding: np.ndarray


def generate(
    backbone: Backbone,
    inputs: Any,
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    shared: SharedPrefill | None = None,
) -> Generated:
    """Answer the left-padded prompts from `build_inputs`, greedily or sampled once with `sampling`.

    Memory does not grow with steps * vocabulary, and the model keeps no hooks. Consecutive calls with the same `inputs`
    and `shared` compute the prefill once.
    """
    config, recorder = plain_config(backbone, max_new_tokens, **GREEDY), _Recorder(backbone, shared)
    processors = LogitsProcessorList()  # empty: greedy
    if sampling:
        if len(sampling.seeds) != len(inputs["input_ids"]):
            raise ValueError(f"{len(sampling.seeds)} seeds for {len(inputs['input_ids'])} prompts")
        processors.append(Draws(sampling.temperature, sampling.top_p, sampling.seeds))
    with torch.inference_mode(), only(backbone.model, config), recorder:
        output = backbone.model.generate(
            **inputs,
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([recorder]),
        )
    return recorder.generated(output[:, inputs["input_ids"].shape[1] :])


def caption_images(
    backbone: Backbone, images: Sequence[Image.Image], max_new_tokens: int = CAPTION_TOKENS
) -> list[str]:
    """The small model's own captions: its greedy answers to `CAPTION_PROMPT`, in one batch.

    Raises:
      ValueError: the processor rejects an image.
    """
    if not images:
        return []
    inputs = build_inputs(backbone, [(CAPTION_PROMPT, image) for image in images])
    return [answer.text for answer in generate(backbone, inputs, max_new_tokens).answers]


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and their order, and is the same in every process."""
    return random.Random(repr(parts)).getrandbits(63)


class _Recorder(StoppingCriteria):
    """Follows `generate`: hooks record a step's logits and states; the call after the choice gets the token.

    It is a stopping criterion (one that never stops) because these get every token, including the last one.
    """

    def __init__(self, backbone: Backbone, shared: SharedPrefill | None = None):
        self._backbone = backbone
        self._sharing = contextlib.ExitStack()
        self._shared = shared
        self._ends = torch.tensor(end_tokens(backbone), dtype=torch.long, device=backbone.device)
        self._hooks: list[Any] = []
        self._log_probs: list[torch.Tensor] = []

    def __enter__(self) -> _Recorder:
        self._hooks = [
            self._backbone.decoder.register_forward_hook(self._on_decoder),
            # Not on the output head: some families still change the logits after it.
            self._backbone.model.register_forward_hook(self._on_model),
        ]
        if self._shared:
            serving = self._shared.serve(self._backbone.model, lambda: self._state, self._set_state)
            self._sharing.enter_context(serving)
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._sharing.close()

    def _on_decoder(self, module: torch.nn.Module, args: tuple, output: Any) -> None:
        self._set_state(output[0][:, -1].float())

    def _set_state(self, state: torch.Tensor) -> None:
        self._state = state

    def _on_model(self, module: torch.nn.Module, args: tuple, output: Any) -> None:
        self._logits = output.logits[:, -1].float()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        token = input_ids[:, -1].to(self._state.device)  # with several devices, the last layer is on another one
        log_p = self._logits.to(token.device).log_softmax(dim=-1)
        if not self._log_probs:
            self._entropy = torch.special.entr(log_p.exp()).sum(dim=-1)
            self._running = torch.ones_like(token, dtype=torch.bool)
            self._n_tokens = torch.zeros_like(token)
            self._sum = torch.zeros_like(self._state)
        self._log_probs.append(log_p.gather(1, token[:, None])[:, 0])
        self._n_tokens += self._running
        self._sum += torch.where(self._running[:, None], self._state, 0.0)
        self._running &= ~torch.isin(token, self._ends.to(token.device))
        del self._logits, self._state  # they are views of all positions: release the prefill's
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def generated(self, tokens: torch.Tensor) -> Generated:
        """Everything recorded, without the padding after the end; `tokens` is `[batch, steps]`."""
        counts = self._n_tokens.tolist()
        log_probs = torch.stack(self._log_probs, dim=1).cpu().numpy()
        texts = [
            self._backbone.tokenizer.decode(row[:n], skip_special_tokens=True).strip()
            for row, n in zip(tokens.tolist(), counts, strict=True)
        ]
        answers = [
            Answer(text, row[:n], entropy, LENGTH if cut_off else STOP)
            for text, row, n, entropy, cut_off in zip(
                texts, log_probs, counts, self._entropy.tolist(), self._running.tolist(), strict=True
            )
        ]
        return Generated(answers, (self._sum / self._n_tokens[:, None]).cpu().numpy())
