"""Gets an answer to every request: from the cache if possible, else from a server, with many requests in parallel."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator

from tqdm import tqdm

from extract.answers.cache import POLL_SECONDS, Cache
from extract.answers.content import Question
from extract.answers.endpoint import Endpoint
from extract.answers.failure import NoAnswer, RateLimited
from extract.answers.request import Key, Request, Response, requests_for
from extract.imaging.images import LeftOut
from extract.spec import AnswerSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError

ALL_REFUSED = 100  # refusals without a single answer after which further requests are pointless
ENOUGH = 0.5  # share of the answers below which no table is written
ADVICE = "see that the server works, raise answers.retries or answers.timeout, or lower answers.concurrency"
# Consecutive questions that failed at every try, in excess of twice the concurrency. Questions are asked in random
# order, so a run of that length means that nearly all fail, wherever the bad ones are in the dataset.
FEW = 30

Questions = Callable[[Container[str] | None], Iterable[Question]]  # of these samples, or of all
Outcome = tuple[Request, "concurrent.futures.Future[tuple[Response, bool]]"]


@dataclasses.dataclass
class Totals:
    """Sums over answers; `uncounted` is the number of answers without token counts."""

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
    """The answers collected so far.

    Attributes:
      left_out: sample_id and reason of every missing answer, and which answer (empty for all).
      failed: how many of the missing answers failed at every try.
      totals, paid: sums over all answers, and over those that were not in the cache.
    """

    spec: AnswerSpec
    responses: dict[Key, Response] = dataclasses.field(default_factory=dict)
    left_out: list[dict[str, str]] = dataclasses.field(default_factory=list)
    failed: int = 0
    totals: Totals = dataclasses.field(default_factory=Totals)
    paid: Totals = dataclasses.field(default_factory=Totals)

    def add(self, request: Request, response: Response, *, fresh: bool) -> None:
        """Record an answer; `fresh` when it was not in the cache."""
        self.responses[request.identity] = response
        cost = cost_of(response, self.spec)
        self.totals.add(response, cost)
        if fresh:
            self.paid.add(response, cost)

    def leave_out(self, sample_id: str, reason: object, which: str = "") -> None:
        """Record a question without an answer; `which` answer, when other answers to the question may exist.

        Raises:
          ReLopeError: no question was answered so far, and so many failed that the rest will fail too.
        """
        self.left_out.append({"sample_id": sample_id, "answer": which, "reason": shortened(reason)})
        self.failed += isinstance(reason, NoAnswer)
        if not self.responses and len(self.left_out) >= ALL_REFUSED:
            self.require_enough(len(self.left_out))

    def require_enough(self, wanted: int) -> None:
        """Raise ReLopeError when less than half of the `wanted` answers arrived, which is too few for a table."""
        if len(self.responses) >= max(wanted * ENOUGH, 1):
            return
        first = self.left_out[0] if self.left_out else {"sample_id": "-", "reason": "the store has none"}
        problem = f"only {len(self.responses)} of {wanted} answers arrived, too few for a table"
        problem = problem if self.responses else "no question was answered"
        advice = f"; {ADVICE}" if self.failed else ""
        kept = "; what was answered is kept, the same command continues from there" if self.responses else ""
        raise ReLopeError(f"{problem}; the first, {first['sample_id']}: {first['reason']}{advice}{kept}")


def cost_of(response: Response, spec: AnswerSpec) -> float | None:
    """Cost in dollars; None when the server did not count tokens."""
    if response.prompt_tokens is None or response.completion_tokens is None:
        return None
    return (response.prompt_tokens * spec.price_in + response.completion_tokens * spec.price_out) / 1e6


def collect(questions: Questions, endpoint: Endpoint, cache: Cache, collected: Collected, bar: tqdm) -> None:
    """Answer every request of `collected.spec`, at most `spec.concurrency` at a time. Each is cached on arrival.

    A question that failed at every try is set aside and gets one more try after all others are done.

    Args:
      questions: in an order that does not cluster bad ones.

    Raises:
      ReLopeError: the server cannot be used, or nearly every question fails.
    """
    spec, failed = collected.spec, dict[Key, NoAnswer]()
    pool = concurrent.futures.ThreadPoolExecutor(spec.concurrency)
    try:
        everything = (request for question in questions(None) for request in requests_for(question, spec))
        outcomes = _outcomes(pool, everything, lambda request: _answer(request, endpoint, cache, spec.retries), spec)
        if row := _record(outcomes, failed, collected, bar):
            (last, _, _), reason = list(failed.items())[-1]
            raise ReLopeError(
                f"{row} questions in a row got no answer, the last, {last}: {shortened(reason)}: {ADVICE}; "
                "what was answered is kept, the same command continues from there"
            )
        if failed and collected.responses:
            retry, samples = set(failed), {sample_id for sample_id, _, _ in failed}
            again = (r for question in questions(samples) for r in requests_for(question, spec) if r.identity in retry)
            outcomes = _outcomes(pool, again, lambda request: _answer(request, endpoint, cache, 0), spec)
            _record(outcomes, failed, collected, bar)  # if nearly all fail again, the rest needs no further try
        for (sample_id, style, index), reason in failed.items():
            collected.leave_out(sample_id, reason, f"{style} {index}")
            bar.update()
    finally:
        endpoint.stop()
        pool.shutdown(cancel_futures=True)  # answers in flight still reach the cache: they are paid for


def _answer(request: Request, endpoint: Endpoint, cache: Cache, retries: int) -> tuple[Response, bool]:
    """The response, and whether it is fresh. Waits for a response that another process is requesting."""
    key = request.key(endpoint.source)
    while True:
        known, mine = cache.take([key])
        if known:
            return known[key], False
        if mine:
            try:
                return cache.put(key, endpoint.ask(request, retries)), True
            except BaseException:
                cache.release(mine)
                raise
        endpoint.wait(POLL_SECONDS)


def _outcomes(
    pool: concurrent.futures.Executor,
    requests: Iterable[Request],
    answer: Callable[[Request], tuple[Response, bool]],
    spec: AnswerSpec,
) -> Iterator[Outcome]:
    """Every request with its outcome, in the order of completion."""
    waiting: dict[concurrent.futures.Future, Request] = {}
    for request in requests:
        if len(waiting) >= 2 * spec.concurrency:  # limits the images held in memory
            yield from _done(waiting)
        waiting[pool.submit(answer, request)] = request
    while waiting:
        yield from _done(waiting)


def _done(waiting: dict[concurrent.futures.Future, Request]) -> list[Outcome]:
    done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    return [(waiting.pop(future), future) for future in done]


def _record(outcomes: Iterator[Outcome], failed: dict[Key, NoAnswer], collected: Collected, bar: tqdm) -> int:
    """Sort outcomes into answers, questions left out, and those whose every try failed.

    Returns:
      0, or, after an early stop because nearly every question fails, the number of consecutive failures. Answers from
      the cache end such a run. Rate limits stop earlier, because further requests make them worse.
    """
    row, limited = set[str](), set[str]()
    for request, future in outcomes:
        sample_id = request.question.sample_id
        try:
            response, fresh = future.result()
        except NoAnswer as reason:
            failed.setdefault(request.identity, reason)  # keep the reason of the first round, which made more tries
            row.add(sample_id)
            limited |= {sample_id} if isinstance(reason, RateLimited) else set()
            if len(row) > 2 * collected.spec.concurrency + FEW or len(limited) > collected.spec.concurrency:
                return len(row)
            continue
        except LeftOut as reason:
            collected.leave_out(sample_id, reason, f"{request.style} {request.index}")
        else:
            collected.add(request, response, fresh=fresh)
            row.clear()
            limited.clear()
            bar.set_postfix_str(f"{collected.paid.cost:.4g} $ paid", refresh=False)
        failed.pop(request.identity, None)
        bar.update()
    return 0
