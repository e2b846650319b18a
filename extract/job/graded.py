"""Grades complete answers. An answer that was cut off is not graded: its final answer is empty and its label 0."""

from __future__ import annotations

from extract.answers.endings import CUT_OFF, count_endings, incomplete_line, kind_of
from extract.datasets import Dataset
from extract.sample import Sample
from relope_jax.states.store import Store


def graded(dataset: Dataset, sample: Sample, response: str, finish_reason: str) -> tuple[str, int]:
    """Final answer and label of a response; `("", 0)` when it was cut off."""
    if kind_of(finish_reason) == CUT_OFF:
        return "", 0
    return dataset.final_answer(sample, response), int(dataset.grade(sample, response))


def incomplete_answers(store: Store) -> str:
    """One line that counts a store's answers that are cut off or empty and says how to raise the limit; "" when there
    are none."""
    reasons, responses = (store.samples[name].to_pylist() for name in ("finish_reason", "response"))
    endings = count_endings((reason or "", response or "") for reason, response in zip(reasons, responses, strict=True))
    which = "" if not store.identity.labels_from else " of the store that the labels come from"
    advice = f"such an answer counts as wrong; raise the limit{which} with --config.extract.max_new_tokens=..."
    return incomplete_line(endings, f"extract.max_new_tokens={store.identity.max_new_tokens}", advice)
