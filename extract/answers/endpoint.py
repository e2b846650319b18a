"""One OpenAI-compatible server: requests with retries, and clear messages for failures that retries cannot fix."""

from __future__ import annotations

import random
import threading

import openai
from tqdm import tqdm

from extract.answers.client import is_azure, make_client, read_key
from extract.answers.failure import Failure, NoAnswer, RateLimited, failure_of
from extract.answers.reply import read_reply
from extract.answers.request import Request, Response
from extract.imaging.images import LeftOut
from extract.spec import AnswerSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line, nearest

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds of backoff, doubled after every failure
LONGEST_RETRY_AFTER = 600.0  # seconds; if a server asks for a longer wait, the run stops
TOO_MANY = 429
MAY_PASS = {408, 409, 425, TOO_MANY}  # and every 5xx
# Content filter, too long, too large, an image of a kind that it does not take, law: another question may succeed.
QUESTION_REFUSED = {400, 413, 414, 415, 422, 431, 451}
MOST_NOTES = 10  # kinds of failures printed while requests run


class Stopped(Exception):
    """Requests were stopped because another thread failed."""


class Endpoint:
    """The server of `spec`; `ask` may be called by many threads."""

    def __init__(self, spec: AnswerSpec):
        self.spec = spec
        self.source = spec.base_url
        self._key = read_key(spec)
        self._client = make_client(spec, self._key)
        self._stopped = threading.Event()
        self._noted: set[str] = set()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Start no further tries. Waiting threads wake up and raise Stopped."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Pause; raises Stopped when `stop` was called."""
        if self._stopped.wait(seconds):
            raise Stopped

    def ask(self, request: Request, retries: int) -> Response:
        """One answer, with up to `retries` further tries after transient failures.

        Raises:
          LeftOut: the server does not answer this question; NoAnswer when every try failed.
          ReLopeError: the server cannot be used; the message says what to do.
          Stopped: `stop` was called.
        """
        for failures in range(retries + 1):
            self.wait(0)
            try:
                return self._ask_once(request)
            except Failure as error:
                self._raise_if_permanent(error)
                failure = error
            if failures < retries:
                self._note(failure)
                self._stopped.wait(self._pause(failure, failures))
        raise self._final_error(failure, retries + 1)

    def models(self) -> list[str]:
        """The models that the server offers; empty when it does not list them."""
        try:
            names = [model.id for model in self._client.models.list().data]
        except Exception:  # only for messages, and the client does not check types
            return []
        return sorted(shortened(name, 100) for name in names if isinstance(name, str))

    def _ask_once(self, request: Request) -> Response:
        # Servers accept fields that the client does not know; only these two are the client's own.
        fields = {name: value for name, value in request.body.items() if name not in ("model", "messages")}
        create = self._client.chat.completions.with_streaming_response.create  # the client does not check types
        try:
            with create(model=request.body["model"], messages=request.body["messages"], extra_body=fields) as reply:
                return read_reply(reply.read(), reply.headers)
        except (Failure, ReLopeError):
            raise
        except openai.APIError as error:
            raise failure_of(error, self.spec.timeout) from error
        except Exception as error:  # an error in reading a reply concerns only this question
            raise Failure(f"the reply cannot be read: {type(error).__name__}: {first_line(error)}") from error

    def _raise_if_permanent(self, failure: Failure) -> None:
        status, why = failure.status, self._why(failure)
        if status is None:
            return  # no connection, no answer in time, or a reply that holds no answer
        if status in QUESTION_REFUSED:
            raise LeftOut(f"refused ({status}): {why}") from failure
        if status == 403 and self._key:  # moderation, or a key without permission: the next questions will show which
            raise NoAnswer(f"refused ({status}): {why}") from failure
        if status in (401, 403):
            raise ReLopeError(self._key_problem(status)) from failure
        if status == 404:
            raise ReLopeError(self._model_problem(why)) from failure
        if failure.quota:
            raise ReLopeError(
                f"{self.source}: {why}; what was answered is kept, run the same command later"
            ) from failure
        if 300 <= status < 400:
            raise ReLopeError(f"{self.source} {why} (status {status}): give that address as the base_url") from failure
        if status not in MAY_PASS and status < 500:
            raise ReLopeError(f"{self.source} answers with status {status}: {why}") from failure

    def _final_error(self, failure: Failure, tries: int) -> Exception:
        why = self._why(failure)
        if not failure.unreachable:  # one question too large for a rate limit may fail alone
            kind = RateLimited if failure.status == TOO_MANY else NoAnswer
            return kind(f"no answer after {tries} {'tries' if tries > 1 else 'try'}: {why}")
        return ReLopeError(
            f"{self.source} failed {tries} times in a row, the last time with '{why}': see that the server is running "
            "and that the base_url is right; what was answered is kept, the same command continues from there"
        )

    def _key_problem(self, status: int) -> str:
        name = self.spec.key_env
        if self._key:
            return f"{self.source} refuses the key in the environment variable {name} (status {status})"
        wanted = f"set the environment variable {name}" if name else "name an environment variable with answers.key_env"
        return f"{self.source} asks for a key (status {status}): {wanted}"

    def _model_problem(self, why: str) -> str:
        offered, model = self.models(), self.spec.model
        if offered and model not in offered:
            listed = shortened(", ".join(offered))
            return f"{self.source} has no model '{model}'{nearest(model, offered)}; it offers: {listed}"
        advice = "does answers.base_url end in /v1?"
        if is_azure(self.source):
            advice = "does answers.base_url look like https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT?..."
        return f"{self.source} answers with status 404 ({why}): {advice}"

    def _pause(self, failure: Failure, failures: int) -> float:
        """Seconds until the next try: exponential, at least what the server asks for, with jitter."""
        wanted = failure.wait or 0.0
        if wanted > LONGEST_RETRY_AFTER:
            raise ReLopeError(
                f"{self.source} asks to wait {wanted:.6g} seconds ({self._why(failure)}): run the same command again "
                "then; what was answered is kept"
            )
        return max(wanted, min(FIRST_WAIT * 2**failures, LONGEST_WAIT)) * random.uniform(1, 1.5)

    def _note(self, failure: Failure) -> None:
        """Print each kind of failure once, so that a server that is down does not look like a hang."""
        why = self._why(failure)
        if why not in self._noted and len(self._noted) < MOST_NOTES:
            self._noted.add(why)
            tqdm.write(f"{self.source}: {why}; trying again, up to {self.spec.retries} times")

    def _why(self, failure: Failure) -> str:
        """One short line in the server's words, with the key removed."""
        return shortened(failure.why.replace(self._key, "***") if self._key else failure.why)
