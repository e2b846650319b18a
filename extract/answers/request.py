"""Requests and responses, the same for a server and for the small model in this process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from extract.answers.content import Question, message
from extract.answers.endings import FAILED, kind_of
from extract.answers.styles import CONFIDENCE, DIRECT, STEPS, styled
from extract.spec import AnswerSpec
from extract.text import clean_text
from relope_jax.io.files import json_digest, parse_json

KEY_VERSION = 3  # raise it when the meaning of a cached response changes
LARGEST_COUNT = 2**31 - 1  # of tokens, as the table stores them
LARGEST_FLOAT = 3.4e38  # of float32, as the table stores log-probabilities
ROUNDING = 1e-2  # how far a log-probability may exceed 0
LONGEST_NAME = 100  # characters of a server's name for a model, a fingerprint or an ending

Key = tuple[str, str, int]  # sample_id, style, index


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for one answer: a question under a style, and the answer's index.

    Attributes:
      index: 0 for the greedy answer; numbers the sampled answers of one style.
      fields: the fields of the request's body, except the messages.
    """

    question: Question
    style: str
    index: int
    fields: dict[str, Any]
    detail: str = ""

    @property
    def identity(self) -> Key:
        return self.question.sample_id, self.style, self.index

    @property
    def text(self) -> str:
        return styled(self.style, self.question.text, self.question.answer)

    @property
    def body(self) -> dict[str, Any]:
        """The body of the request to a server."""
        return {"messages": [message(self.text, self.question.urls, self.detail)], **self.fields}

    def key(self, source: str) -> str:
        """SHA-256 of the whole request to `source`: the key in the cache.

        The sample's id, the style and the index are part of it, so two samples with the same prompt and images have
        separate answers. Servers are not deterministic, so this also applies to greedy answers.
        """
        return json_digest([KEY_VERSION, source, self.body, *self.identity])


@dataclasses.dataclass(frozen=True)
class Response:
    """One answer as received. One that could not be stored or graded cannot be constructed.

    Attributes:
      token_logprobs: natural logarithms, one per token; None when the server gives none.
      prompt_tokens, completion_tokens: None when the server does not count them.
      finish_reason: "stop", "length", "content_filter", ...
      model, fingerprint: as reported by the server.

    Raises:
      ValueError: a field has the wrong type, a text is not clean, a number is out of range, the counts contradict the
        answer, or the answer ended with a failure.
    """

    text: str
    token_logprobs: list[float] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str
    model: str
    fingerprint: str

    def __post_init__(self) -> None:
        names = (self.finish_reason, self.model, self.fingerprint)
        if not all(isinstance(text, str) and clean_text(text) == text for text in (self.text, *names)):
            raise ValueError("a text of the response is not a string, or holds control characters or a lone surrogate")
        if max(map(len, names)) > LONGEST_NAME:
            raise ValueError("a name of the response is too long")
        counts = [count for count in (self.prompt_tokens, self.completion_tokens) if count is not None]
        if not all(type(count) is int and 0 <= count <= LARGEST_COUNT for count in counts):
            raise ValueError("a number of tokens of the response is not a count")
        numbers = [] if self.token_logprobs is None else self.token_logprobs
        if not isinstance(numbers, list) or not all(isinstance(n, float) and is_log_probability(n) for n in numbers):
            raise ValueError("a log-probability of the response is not valid")
        if not counts_fit(self.completion_tokens, self.text, len(numbers)):
            raise ValueError("the number of tokens of the response contradicts its text")
        if kind_of(self.finish_reason) == FAILED:
            raise ValueError(f"the answer ended with a failure: {self.finish_reason}")

    def dump(self) -> str:
        """As JSON, for the cache."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def parse(text: str | bytes) -> Response:
        """The inverse of `dump`; raises ValueError, TypeError or ReLopeError when `text` is not a response."""
        return Response(**parse_json(text, "an entry of the cache"))


def is_log_probability(number: float) -> bool:
    """Whether a number can be the natural logarithm of a probability, rounded and stored as float32."""
    return -LARGEST_FLOAT <= number <= ROUNDING  # false for NaN


def counts_fit(completion_tokens: int | None, text: str, n_logprobs: int) -> bool:
    """Whether a number of answer tokens is possible: not 0 for a text, and at least the number of log-probabilities
    minus one, because servers differ in whether they count the end token."""
    return completion_tokens is None or (completion_tokens >= max(bool(text), n_logprobs - 1))


def styles_of(spec: AnswerSpec) -> tuple[str, ...]:
    """The styles to ask: a greedy answer needs one, sampled answers need both."""
    if spec.ask == CONFIDENCE:
        return (CONFIDENCE,)
    return (DIRECT, STEPS) if spec.samples else (DIRECT,)


def requests_for(question: Question, spec: AnswerSpec) -> Iterator[Request]:
    """Every request that `spec` makes for one question."""
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


def token_limit(spec: AnswerSpec, setting: str) -> tuple[str, str]:
    """What limits the length of an answer, and how to raise the limit, for messages.

    Args:
      setting: the setting of `spec.max_tokens`; empty when it is fixed.
    """
    extra = spec.extra_fields or {}
    for name in ("max_completion_tokens", "max_tokens"):
        if extra.get(name) is not None:
            return f"{name}={extra[name]} of answers.extra", "raise it in --config.answers.extra"
    if "max_tokens" in extra:
        return "the server's own limit", "set one with --config.answers.extra"
    if not setting:
        return f"{spec.max_tokens} tokens", ""
    return f"{setting}={spec.max_tokens}", f"raise it with --config.{setting}=..."
