"""The small model's own answers, generated in this process in batches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from extract.answers.cache import POLL_SECONDS, Cache
from extract.answers.collect import Collected, Questions
from extract.answers.content import decode
from extract.answers.reply import log_probabilities
from extract.answers.request import LONGEST_NAME, Request, Response, requests_for
from extract.source import answering_model
from extract.spec import ModelSpec
from extract.text import clean_text, shortened
from relope_jax.errors import ReLopeError


class InProcess:
    """The small model of `spec`, loaded when an answer is not in the cache."""

    def __init__(self, spec: ModelSpec):
        self.spec = spec
        self.source = f"in process: {answering_model(spec)}"
        self._backbone: Any = None
        self._last: Any = None  # the last sampled prompts, their inputs and their prefill

    def collect(self, questions: Questions, cache: Cache, collected: Collected, bar: tqdm) -> None:
        """Answer every request of `collected.spec`, `concurrency` questions per batch."""
        every = iter(questions(None))
        while batch := list(itertools.islice(every, collected.spec.concurrency)):
            # Request i of every question has the same style and index.
            for requests in zip(*(requests_for(question, collected.spec) for question in batch), strict=True):
                self._answer(requests, cache, collected)
                bar.update(len(requests))

    def _answer(self, requests: Sequence[Request], cache: Cache, collected: Collected) -> None:
        """Answer one batch: from the cache, then the keys we claimed; waits for keys claimed by another process."""
        waiting = {request.key(self.source): request for request in requests}
        while waiting:
            known, mine = cache.take(waiting)
            for key, response in known.items():
                collected.add(waiting.pop(key), response, fresh=False)
            asked = {key: request for key, request in waiting.items() if key in mine}  # in the original order
            try:
                for request, response in self._generate(list(asked.values()), collected):
                    held = cache.put(request.key(self.source), response)
                    collected.add(request, held, fresh=True)
            finally:
                cache.release(mine)
            waiting = {key: request for key, request in waiting.items() if key not in asked}
            if waiting:
                time.sleep(POLL_SECONDS)

    def _generate(self, requests: Sequence[Request], collected: Collected) -> Iterator[tuple[Request, Response]]:
        """Responses of one batch. Requests on which the processor or model fails are isolated and left out by name."""
        from extract.backbone.narrowing import narrowed  # imported here: torch and transformers load only when needed

        for asked, responses, why in narrowed(requests, self._responses) if requests else ():
            if responses is None:
                collected.leave_out(asked[0].question.sample_id, why, f"{asked[0].style} {asked[0].index}")
            else:
                yield from zip(asked, responses, strict=True)

    def _inputs(self, requests: Sequence[Request]) -> Any:
        from extract.backbone.narrowing import step
        from extract.backbone.prompts import build_inputs

        queries = [(request.text, [decode(url) for url in request.question.urls]) for request in requests]
        with step("the model's processor refuses it"):
            return build_inputs(self._backbone, queries)

    def _prefilled(self, requests: Sequence[Request]) -> tuple[Any, Any]:
        """The inputs of prompts that are sampled several times in sequence, and their shared prefill."""
        from extract.backbone.shared_prefill import SharedPrefill

        asked = [(request.question.sample_id, request.text) for request in requests]
        if self._last is None or self._last[0] != asked:
            self._last = None  # frees its memory
            self._last = asked, self._inputs(requests), SharedPrefill()
        return self._last[1:]

    def _responses(self, requests: Sequence[Request]) -> list[Response]:
        from extract.backbone.batching import is_out_of_memory
        from extract.backbone.generate import Sampling, generate, stable_seed
        from extract.backbone.load import load_backbone
        from extract.backbone.narrowing import step

        self._backbone = self._backbone or load_backbone(self.spec)
        fields, sampling, shared = requests[0].fields, None, None
        if "top_p" in fields:
            inputs, shared = self._prefilled(requests)
            # Seeded by the request alone: a different batch, as after a restart, draws the same.
            seeds = tuple(stable_seed(r.fields["seed"], r.style, r.question.sample_id) for r in requests)
            sampling = Sampling(seeds, fields["temperature"], fields["top_p"])
        else:
            inputs = self._inputs(requests)
        try:
            with step("the model fails on it"):
                generated = generate(self._backbone, inputs, fields["max_tokens"], sampling=sampling, shared=shared)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ReLopeError(
                f"out of memory with {len(requests)} prompts per batch: lower --config.answers.concurrency; "
                "what was answered is kept"
            ) from error
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            Response(
                text=clean_text(answer.text),
                token_logprobs=log_probabilities(answer.token_logprobs.tolist()),
                prompt_tokens=length,
                completion_tokens=answer.n_tokens,
                finish_reason=answer.finish_reason,
                model=shortened(self.spec.name, LONGEST_NAME),
                fingerprint=self._backbone.commit,
            )
            for answer, length in zip(generated.answers, lengths, strict=True)
        ]
