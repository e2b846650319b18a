"""One OpenAI-compatible server: requests with retries, and clear words for what cannot be mended by trying again."""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time

import openai
from openai.types.chat import ChatCompletion
from tqdm import tqdm

from extract.answers.request import Request, Response
from extract.images import LeftOut
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError, first_line, nearest

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds of back-off, doubled after every failure
LONGEST_RETRY_AFTER = 600.0  # seconds; a server that wants a longer pause is left alone
MAY_PASS = {408, 409, 425, 429}  # and every 5xx
QUESTION_REFUSED = {400, 413, 422}  # content filter, too long, too large: another question may do
NO_KEY = "none"  # the client insists on a key; servers without keys ignore it


class Stopped(Exception):
    """Asking was stopped by another thread's failure."""


class Endpoint:
    """The server of `spec`; `ask` may be called by many threads."""

    def __init__(self, spec: AnswerSpec):
        self.spec = spec
        self.source = spec.base_url
        self._key = _read_key(spec)
        self._client = openai.OpenAI(
            api_key=self._key or NO_KEY, base_url=spec.base_url, timeout=spec.timeout, max_retries=0
        )
        self._stopped = threading.Event()
        self._answered = 0  # answers had so far; tells a server that is down from a question that it chokes on
        self._noted: set[str] = set()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Let no further try begin; waiting threads wake up and raise Stopped."""
        self._stopped.set()

    def ask(self, request: Request) -> Response:
        """One answer, with as many tries as `spec.retries` allows.

        Raises:
          LeftOut: the server does not answer this question, but answers others.
          ReLopeError: the server cannot be used; the message says what to do.
          Stopped: `stop` was called.
        """
        answered_before = self._answered
        for failures in range(self.spec.retries + 1):
            if self._stopped.is_set():
                raise Stopped
            try:
                response = self._ask_once(request)
                self._answered += 1
                return response
            except (openai.APIError, ValueError) as error:
                self._raise_unless_it_may_pass(error)
                failure = error
            if failures < self.spec.retries:
                self._note(failure)
                self._stopped.wait(self._pause(failure, failures))
        raise self._giving_up(failure, others_answered=self._answered > answered_before)

    def models(self) -> list[str]:
        """What the server offers; empty when it does not say."""
        try:
            return sorted(model.id for model in self._client.models.list().data)
        except (openai.APIError, ValueError, AttributeError, TypeError):
            return []

    def _ask_once(self, request: Request) -> Response:
        # Servers know fields that the client does not: only these two are the client's own.
        fields = {name: value for name, value in request.body.items() if name not in ("model", "messages")}
        reply = self._client.chat.completions.create(
            model=request.body["model"], messages=request.body["messages"], extra_body=fields
        )
        if not isinstance(reply, ChatCompletion):
            raise ReLopeError(f"{self.source} is no OpenAI-compatible server: does answers.base_url end in /v1?")
        try:
            return _response(reply)
        except (AttributeError, TypeError) as error:  # the client does not check what a server sends
            raise ValueError(f"the reply is no chat completion: {first_line(error)}") from error

    def _raise_unless_it_may_pass(self, error: Exception) -> None:
        if not isinstance(error, openai.APIStatusError):
            return  # no connection, no answer in time, or a reply that is torn
        status, why = error.status_code, self._why(error)
        if status in QUESTION_REFUSED:
            raise LeftOut(f"refused ({status}): {why}") from error
        if status in (401, 403):
            raise ReLopeError(self._about_the_key(status)) from error
        if status == 404:
            raise ReLopeError(self._about_the_model(why)) from error
        if getattr(error, "code", None) == "insufficient_quota":
            raise ReLopeError(f"{self.source}: {why}; what was answered is kept, run the same command later") from error
        if status not in MAY_PASS and status < 500:
            raise ReLopeError(f"{self.source} answers with status {status}: {why}") from error

    def _giving_up(self, error: Exception, others_answered: bool) -> Exception:
        why = self._why(error)
        status = getattr(error, "status_code", None)
        unreachable = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
        if others_answered and not unreachable and status not in MAY_PASS:
            return LeftOut(f"no answer after {self.spec.retries + 1} tries: {why}")
        advice = "raise answers.retries or answers.timeout, or lower answers.concurrency"
        if unreachable:
            advice = "see that the server is running and answers.base_url is right"
        return ReLopeError(
            f"{self.source} failed {self.spec.retries + 1} times in a row, the last time with '{why}': {advice}; "
            "what was answered is kept, the same command goes on from there"
        )

    def _about_the_key(self, status: int) -> str:
        name = self.spec.key_env
        if self._key:
            return f"{self.source} refuses the key in the environment variable {name} (status {status})"
        wanted = f"set the environment variable {name}" if name else "name an environment variable with answers.key_env"
        return f"{self.source} asks for a key (status {status}): {wanted}"

    def _about_the_model(self, why: str) -> str:
        offered, model = self.models(), self.spec.model
        if not offered or model in offered:
            return f"{self.source} answers with status 404 ({why}): does answers.base_url end in /v1?"
        return f"{self.source} has no model '{model}'{nearest(model, offered)}; it offers: {', '.join(offered)}"

    def _pause(self, error: Exception, failures: int) -> float:
        """Seconds until the next try: exponential, at least what the server asks for, spread so that threads part."""
        wanted = _retry_after(error)
        if wanted is not None and wanted > LONGEST_RETRY_AFTER:
            raise ReLopeError(
                f"{self.source} asks to wait {wanted:.0f} seconds ({self._why(error)}): run the same command again then"
            )
        return max(wanted or 0.0, min(FIRST_WAIT * 2**failures, LONGEST_WAIT)) * random.uniform(1, 1.5)

    def _note(self, error: Exception) -> None:
        """Tell each kind of failure once, so that a server that is down does not look like a hang."""
        why = self._why(error)
        if why not in self._noted:
            self._noted.add(why)
            tqdm.write(f"{self.source}: {why}; trying again, up to {self.spec.retries} times")

    def _why(self, error: Exception) -> str:
        """One line in the server's words, never with the key."""
        if isinstance(error, openai.APITimeoutError):
            return f"no answer within {self.spec.timeout:g} seconds"
        text = first_line(error.__cause__ or error) if isinstance(error, openai.APIConnectionError) else _said(error)
        return (text.replace(self._key, "***") if self._key else text)[:300]


def _read_key(spec: AnswerSpec) -> str:
    key = os.environ.get(spec.key_env, "").strip() if spec.key_env else ""
    if not (key.isascii() and key.isprintable()):
        raise ReLopeError(f"the environment variable {spec.key_env} holds no key: it has characters that no key has")
    return key


def _response(reply: ChatCompletion) -> Response:
    """What is kept of a reply; raises ValueError when it holds no answer."""
    if not reply.choices or reply.choices[0].message is None:
        raise ValueError("the reply holds no answer")
    choice, usage = reply.choices[0], reply.usage
    tokens = choice.logprobs.content if choice.logprobs else None
    return Response(
        text=choice.message.content or choice.message.refusal or "",
        token_logprobs=[float(token.logprob) for token in tokens] if tokens else None,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        finish_reason=choice.finish_reason or "",
        model=reply.model or "",
        fingerprint=reply.system_fingerprint or "",
    )


def _said(error: Exception) -> str:
    """The message in a server's error: OpenAI's, vLLM's and FastAPI's shapes."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        said = body.get("message") or body.get("detail") or body.get("error")
        if said:
            return " ".join(str(said).split())
    return first_line(error)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait, when it says so: a number or a date."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
