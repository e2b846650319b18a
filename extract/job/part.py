"""Extracts one part of a store: its samples in batches within the token budget, answered, graded and captured."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from extract.backbone.batching import is_out_of_memory
from extract.backbone.capture import Capture
from extract.backbone.generate import Answer, Generated, generate
from extract.backbone.load import Backbone
from extract.backbone.narrowing import narrowed, reason_of, require_accelerator, step
from extract.backbone.prompts import ImageSpan, image_spans
from extract.datasets import Dataset
from extract.datasets.reading.grouping import contents
from extract.imaging.images import LeftOut
from extract.job.crashes import Suspects
from extract.job.health import Health
from extract.job.labels import Labels, graded
from extract.queries.queries import Query, QueryBuilder
from extract.sample import Sample
from extract.spec import ExtractSpec
from relope_jax.states.ragged import TokenStates, concatenate
from relope_jax.states.writer import StoreWriter

STATE_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

TOO_LONG = "longer than the model's positions"
NOT_FINITE = (
    "its states are not finite (NaN or infinity): the model overflows in this dtype; "
    "--config.model.dtype=bfloat16 or float32 has the range"
)

Measured = tuple[Sample, int]  # a sample and the tokens of its prompt and answer


@dataclasses.dataclass
class PartBuffer:
    """The content of a part, collected batch by batch.

    Attributes:
      token_budget: the current budget for batches.
      states: for every layer, one piece per batch.
      embeddings: `[batch, d]`, one piece per batch; none when nothing is generated.
      failed: id and reason of every sample that is left out.
      broken: the reasons of those on which the model, its processor or the grader failed.
    """

    token_budget: int
    states: dict[int, list[TokenStates]]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    embeddings: list[np.ndarray] = dataclasses.field(default_factory=list)
    failed: list[dict[str, str]] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)

    def leave_out(self, sample: Sample, reason: object, *, broken: bool = False) -> None:
        self.failed.append({"sample_id": sample.sample_id, "reason": str(reason)})
        if broken:
            self.broken.append(str(reason))

    def absorb(self, piece: PartBuffer) -> None:
        """Add a whole batch."""
        for layer, pieces in piece.states.items():
            self.states[layer] += pieces
        self.rows += piece.rows
        self.embeddings += piece.embeddings
        self.failed += piece.failed
        self.broken += piece.broken

    def write(self, writer: StoreWriter, index: int, samples: list[Sample]) -> None:
        """Write it as part `index`, with rows in the order of `samples`."""
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
    """Everything that is the same for all parts.

    Attributes:
      splits: the split of every group.
      labels: answers and labels to reuse from another store; None generates and grades answers.
      probes: samples from all of the work, tried before the model counts as failing on every sample.
      health: whether the model has worked on any sample yet.
    """

    spec: ExtractSpec
    backbone: Backbone
    dataset: Dataset
    queries: QueryBuilder
    splits: dict[str, str]
    labels: Labels | None = None
    probes: tuple[Sample, ...] = ()
    health: Health = dataclasses.field(default_factory=Health)

    def extract(
        self, samples: list[Sample], advance: Callable[[int], None], suspects: Suspects | None = None
    ) -> PartBuffer:
        """The part with these samples. Calls `advance` with the number of prompts done.

        A failing batch is halved until the samples that fail are isolated. These are left out with a reason.

        Args:
          suspects: samples with which the accelerator was lost before.

        Raises:
          AcceleratorLost: its `items` are the samples being processed.
          ReLopeError: the model fails on every sample.
        """
        suspects = suspects or Suspects()
        part = self._empty()
        waiting = self._measured(samples, part, suspects)
        advance(len(part.failed))
        while waiting:  # longest first, so that memory runs out early if at all
            longest = waiting[0][1]
            n = max(1, part.token_budget // longest)
            batch = suspects.cut([sample for sample, _ in waiting[:n]])
            processed, fits = self._process(batch, part)
            if not fits and len(batch) > 1:
                part.token_budget = len(batch) * longest // 2
                print(f"\nout of memory: token budget {part.token_budget} for the rest of this part")
            elif not fits:
                part.leave_out(batch[0], f"out of memory: its {longest} tokens need more memory than there is")
                processed = 1
            advance(processed)
            waiting = waiting[processed:]
        return part

    def _process(self, batch: list[Sample], part: PartBuffer) -> tuple[int, bool]:
        """Add a batch to the part, or leave out samples of it; returns the samples handled, and if memory sufficed."""
        processed = 0
        try:
            for piece, made, reason in narrowed(batch, self._attempt):
                if made:
                    self._absorb(part, made)
                else:
                    self._leave_out_broken(part, piece[0], reason)
                processed += len(piece)
            return processed, True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return processed, False

    def _absorb(self, part: PartBuffer, piece: PartBuffer) -> None:
        """Add the result of a batch; some of its samples may be left out."""
        part.absorb(piece)
        self.health.worked |= bool(piece.rows)
        for reason in piece.broken:
            self.health.failed(reason, self._probed)

    def _leave_out_broken(self, part: PartBuffer, sample: Sample, reason: str) -> None:
        """Leave out a sample on which the model fails, unless it fails on every sample."""
        part.leave_out(sample, reason, broken=True)
        self.health.failed(reason, self._probed)

    def _probed(self) -> tuple[int, bool]:
        """The number of other samples tried one by one until one worked, and whether one did."""
        for n, sample in enumerate(self.probes, start=1):
            try:
                self._length(sample)
                if self._attempt([sample]).rows:
                    return n, True
            except Exception as error:
                require_accelerator([sample], error)
        return len(self.probes), False

    def _measured(self, samples: list[Sample], part: PartBuffer, suspects: Suspects) -> list[Measured]:
        """Usable samples with their lengths including the answer, longest first, suspects last."""
        measured = []
        for sample in samples:
            try:
                suspects.refuse(sample)
                measured.append((sample, self._length(sample)))
            except LeftOut as reason:
                part.leave_out(sample, reason)
            except Exception as error:
                require_accelerator([sample], error)
                self._leave_out_broken(part, sample, reason_of(error))
        return sorted(measured, key=lambda pair: (suspects.is_suspect(pair[0]), -pair[1]))

    def _length(self, sample: Sample) -> int:
        """Tokens of the prompt and its answer; raises LeftOut when the sample cannot be used."""
        if self.labels:
            self.labels.columns(sample)
        answer = 0 if self.labels else self.spec.max_new_tokens
        prompt, positions = self.queries.length(sample), self.backbone.n_positions
        if prompt + answer > positions:
            raise LeftOut(f"{TOO_LONG}: {prompt} tokens and {answer} for the answer, {positions} positions")
        return prompt + answer

    def _empty(self) -> PartBuffer:
        return PartBuffer(self.spec.token_budget, {layer: [] for layer in self.spec.all_layers})

    def _attempt(self, batch: Sequence[Sample]) -> PartBuffer:
        """A batch as a separate part; raises whatever the processor, the model or the grader raises."""
        part, queries = self._empty(), []
        for sample in batch:
            try:
                queries.append(self.queries.read(sample))
            except LeftOut as reason:
                part.leave_out(sample, reason)
        if queries:
            self._run(queries, self.queries.inputs(queries), part)
        return part

    def _run(self, queries: list[Query], inputs: Any, part: PartBuffer) -> None:
        """One `generate`, whose prefill gives the states and whose tokens give the answers; or only the prefill."""
        with step("the model fails on it"):
            states, generated = self._passed(inputs)
            spans = image_spans(self.backbone, inputs, [query.n_shown for query in queries])
        finite = _finite(states, generated)
        for query in (query for query, good in zip(queries, finite, strict=True) if not good):
            part.leave_out(query.sample, NOT_FINITE, broken=True)
        kept = np.flatnonzero(finite)
        lengths = states[self.spec.layer].lengths
        for i in kept.tolist():
            answer = self._answered(queries[i].sample, generated.answers[i] if generated else None)
            part.rows.append(self._asked(queries[i], spans[i]) | answer | {"n_tokens": int(lengths[i])})
        if len(kept):
            for layer, caught in states.items():
                part.states[layer].append(caught if finite.all() else caught.select(kept))
            if generated:
                part.embeddings.append(generated.output_embedding[kept])

    def _passed(self, inputs: Any) -> tuple[dict[int, TokenStates], Generated | None]:
        """States of every layer, and the answers unless they come from another store."""
        capture = Capture(
            self.backbone,
            self.spec.all_layers,
            inputs["attention_mask"],
            stop_after=self.labels is not None,
            dtype=STATE_DTYPES[self.spec.state_dtype],
        )
        generated = None
        with torch.inference_mode(), capture:
            if self.labels:
                self.backbone.model(**inputs)
            else:
                generated = generate(self.backbone, inputs, self.spec.max_new_tokens)
        return {layer: capture.states(layer) for layer in self.spec.all_layers}, generated

    def _asked(self, query: Query, span: ImageSpan) -> dict[str, Any]:
        """Columns about the question."""
        sample = query.sample
        return {
            "sample_id": sample.sample_id,
            "group": sample.group,
            "split": self.splits[sample.group],
            "question": sample.question,
            "prompt": query.text,
            "answer": sample.answer,
            "images": [os.path.abspath(path) for path in sample.images],  # reports may run in any directory
            "contents": contents(sample),
            "caption": "\n".join(self.queries.captions(sample)),
        } | span._asdict()

    def _answered(self, sample: Sample, answer: Answer | None) -> dict[str, Any]:
        """Columns about the answer: graded, or from another store."""
        if self.labels:
            return self.labels.columns(sample)
        assert answer is not None  # generated exactly when there are no labels
        with step("its answer cannot be graded"):
            final_answer, label = graded(self.dataset, sample, answer.text, answer.finish_reason)
            return {
                "response": answer.text,
                "finish_reason": answer.finish_reason,
                "final_answer": final_answer,
                "label": label,
                "token_logprobs": answer.token_logprobs,
                "first_token_entropy": answer.first_token_entropy,
            }


def _finite(states: dict[int, TokenStates], generated: Generated | None) -> np.ndarray:
    """Whether everything stored for each prompt is finite, `[batch]`."""
    finite = np.all([caught.finite() for caught in states.values()], axis=0)
    if generated:
        finite &= np.isfinite(generated.output_embedding).all(axis=1)
        finite &= [bool(np.isfinite(answer.token_logprobs).all()) for answer in generated.answers]
    return finite
