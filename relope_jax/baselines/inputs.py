"""Inputs of baselines other than hidden states: answers, their token probabilities and text embeddings. Read lazily and
cached."""

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

# Optional inputs; the first three are names of tables of answers.
LARGE, SAMPLES, CONFIDENCE, EMBEDDINGS, OUTPUT_EMBEDDING = (
    "large",
    "samples",
    "confidence",
    "embeddings",
    "output_embedding",
)
STYLES = ("direct", "steps")  # the two prompts of sampled answers
# Settings that must be equal in the tables of joined stores; the server may differ.
SAME = {LARGE: ("model",), SAMPLES: ("samples", "temperature", "top_p", "max_tokens"), CONFIDENCE: ("ask",)}


class Inputs:
    """Lazy columns of one store or of several joined stores, row i for sample i. A missing input raises a ReLopeError
    with the command that makes it."""

    def __init__(self, store: ReadableStore):
        self.store = store
        self.sample_ids: list[str] = store.column("sample_id").tolist()

    @functools.cached_property
    def final_answers(self) -> list[str]:
        """The final answers of the small model; "" if none was found."""
        return self.store.column("final_answer").tolist()

    @functools.cached_property
    def token_logprobs(self) -> list[Float32[np.ndarray, "_"]]:
        """Log-probabilities of each greedy answer's tokens, in nats.

        Raises:
          ReLopeError: an answer has no log-probabilities.
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
        """The large model's greedy answers; None if there are none."""
        return Answered.find(self.store, LARGE, SAME[LARGE])

    @functools.cached_property
    def large_labels(self) -> Int[np.ndarray, "samples"]:
        """1 if the large model is right, 0 if it is wrong, -1 if its answer is unknown."""
        return self.large.labels() if self.large else np.full(len(self.sample_ids), UNKNOWN, np.int64)

    @functools.cached_property
    def samples(self) -> Answered | None:
        """Sampled answers of the small model; None if there are none."""
        return Answered.find(self.store, SAMPLES, SAME[SAMPLES])

    @functools.cached_property
    def confidence(self) -> Answered | None:
        """The small model's replies about its own answers; None if there are none."""
        return Answered.find(self.store, CONFIDENCE, SAME[CONFIDENCE])

    def sampled_answers(self, style: str) -> list[list[str]]:
        """Final answers of every sample's draws in one style; training samples may have none.

        Raises:
          ReLopeError: a sample of another split lacks draws.
        """
        return self._of_all_but_training(self.samples, SAMPLES).sampled("final_answer", style)

    @functools.cached_property
    def stated_confidence(self) -> list[str | None]:
        """The probability in percent that the small model states for each of its answers: "" if it states none, None
        for training samples without a reply."""
        answers = self._of_all_but_training(self.confidence, CONFIDENCE)
        return [next(iter(stated), None) for stated in answers.sampled("final_answer", CONFIDENCE)]

    def _of_all_but_training(self, answers: Answered | None, name: str) -> Answered:
        """Check that all validation and test samples have answers. Methods that are not fitted do not need those of
        training samples."""
        answers = answers or require_answers(self.store, name)
        there = answers.has() | (self.store.column("split") == "train")
        start = 0
        for piece in self.store.pieces:
            own = there[start : start + len(piece.rows)]
            start += len(piece.rows)
            if not own.all():
                raise ReLopeError(
                    f"the answers '{name}' of {piece.store.path} lack {int((~own).sum())} of {len(own)} samples, the "
                    f"first '{piece.sample_ids[int(np.argmin(own))]}': run the command that made them again"
                )
        return answers


def require_answers(store: ReadableStore, name: str) -> NoReturn:
    """Raise the ReLopeError for missing answers, with the command that makes them."""
    Answers.load(store.path, name)
    raise AssertionError(f"{store.path} has the answers '{name}'")


def require_inputs(inputs: Inputs, needs: tuple[str, ...]) -> None:
    """Raise ReLopeError before training if an input of `needs` cannot be read. Existing tables of answers must be
    readable too, because a run sums up their tokens."""
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
