"""Turns a server's raw reply into a checked response. Nothing in a reply is trusted: every type is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from extract.answers.endings import FAILED, kind_of
from extract.answers.failure import Failure, failure_in, said
from extract.answers.request import LARGEST_COUNT, LONGEST_NAME, Response, counts_fit, is_log_probability
from extract.text import clean_text, shortened
from relope_jax.errors import ReLopeError
from relope_jax.io.files import parse_json

TEXT_CHUNKS = ("text", "output_text")  # in a content list; reasoning and other kinds are not answers


def read_reply(data: bytes, headers: Mapping[str, str]) -> Response:
    """The response in the body of a successful reply.

    Raises:
      Failure: it holds no answer, or an error, whose status is then set.
    """
    reply = _parse(data)
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (reply, choice):
        if isinstance(holder, dict) and _is_error(holder.get("error")):
            raise failure_in(holder["error"], headers, "the reply holds an error")
    if not isinstance(choice, dict):  # some servers send the error as the body
        raise failure_in(reply, headers, "the reply holds no answer")
    if not isinstance(choice.get("message"), dict):
        raise Failure("the reply holds no answer: its choice has no message")
    finish_reason = _name(choice.get("finish_reason"))
    if kind_of(finish_reason) == FAILED:
        raise Failure(f"the answer ended with finish_reason '{finish_reason}'")
    text, token_logprobs = _answer(choice["message"]), _token_logprobs(choice.get("logprobs"))
    prompt_tokens, completion_tokens = _counts(reply.get("usage"), text, len(token_logprobs or ()))
    return Response(
        text=text,
        token_logprobs=token_logprobs,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        finish_reason=finish_reason,
        model=_name(reply.get("model")),
        fingerprint=_name(reply.get("system_fingerprint")),
    )


def log_probabilities(values: Sequence[Any]) -> list[float] | None:
    """Natural logarithms of probabilities, one per token; None unless each is a number in range.

    They are optional: an invalid one discards the log-probabilities, never the answer.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not values or len(numbers) < len(values):
        return None
    return [float(value) for value in numbers] if all(map(is_log_probability, numbers)) else None


def _parse(data: bytes) -> dict[str, Any]:
    """The reply's JSON object; raises Failure with the beginning of the reply otherwise."""
    text = data.decode("utf-8-sig", errors="replace")  # invalid bytes must not discard the answer
    if not text.strip():
        raise Failure("the reply is empty")
    try:
        reply = parse_json(text, "the reply")
    except ReLopeError as error:
        raise Failure(str(error)) from None
    except ValueError:
        if text.lstrip().startswith(("data:", "event:")):
            hint = "the server streams its reply; ask it not to with --config.answers.extra='{\"stream\": false}'"
            raise Failure(hint) from None
        reply = text
    if not isinstance(reply, dict):
        raise Failure(f"the reply is not a chat completion (does answers.base_url end in /v1?) but says: {said(reply)}")
    return reply


def _is_error(error: Any) -> bool:
    """Whether the field holds an error: servers also send null, "", objects of nulls and code 0 on success."""
    if isinstance(error, dict):
        return any(error.values()) and error.get("code") not in (0, "0")
    return bool(error)


def _answer(message: dict[str, Any]) -> str:
    """The text of a message, or "". Raises Failure when the content has a type that is not text."""
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        refusal = refusal or "".join(_text(chunk.get("refusal")) for chunk in content if isinstance(chunk, dict))
        content = "".join(_chunk(chunk) for chunk in content)
    if content is not None and not isinstance(content, str):
        raise Failure(f"the reply's content is not text but of type {type(content).__name__}")
    return clean_text(content or "") or _text(refusal)


def _chunk(chunk: Any) -> str:
    """The text of one chunk of a content list; "" for chunks of other kinds."""
    if isinstance(chunk, str):
        return chunk
    if not isinstance(chunk, dict) or (chunk.get("type") or "text") not in TEXT_CHUNKS or chunk.get("thought"):
        return ""
    text = chunk.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    if text is not None and not isinstance(text, str):
        raise Failure(f"a text chunk of the reply's content is not text but of type {type(text).__name__}")
    return text or ""


def _token_logprobs(logprobs: Any) -> list[float] | None:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return None
    return log_probabilities([token.get("logprob") for token in tokens])


def _counts(usage: Any, text: str, n_logprobs: int) -> tuple[int | None, int | None]:
    """Numbers of prompt and answer tokens. None where the server does not count, and for both when they are impossible:
    a total below their sum, or fewer answer tokens than the answer contains."""
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    wrong_total = total is not None and total < (prompt or 0) + (completion or 0)
    return (None, None) if wrong_total or not counts_fit(completion, text, n_logprobs) else (prompt, completion)


def _count(value: Any) -> int | None:
    """A whole number of tokens (JSON may write 2.0); None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= LARGEST_COUNT and value == int(value) else None


def _text(value: Any) -> str:
    return clean_text(value) if isinstance(value, str) else ""


def _name(value: Any) -> str:
    return shortened(value, LONGEST_NAME) if isinstance(value, str) else ""
