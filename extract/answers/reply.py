"""From a server's raw reply to a checked response. Nothing in a reply is trusted: every type is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from extract.answers.endings import FAILED, kind_of
from extract.answers.failure import Failure, failure_in, said
from extract.answers.request import LARGEST_COUNT, Response
from extract.text import shortened, without_surrogates

TEXT_CHUNKS = ("text", "output_text")  # of a content that is a list; thoughts and other kinds are no answer
LONGEST_NAME = 100  # characters
ROUNDING = 1e-2  # a log-probability may be that much above 0
LARGEST_FLOAT = 3.4e38  # of float32, as the table stores log-probabilities


def read_reply(data: bytes, headers: Mapping[str, str]) -> Response:
    """The response that the body of a successful reply holds.

    Raises:
      Failure: it holds no answer, or an error; its status is the one that the error names.
    """
    reply = _parse(data)
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (reply, choice):
        if isinstance(holder, dict) and _is_error(holder.get("error")):
            raise failure_in(holder["error"], headers, "the reply holds an error")
    if not isinstance(choice, dict):  # some servers' error is the whole body
        raise failure_in(reply, headers, "the reply holds no answer")
    if not isinstance(choice.get("message"), dict):
        raise Failure("the reply holds no answer: its choice has no message")
    finish_reason = _name(choice.get("finish_reason"))
    if kind_of(finish_reason) == FAILED:
        raise Failure(f"the answer ended with finish_reason '{finish_reason}'")
    usage = reply["usage"] if isinstance(reply.get("usage"), dict) else {}
    return Response(
        text=_answer(choice["message"]),
        token_logprobs=_token_logprobs(choice.get("logprobs")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        finish_reason=finish_reason,
        model=_name(reply.get("model")),
        fingerprint=_name(reply.get("system_fingerprint")),
    )


def log_probabilities(values: Sequence[Any]) -> list[float] | None:
    """Natural logarithms of probabilities, one a token; None unless every one of them is a number that can be one.

    They are optional: a flaw in them costs the log-probabilities, never the answer.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not values or len(numbers) < len(values):
        return None
    return [float(value) for value in numbers] if all(-LARGEST_FLOAT <= n <= ROUNDING for n in numbers) else None


def _parse(data: bytes) -> dict[str, Any]:
    """The reply's JSON object; raises Failure, with the beginning of what came instead."""
    text = data.decode("utf-8-sig", errors="replace")  # bytes that are no text must not cost the answer
    if not text.strip():
        raise Failure("the reply is empty")
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        if text.lstrip().startswith(("data:", "event:")):
            hint = "the server streams its reply; ask it not to with --config.answers.extra='{\"stream\": false}'"
            raise Failure(hint) from None
        reply = text
    if not isinstance(reply, dict):
        raise Failure(f"the reply is no chat completion (does answers.base_url end in /v1?) but says: {said(reply)}")
    return reply


def _is_error(error: Any) -> bool:
    """Whether the field says anything: servers also send null, "" and objects of nulls when all went well."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _answer(message: dict[str, Any]) -> str:
    """The text of a message; "" when it has none. Raises Failure when its content has a type that no text has."""
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        content = "".join(_chunk(chunk) for chunk in content)
    if content is not None and not isinstance(content, str):
        raise Failure(f"the reply's content is no text but of type {type(content).__name__}")
    return without_surrogates(content or "") or _text(refusal)


def _chunk(chunk: Any) -> str:
    """The text of one chunk of a content; "" for a chunk of another kind."""
    if isinstance(chunk, str):
        return chunk
    if not isinstance(chunk, dict) or (chunk.get("type") or "text") not in TEXT_CHUNKS:
        return ""
    text = chunk.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    if text is not None and not isinstance(text, str):
        raise Failure(f"a text chunk of the reply's content is no text but of type {type(text).__name__}")
    return text or ""


def _token_logprobs(logprobs: Any) -> list[float] | None:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return None
    return log_probabilities([token.get("logprob") for token in tokens])


def _count(value: Any) -> int | None:
    """A number of tokens; None when the server counts none, or something that is no count."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(value) if is_number and 0 <= value <= LARGEST_COUNT else None


def _text(value: Any) -> str:
    return without_surrogates(value) if isinstance(value, str) else ""


def _name(value: Any) -> str:
    return shortened(value, LONGEST_NAME) if isinstance(value, str) else ""
