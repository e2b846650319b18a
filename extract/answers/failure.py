"""Why a request got no answer: one type for network errors, HTTP statuses and errors inside a reply."""

from __future__ import annotations

import email.utils
import html
import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import openai

from extract.imaging.images import LeftOut
from relope_jax.errors import first_line

QUOTA = "insufficient_quota"
# Words in an error's "code" or "type", and the HTTP status that other servers send for the same error.
_STATUS_OF = {
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "too_many_requests": 429, QUOTA: 429,
    "invalid_api_key": 401, "authentication_error": 401, "permission_error": 403, "permission_denied": 403,
    "model_not_found": 404, "not_found_error": 404, "deploymentnotfound": 404,
    "invalid_request_error": 400, "badrequesterror": 400, "context_length_exceeded": 400,
    "content_filter": 400, "content_policy_violation": 400,
    "server_error": 500, "internal_error": 500, "api_error": 500, "overloaded_error": 503, "service_unavailable": 503,
}  # fmt: skip
_WORDS = ("error", "message", "detail", "errors", "msg", "status_msg", "error_description", "title")
_DEEPEST = 5  # levels of an error's object that are searched for words
_PAGE = re.compile(r"<(?:!doctype|html|head|body|title|h1)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(?:title|h1)\b[^<>]*>([^<]*)", re.IGNORECASE)
_LONGEST_PAGE = 20_000  # characters of a page that are searched for its title


class NoAnswer(LeftOut):
    """A question that is left out because every try failed."""


class RateLimited(NoAnswer):
    """A question for which the server refused every try because of rate limits."""


class Failure(Exception):
    """One request without an answer.

    Attributes:
      why: the words of the server or network, of any length. They may contain the key, so they are not shortened here.
      status: the HTTP status, or the status given in an error inside a reply; None when there is neither.
      quota: whether the account's quota is used up.
      wait: seconds that the server asks to wait; None when it gives no time.
      unreachable: whether no connection could be made.
    """

    def __init__(
        self,
        why: str,
        status: int | None = None,
        *,
        quota: bool = False,
        wait: float | None = None,
        unreachable: bool = False,
    ):
        super().__init__(why)
        self.why, self.status, self.quota, self.wait, self.unreachable = why, status, quota, wait, unreachable


def failure_of(error: openai.APIError, timeout: float) -> Failure:
    """The Failure for an exception of the client; `timeout` is the request's, in seconds."""
    if isinstance(error, openai.APITimeoutError):
        return Failure(f"no answer within {timeout:g} seconds")
    if isinstance(error, openai.APIStatusError):
        response = error.response
        words, wait = said(error.body), retry_after(response.headers)
        if location := response.headers.get("location"):
            return Failure(f"redirects to {location.partition('?')[0]}", error.status_code)
        why = words or f"status {error.status_code} {response.reason_phrase}".strip()
        return Failure(why, error.status_code, quota=QUOTA in _words_of(error.body), wait=wait)
    cause = error.__cause__
    # By name, because the client's HTTP package has had two names.
    unreachable = type(cause).__name__ in ("ConnectError", "ProxyError", "UnsupportedProtocol")
    return Failure(first_line(cause or error), unreachable=unreachable)


def failure_in(error: Any, headers: Mapping[str, str], problem: str) -> Failure:
    """The Failure for an error inside a reply of status 200; `problem` precedes the error's words."""
    why = f"{problem}: {words}" if (words := said(error)) else problem
    return Failure(why, _status(error), quota=QUOTA in _words_of(error), wait=retry_after(headers))


def said(body: Any, depth: int = 0) -> str:
    """The words in a server's error, or "": handles the shapes of OpenAI, vLLM, FastAPI and Google, HTML pages and
    plain text."""
    if depth > _DEEPEST or isinstance(body, bool) or body in (None, 0, "", [], {}):
        return ""
    if isinstance(body, str):
        return _plain(body)
    if isinstance(body, list):
        return "; ".join(filter(None, (said(item, depth + 1) for item in body[:3])))
    if not isinstance(body, dict):
        return str(body)
    words = next(filter(None, (said(body.get(name), depth + 1) for name in _WORDS)), "")
    place = body.get("loc")  # FastAPI: where in the request
    if words and isinstance(place, list):
        return f"{'.'.join(map(str, place[:8]))}: {words}"
    return words or (_json(body) if depth == 0 else "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks to wait, from a number or a date; at least 0, None when it is invalid."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
            # A date without a time zone is UTC, as in HTTP.
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _plain(text: str) -> str:
    """Text without markup: the title if the text is a page with one."""
    if not _PAGE.search(text[:2000]):
        return text
    page = text[:_LONGEST_PAGE]
    titles = [title for title in (html.unescape(found).strip() for found in _TITLE.findall(page)) if title]
    return titles[0] if titles else html.unescape(re.sub("<[^<>]*>", " ", page)).strip() or text


def _json(body: dict[str, Any]) -> str:
    try:
        return json.dumps(body)
    except RecursionError:
        return ""


def _words_of(error: Any) -> list[str]:
    """The names that an error gives for itself, in lower case."""
    values = [error.get(name) for name in ("code", "type", "status")] if isinstance(error, dict) else []
    return [value.lower() for value in values if isinstance(value, str)]


def _status(error: Any) -> int | None:
    """The HTTP status named in an error object, by number or by word."""
    if not isinstance(error, dict):
        return None
    for value in (error.get(name) for name in ("status", "status_code", "code")):
        if isinstance(value, int | float | str) and re.fullmatch(r"[45]\d\d(?:\.0)?", str(value)):
            return int(float(value))
    return next((_STATUS_OF[word] for word in _words_of(error) if word in _STATUS_OF), None)
