"""What is asked and what comes back, the same for a server and for a model in process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from extract.answers.content import Question, message
from extract.answers.styles import CONFIDENCE, DIRECT, STEPS, styled
from extract.spec import AnswerSpec

KEY_VERSION = 1  # raise it when the meaning of a cached response changes


@dataclasses.dataclass(frozen=True)
class Request:
    """One answer to be had: a question under a style, and its index.

    Attributes:
      index: 0 for the greedy answer; numbers the sampled answers of one style.
      fields: of the request's body, all but the messages.
    """

    question: Question
    style: str
    index: int
    fields: dict[str, Any]
    detail: str = ""

    @property
    def text(self) -> str:
        return styled(self.style, self.question.text, self.question.answer)

    @property
    def body(self) -> dict[str, Any]:
        """What a server is sent."""
        return {"messages": [message(self.text, self.question.urls, self.detail)], **self.fields}

    def key(self, source: str) -> str:
        """SHA-256 of the whole request to `source`, images and index included: the cache's key."""
        whole = json.dumps([KEY_VERSION, source, self.body, self.index], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Response:
    """One answer as it came.

    Attributes:
      token_logprobs: natural logarithms, one a token; None when the server gives none.
      prompt_tokens, completion_tokens: None when the server does not count.
      finish_reason: "stop", "length", "content_filter", ...
      model, fingerprint: what the server says it answered with.
    """

    text: str
    token_logprobs: list[float] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str
    model: str
    fingerprint: str

    def dump(self) -> str:
        """As JSON, for the cache."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def parse(text: str) -> Response:
        """The inverse of `dump`; raises ValueError or TypeError when it is none."""
        return Response(**json.loads(text))


def styles_of(spec: AnswerSpec) -> tuple[str, ...]:
    """The styles that are asked: a greedy answer needs one, sampled answers take both."""
    if spec.ask == CONFIDENCE:
        return (CONFIDENCE,)
    return (DIRECT, STEPS) if spec.samples else (DIRECT,)


def requests_for(question: Question, spec: AnswerSpec) -> Iterator[Request]:
    """Every request that `spec` makes of one question."""
    for style in styles_of(spec):
        for index in range(max(spec.samples, 1)):
            yield Request(question, style, index, _fields(spec, index), spec.image_detail)


def _fields(spec: AnswerSpec, index: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": spec.model, "max_tokens": spec.max_tokens, "seed": spec.seed + index}
    if spec.samples:
        fields |= {"temperature": spec.temperature, "top_p": spec.top_p}
    else:
        fields |= {"temperature": 0.0}
    if spec.logprobs:
        fields["logprobs"] = True
    fields |= spec.extra_fields or {}
    return {name: value for name, value in fields.items() if value is not None}
