"""One OpenAI-compatible server: requests with retries, and clear words for what trying again does not change."""

from __future__ import annotations

import os
import random
import threading
import time
import urllib.parse
from collections.abc import Iterable

import openai
from tqdm import tqdm

from extract.answers.failure import Failure, NoAnswer, failure_of
from extract.answers.reply import read_reply
from extract.answers.request import Request, Response
from extract.images import LeftOut
from extract.spec import AnswerSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line, nearest

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds of back-off, doubled after every failure
LONGEST_RETRY_AFTER = 600.0  # seconds; a server that wants a longer pause is left alone
TOO_MANY = 429
MAY_PASS = {408, 409, 425, TOO_MANY}  # and every 5xx
QUESTION_REFUSED = {400, 413, 422}  # content filter, too long, too large: another question may do
AZURE_VERSION = "api-version"  # the query parameter by which Azure's addresses are known
NO_KEY = "none"  # the client insists on a key; servers without keys ignore it
LARGEST_REPLY = 64 << 20  # bytes
MOST_NOTES = 10  # kinds of failures that are told while asking


class Stopped(Exception):
    """Asking was stopped by another thread's failure."""


class Endpoint:
    """The server of `spec`; `ask` may be called by many threads."""

    def __init__(self, spec: AnswerSpec):
        self.spec = spec
        self.source = spec.base_url
        self._key = _read_key(spec)
        self._client = _client(spec, self._key)
        self._stopped = threading.Event()
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
          LeftOut: the server does not answer this question; NoAnswer when every try failed.
          ReLopeError: the server cannot be used; the message says what to do.
          Stopped: `stop` was called.
        """
        for failures in range(self.spec.retries + 1):
            if self._stopped.is_set():
                raise Stopped
            try:
                return self._ask_once(request)
            except Failure as error:
                self._raise_unless_it_may_pass(error)
                failure = error
            if failures < self.spec.retries:
                self._note(failure)
                self._stopped.wait(self._pause(failure, failures))
        raise self._giving_up(failure)

    def models(self) -> list[str]:
        """What the server offers; empty when it does not say."""
        try:
            names = [model.id for model in self._client.models.list().data]
        except Exception:  # the names are only for messages, and the client checks no types
            return []
        return sorted(shortened(name, 100) for name in names if isinstance(name, str))

    def _ask_once(self, request: Request) -> Response:
        # Servers know fields that the client does not: only these two are the client's own.
        fields = {name: value for name, value in request.body.items() if name not in ("model", "messages")}
        create = self._client.chat.completions.with_streaming_response.create  # the client checks no types
        try:
            with create(model=request.body["model"], messages=request.body["messages"], extra_body=fields) as reply:
                return read_reply(self._body(reply.iter_bytes()), reply.headers)
        except Failure:
            raise
        except openai.APIError as error:
            raise failure_of(error, self.spec.timeout) from error
        except Exception as error:  # whatever the client stumbles over in a reply concerns this question alone
            raise Failure(f"the reply cannot be read: {type(error).__name__}: {first_line(error)}") from error

    def _body(self, pieces: Iterable[bytes]) -> bytes:
        """A reply's whole body, within bounds: some servers keep a dead request open with a space now and then."""
        body, end = bytearray(), time.monotonic() + self.spec.timeout
        for piece in pieces:
            body += piece
            if time.monotonic() > end:
                raise Failure(f"the reply did not end within {self.spec.timeout:g} seconds")
            if len(body) > LARGEST_REPLY:
                raise Failure(f"the reply is longer than {LARGEST_REPLY} bytes")
        return bytes(body)

    def _raise_unless_it_may_pass(self, failure: Failure) -> None:
        status, why = failure.status, self._why(failure)
        if status is None:
            return  # no connection, no answer in time, or a reply that holds no answer
        if status in QUESTION_REFUSED:
            raise LeftOut(f"refused ({status}): {why}") from failure
        if status == 403 and self._key:  # moderation, or a key without the right: the next questions will show
            raise NoAnswer(f"refused ({status}): {why}") from failure
        if status in (401, 403):
            raise ReLopeError(self._about_the_key(status)) from failure
        if status == 404:
            raise ReLopeError(self._about_the_model(why)) from failure
        if failure.quota:
            raise ReLopeError(
                f"{self.source}: {why}; what was answered is kept, run the same command later"
            ) from failure
        if 300 <= status < 400:
            raise ReLopeError(f"{self.source} {why} (status {status}): give that address as the base_url") from failure
        if status not in MAY_PASS and status < 500:
            raise ReLopeError(f"{self.source} answers with status {status}: {why}") from failure

    def _giving_up(self, failure: Failure) -> Exception:
        why, tries = self._why(failure), self.spec.retries + 1
        if not failure.unreachable and failure.status != TOO_MANY:
            return NoAnswer(f"no answer after {tries} tries: {why}")
        advice = "raise answers.retries or answers.timeout, or lower answers.concurrency"
        if failure.unreachable:
            advice = "see that the server is running and that the base_url is right"
        return ReLopeError(
            f"{self.source} failed {tries} times in a row, the last time with '{why}': {advice}; "
            "what was answered is kept, the same command continues from there"
        )

    def _about_the_key(self, status: int) -> str:
        name = self.spec.key_env
        if self._key:
            return f"{self.source} refuses the key in the environment variable {name} (status {status})"
        wanted = f"set the environment variable {name}" if name else "name an environment variable with answers.key_env"
        return f"{self.source} asks for a key (status {status}): {wanted}"

    def _about_the_model(self, why: str) -> str:
        offered, model = self.models(), self.spec.model
        if offered and model not in offered:
            listed = shortened(", ".join(offered))
            return f"{self.source} has no model '{model}'{nearest(model, offered)}; it offers: {listed}"
        advice = "does answers.base_url end in /v1?"
        if _is_azure(self.source):
            advice = "does answers.base_url look like https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT?..."
        return f"{self.source} answers with status 404 ({why}): {advice}"

    def _pause(self, failure: Failure, failures: int) -> float:
        """Seconds until the next try: exponential, at least what the server asks for, spread so that threads part."""
        wanted = failure.wait or 0.0
        if wanted > LONGEST_RETRY_AFTER:
            raise ReLopeError(
                f"{self.source} asks to wait {wanted:.6g} seconds ({self._why(failure)}): run the same command again "
                "then; what was answered is kept"
            )
        return max(wanted, min(FIRST_WAIT * 2**failures, LONGEST_WAIT)) * random.uniform(1, 1.5)

    def _note(self, failure: Failure) -> None:
        """Tell each kind of failure once, so that a server that is down does not look like a hang."""
        why = self._why(failure)
        if why not in self._noted and len(self._noted) < MOST_NOTES:
            self._noted.add(why)
            tqdm.write(f"{self.source}: {why}; trying again, up to {self.spec.retries} times")

    def _why(self, failure: Failure) -> str:
        """One short line in the server's words, never with the key."""
        return shortened(failure.why.replace(self._key, "***") if self._key else failure.why)


def _is_azure(base_url: str) -> bool:
    return AZURE_VERSION in urllib.parse.parse_qs(urllib.parse.urlsplit(base_url).query)


def _client(spec: AnswerSpec, key: str) -> openai.OpenAI:
    """The client of a server: the query of its address goes with every request, and redirects are not followed, since
    they would turn a question into a GET and might carry the key to another host."""
    url = urllib.parse.urlsplit(spec.base_url)
    # Azure wants the key in a header of its own; others behind such an address want the usual one: both are sent.
    headers = {"api-key": key} if key and _is_azure(spec.base_url) else None
    return openai.OpenAI(
        api_key=key or NO_KEY,
        base_url=url._replace(query="").geturl(),
        default_query=dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
        default_headers=headers,
        timeout=spec.timeout,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(follow_redirects=False, timeout=spec.timeout),
    )


def _read_key(spec: AnswerSpec) -> str:
    key = os.environ.get(spec.key_env, "").strip() if spec.key_env else ""
    if not (key.isascii() and key.isprintable()):
        raise ReLopeError(f"the environment variable {spec.key_env} holds no key: it has characters that no key has")
    return key
