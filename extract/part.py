"""One part of a store: its samples in batches within the token budget, answered, graded and captured."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from extract.backbone import Backbone
from extract.batching import is_out_of_memory
from extract.capture import Capture
from extract.datasets import Dataset
from extract.generation import generate
from extract.images import LeftOut
from extract.labels import Labels
from extract.prompts import ImageSpan, image_spans
from extract.queries import Queries, Query
from extract.sample import Sample
from extract.spec import ExtractSpec
from relope_jax.errors import first_line
from relope_jax.states.ragged import TokenStates, concatenate
from relope_jax.states.writer import StoreWriter

STATE_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclasses.dataclass
class Part:
    """What a part holds, gathered batch by batch.

    Attributes:
      token_budget: what batches are formed with now.
      states: of every layer, a piece a batch.
      embeddings: `[batch, d]`, a piece a batch; none when nothing is generated.
    """

    token_budget: int
    states: dict[int, list[TokenStates]]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    embeddings: list[np.ndarray] = dataclasses.field(default_factory=list)
    failed: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def leave_out(self, sample: Sample, reason: object) -> None:
        self.failed.append({"sample_id": sample.sample_id, "reason": str(reason)})

    def absorb(self, piece: Part) -> None:
        """Add a batch, all of it."""
        for layer, pieces in piece.states.items():
            self.states[layer] += pieces
        self.rows += piece.rows
        self.embeddings += piece.embeddings
        self.failed += piece.failed

    def write(self, writer: StoreWriter, index: int, samples: list[Sample]) -> None:
        """Write it as part `index`, its rows in the order of `samples`."""
        place = {sample.sample_id: i for i, sample in enumerate(samples)}
        order = np.argsort([place[row["sample_id"]] for row in self.rows])
        writer.write_part(
            index,
            {layer: concatenate(pieces).select(order) for layer, pieces in self.states.items() if pieces},
            [self.rows[i] for i in order],
            sorted(self.failed, key=lambda entry: place[entry["sample_id"]]),
            output_embedding=np.concatenate(self.embeddings)[order] if self.embeddings else None,
            token_budget=self.token_budget,
        )


@dataclasses.dataclass(frozen=True)
class PartExtractor:
    """Everything that stays the same from part to part.

    Attributes:
      splits: split of every group.
      labels: answers and labels of another store to take over; None answers and grades anew.
    """

    spec: ExtractSpec
    backbone: Backbone
    dataset: Dataset
    queries: Queries
    splits: dict[str, str]
    labels: Labels | None = None

    def extract(self, samples: list[Sample], advance: Callable[[int], None]) -> Part:
        """The part of these samples; `advance` is told how many prompts are done."""
        part = self._empty()
        waiting = self._measured(samples, part)
        advance(len(part.failed))
        while waiting:  # the longest first, so that memory runs out early if it does
            longest = waiting[0][1]
            n = max(1, part.token_budget // longest)
            batch = [sample for sample, _ in waiting[:n]]
            if piece := self._attempt(batch):
                part.absorb(piece)
            elif len(batch) > 1:
                part.token_budget = len(batch) * longest // 2
                print(f"\nout of memory: token budget {part.token_budget} for the rest of this part")
                continue
            else:
                part.leave_out(batch[0], f"its {longest} tokens alone need more memory than there is")
            advance(len(batch))
            waiting = waiting[n:]
        return part

    def _measured(self, samples: list[Sample], part: Part) -> list[tuple[Sample, int]]:
        """Usable samples with their lengths, answer included, the longest first."""
        answer = 0 if self.labels else self.spec.max_new_tokens
        measured = []
        for sample in samples:
            try:
                if self.labels:
                    self.labels.columns(sample)
                measured.append((sample, self.queries.length(sample) + answer))
            except LeftOut as reason:
                part.leave_out(sample, reason)
        return sorted(measured, key=lambda pair: -pair[1])

    def _attempt(self, batch: list[Sample]) -> Part | None:
        """A batch as a part of its own; None when it needs more memory than there is."""
        piece = self._empty()
        try:
            queries, inputs = self._inputs(batch, piece)
            if queries:
                self._run(queries, inputs, piece)
            return piece
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _empty(self) -> Part:
        return Part(self.spec.token_budget, {layer: [] for layer in self.spec.all_layers})

    def _inputs(self, batch: list[Sample], part: Part) -> tuple[list[Query], Any]:
        """Queries and model inputs; what the processor refuses is left out."""
        queries = []
        for sample in batch:
            try:
                queries.append(self.queries.read(sample))
            except LeftOut as reason:
                part.leave_out(sample, reason)
        try:
            return queries, self.queries.inputs(queries) if queries else None
        except ValueError:  # it refuses one of them: find out which
            accepted = [query for query in queries if self._accepts(query, part)]
        return accepted, self.queries.inputs(accepted) if accepted else None

    def _accepts(self, query: Query, part: Part) -> bool:
        try:
            self.queries.inputs([query])
            return True
        except ValueError as error:
            part.leave_out(query.sample, f"the model's processor refuses it: {first_line(error)}")
            return False

    def _run(self, queries: list[Query], inputs: Any, part: Part) -> None:
        """One `generate`, whose prefill gives the states and whose tokens the answers; or the prefill alone."""
        capture = Capture(
            self.backbone,
            self.spec.all_layers,
            inputs["attention_mask"],
            stop_after=self.labels is not None,
            dtype=STATE_DTYPES[self.spec.state_dtype],
        )
        with torch.inference_mode(), capture:
            if self.labels:
                self.backbone.model(**inputs)
            else:
                generated = generate(self.backbone, inputs, self.spec.max_new_tokens)
        if self.labels:
            answers = [self.labels.columns(query.sample) for query in queries]
        else:
            answers = [self._graded(query.sample, a) for query, a in zip(queries, generated.answers, strict=True)]
            part.embeddings.append(generated.output_embedding)
        states = {layer: capture.states(layer) for layer in self.spec.all_layers}
        lengths = states[self.spec.layer].lengths
        spans = image_spans(self.backbone, inputs, [query.n_shown for query in queries])
        for query, span, columns, length in zip(queries, spans, answers, lengths.tolist(), strict=True):
            part.rows.append(self._asked(query, span) | columns | {"n_tokens": length})
        for layer, caught in states.items():
            part.states[layer].append(caught)

    def _asked(self, query: Query, span: ImageSpan) -> dict[str, Any]:
        """Columns about the question."""
        sample = query.sample
        return {
            "sample_id": sample.sample_id, "group": sample.group, "split": self.splits[sample.group],
            "question": sample.question, "prompt": query.text, "answer": sample.answer,
            "images": [os.path.abspath(path) for path in sample.images],  # reports are written from anywhere
            "caption": "\n".join(self.queries.captions(sample)),
        } | span._asdict()  # fmt: skip

    def _graded(self, sample: Sample, answer: Any) -> dict[str, Any]:
        """Columns about the answer."""
        return {
            "response": answer.text, "final_answer": self.dataset.final_answer(sample, answer.text),
            "label": int(self.dataset.grade(sample, answer.text)),
            "token_logprobs": answer.token_logprobs, "first_token_entropy": answer.first_token_entropy,
        }  # fmt: skip
