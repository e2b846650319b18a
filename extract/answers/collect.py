"""Has every request answered: from the cache what is there, by a server the rest, many at a time."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterable

from tqdm import tqdm

from extract.answers.cache import Cache
from extract.answers.content import Question
from extract.answers.endpoint import Endpoint
from extract.answers.failure import NoAnswer
from extract.answers.request import Request, Response, requests_for
from extract.images import LeftOut
from extract.spec import AnswerSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError

ALL_REFUSED = 100  # refusals without a single answer after which asking on is pointless
ADVICE = "see that the server works, raise answers.retries or answers.timeout, or lower answers.concurrency"
FEW = 10  # questions, about one image for example, that may fail in a row beyond those that are asked at a time

Key = tuple[str, str, int]  # sample_id, style, index


@dataclasses.dataclass
class Totals:
    """Sums over answers; `uncounted` of them came without token counts."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    uncounted: int = 0

    def add(self, response: Response, cost: float | None) -> None:
        """Count one answer."""
        self.answers += 1
        self.uncounted += cost is None
        self.prompt_tokens += response.prompt_tokens or 0
        self.completion_tokens += response.completion_tokens or 0
        self.cost += cost or 0.0


@dataclasses.dataclass
class Collected:
    """The answers had so far.

    Attributes:
      left_out: sample_id and reason of every answer that could not be had, and which answer (empty for all).
      totals, paid: sums over all answers, and over those that did not come from the cache.
      failing: the questions at which every try failed since the last answer.
    """

    spec: AnswerSpec
    responses: dict[Key, Response] = dataclasses.field(default_factory=dict)
    left_out: list[dict[str, str]] = dataclasses.field(default_factory=list)
    totals: Totals = dataclasses.field(default_factory=Totals)
    paid: Totals = dataclasses.field(default_factory=Totals)
    failing: set[str] = dataclasses.field(default_factory=set)

    def add(self, request: Request, response: Response, *, fresh: bool) -> None:
        """Take an answer in; `fresh` when it did not come from the cache."""
        self.responses[request.question.sample_id, request.style, request.index] = response
        self.failing.clear()
        cost = cost_of(response, self.spec)
        self.totals.add(response, cost)
        if fresh:
            self.paid.add(response, cost)

    def leave_out(self, sample_id: str, reason: object, which: str = "") -> None:
        """Note a question without an answer; `which` of its answers when others may be there.

        Raises:
          ReLopeError: there were only such, and enough of them to see that no other will do better.
        """
        self.left_out.append({"sample_id": sample_id, "answer": which, "reason": shortened(reason)})
        if not self.responses and len(self.left_out) >= ALL_REFUSED:
            self.require_answers()
        if isinstance(reason, NoAnswer):
            self.failing.add(sample_id)
        # Answers from the cache count too: a few bad questions among them must not end the command each time.
        if len(self.failing) > 2 * self.spec.concurrency + FEW:
            raise ReLopeError(
                f"{len(self.failing)} questions in a row got no answer, the last, {sample_id}: {shortened(reason)}: "
                f"{ADVICE}; what was answered is kept, the same command continues from there"
            )

    def require_answers(self) -> None:
        """Raise ReLopeError when nothing was answered."""
        if not self.responses:
            first = self.left_out[0] if self.left_out else {"sample_id": "-", "reason": "the store has none"}
            advice = f"; {ADVICE}" if self.failing else ""
            raise ReLopeError(f"no question was answered; the first, {first['sample_id']}: {first['reason']}{advice}")


def cost_of(response: Response, spec: AnswerSpec) -> float | None:
    """Dollars; None when the server counted no tokens."""
    if response.prompt_tokens is None or response.completion_tokens is None:
        return None
    return (response.prompt_tokens * spec.price_in + response.completion_tokens * spec.price_out) / 1e6


def collect(questions: Iterable[Question], endpoint: Endpoint, cache: Cache, collected: Collected, bar: tqdm) -> None:
    """Answer every request of `collected.spec`, at most `spec.concurrency` at a time; each is cached on arrival.

    Raises:
      ReLopeError: the server cannot be used, or answers nothing.
    """
    workers = collected.spec.concurrency
    waiting: dict[concurrent.futures.Future, Request] = {}
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        for request in (request for question in questions for request in requests_for(question, collected.spec)):
            if len(waiting) >= 2 * workers:  # a bound on the images held in memory
                _settle(waiting, collected, bar)
            waiting[pool.submit(_answer, request, endpoint, cache)] = request
        while waiting:
            _settle(waiting, collected, bar)
    finally:
        endpoint.stop()
        pool.shutdown(cancel_futures=True)  # answers under way still reach the cache: they are paid for


def _answer(request: Request, endpoint: Endpoint, cache: Cache) -> tuple[Response, bool]:
    """The response, and whether it is fresh."""
    key = request.key(endpoint.source)
    if known := cache.get(key):
        return known, False
    response = endpoint.ask(request)
    cache.put(key, response)
    return response, True


def _settle(waiting: dict, collected: Collected, bar: tqdm) -> None:
    done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in done:
        request = waiting.pop(future)
        try:
            response, fresh = future.result()
            collected.add(request, response, fresh=fresh)
        except LeftOut as reason:
            collected.leave_out(request.question.sample_id, reason, f"{request.style} {request.index}")
        bar.update()
    bar.set_postfix_str(f"{collected.paid.cost:.4g} $ paid", refresh=False)
