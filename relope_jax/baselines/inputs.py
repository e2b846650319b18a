"""What baselines read beside the hidden states: answers, their token probabilities, text embeddings. Read when asked
for, once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Float32, Int

from relope_jax.baselines.answered import UNKNOWN, Answered
from relope_jax.errors import ReLopeError
from relope_jax.states.answers import Answers
from relope_jax.states.embeddings import QUESTION, QUESTION_ANSWER
from relope_jax.states.view import ReadableStore

# Inputs that a store need not have; the first three are names of tables of answers.
LARGE, SAMPLES, CONFIDENCE, EMBEDDINGS, OUTPUT_EMBEDDING = (
    "large", "samples", "confidence", "embeddings", "output_embedding",
)  # fmt: skip
STYLES = ("direct", "steps")  # the two prompts of sampled answers
# Settings in which the tables of joined stores must agree; who served them may differ.
SAME = {LARGE: ("model",), SAMPLES: ("samples", "temperature", "top_p", "max_tokens"), CONFIDENCE: ("ask",)}


class Inputs:
    """Lazy columns of one store, or of several joined ones, row i for sample i. What is missing raises a ReLopeError
    that says how to make it."""

    def __init__(self, store: ReadableStore):
        self.store = store
        self.sample_ids: list[str] = store.column("sample_id").tolist()

    @functools.cached_property
    def final_answers(self) -> list[str]:
        """What they settle on; "" when nothing."""
        return self.store.column("final_answer").tolist()

    @functools.cached_property
    def token_logprobs(self) -> list[Float32[np.ndarray, "_"]]:
        """Log-probabilities of each greedy answer's tokens, in nats.

        Raises:
          ReLopeError: an answer has none.
        """
        ragged = [np.asarray(row or [], np.float32) for row in self.store.samples["token_logprobs"].to_pylist()]
        if empty := [name for name, row in zip(self.sample_ids, ragged, strict=True) if not len(row)]:
            raise ReLopeError(
                f"{len(empty)} answers of {self.store.path} have no token log-probabilities, the first '{empty[0]}': "
                "delete the store and extract it again"
            )
        return ragged

    @functools.cached_property
    def first_token_entropy(self) -> Float[np.ndarray, "samples"]:
        return self.store.column("first_token_entropy").astype(np.float64)

    @functools.cached_property
    def output_embedding(self) -> Float[np.ndarray, "samples d"]:
        return self.store.output_embedding()

    @functools.cached_property
    def question_embedding(self) -> Float[np.ndarray, "samples d"]:
        return self.store.text_embedding(QUESTION)

    @functools.cached_property
    def question_answer_embedding(self) -> Float[np.ndarray, "samples d"]:
        return self.store.text_embedding(QUESTION_ANSWER)

    @functools.cached_property
    def large(self) -> Answered | None:
        """The large model's greedy answers; None when nobody asked it."""
        return Answered.find(self.store, LARGE, SAME[LARGE])

    @functools.cached_property
    def large_labels(self) -> Int[np.ndarray, "samples"]:
        """1 where the large model is right, 0 where it is wrong, -1 where its answer is unknown."""
        return self.large.labels() if self.large else np.full(len(self.sample_ids), UNKNOWN, np.int64)

    @functools.cached_property
    def samples(self) -> Answered | None:
        """Sampled answers of the small model; None when there are none."""
        return Answered.find(self.store, SAMPLES, SAME[SAMPLES])

    @functools.cached_property
    def confidence(self) -> Answered | None:
        """What the small model says about its own answers; None when it was not asked."""
        return Answered.find(self.store, CONFIDENCE, SAME[CONFIDENCE])

    def sampled_answers(self, style: str) -> list[list[str]]:
        """Final answers of every sample's draws under one prompt; a training sample may have none.

        Raises:
          ReLopeError: another sample lacks draws.
        """
        return self._of_all_but_training(self.samples, SAMPLES).sampled("final_answer", style)

    @functools.cached_property
    def stated_confidence(self) -> list[str | None]:
        """The probability in percent that the small model states of each of its answers; "" where it states none, None
        for a training sample whose answer it was not asked about."""
        answers = self._of_all_but_training(self.confidence, CONFIDENCE)
        return [next(iter(stated), None) for stated in answers.sampled("final_answer", CONFIDENCE)]

    def _of_all_but_training(self, answers: Answered | None, name: str) -> Answered:
        """Methods that learn nothing need no training samples; the others must all have their answers."""
        answers = answers or require_answers(self.store, name)
        there = answers.has() | (self.store.column("split") == "train")
        start = 0
        for piece in self.store.pieces:
            own = there[start : start + len(piece.rows)]
            start += len(piece.rows)
            if not own.all():
                raise ReLopeError(
                    f"the answers '{name}' of {piece.store.path} lack {int((~own).sum())} of {len(own)} samples, the "
                    f"first '{piece.sample_ids[int(np.argmin(own))]}': give the command that made them again"
                )
        return answers


def require_answers(store: ReadableStore, name: str) -> NoReturn:
    """Raise the ReLopeError that says how answers which no store has are made."""
    Answers.load(store.path, name)
    raise AssertionError(f"{store.path} has the answers '{name}'")


def require_inputs(inputs: Inputs, needs: tuple[str, ...]) -> None:
    """Raise ReLopeError, before anything is trained, when an input of `needs` cannot be read, or a table of answers
    that is there: a run sums up its tokens."""
    _ = inputs.large, inputs.samples, inputs.confidence
    checks: dict[str, Callable[[], object]] = {
        LARGE: lambda: inputs.large or require_answers(inputs.store, LARGE),
        SAMPLES: lambda: inputs.sampled_answers(STYLES[0]),
        CONFIDENCE: lambda: inputs.stated_confidence,
        EMBEDDINGS: lambda: (inputs.question_embedding, inputs.question_answer_embedding),
        OUTPUT_EMBEDDING: lambda: inputs.output_embedding,
    }
    for need in needs:
        checks[need]()
