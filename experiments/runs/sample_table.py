"""samples.parquet of a run: labels and token counts of every sample, for accuracies and costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relope_jax.baselines.answered import Answered
from relope_jax.baselines.inputs import Inputs
from relope_jax.metrics.routing.cost import READS, Tokens
from relope_jax.run_schema import TOKEN_COUNTS
from relope_jax.states.answers import Answers

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("label", pa.int8()),  # 1 if the small model is right
        ("large_label", pa.int8()),  # 1 if the large model is right; null if it has no answer
        ("prompt_tokens", pa.int32()),
        ("answer_tokens", pa.int32()),  # of the small model's greedy answer
        ("large_prompt_tokens", pa.int32()),  # null if there is no answer or no count
        ("large_answer_tokens", pa.int32()),
        ("sampled_prompt_tokens", pa.int32()),  # of the prompts for sampling, each counted once
        ("sampled_tokens", pa.int32()),  # of all sampled answers; null without them
        ("confidence_prompt_tokens", pa.int32()),  # of the confidence question; null if not asked
        ("confidence_tokens", pa.int32()),
    ]
)


def sample_table(inputs: Inputs) -> pa.Table:
    """One row per sample, in the store's order."""
    stored = inputs.store.samples
    nothing: dict[str, Any] = {}
    answers = inputs.large.each(greedy, nothing) if inputs.large else [nothing] * len(stored)
    columns: dict[str, Any] = {
        "sample_id": stored["sample_id"],
        "group": stored["group"],
        "split": stored["split"],
        "label": stored["label"],
        "large_label": [answer.get("label") for answer in answers],
        "prompt_tokens": stored["n_tokens"],
        "answer_tokens": pc.list_value_length(stored["token_logprobs"]),
        "large_prompt_tokens": [answer.get("prompt_tokens") for answer in answers],
        "large_answer_tokens": [answer.get("completion_tokens") for answer in answers],
        "sampled_prompt_tokens": totals(inputs.samples, "prompt_tokens", len(stored), once=True),
        "sampled_tokens": totals(inputs.samples, "completion_tokens", len(stored)),
        "confidence_prompt_tokens": totals(inputs.confidence, "prompt_tokens", len(stored)),
        "confidence_tokens": totals(inputs.confidence, "completion_tokens", len(stored)),
    }
    return pa.table(columns).cast(SCHEMA)


def greedy(answers: Answers, sample_ids: list[str]) -> list[dict[str, Any]]:
    """The row of each sample's answer; empty if there is none."""
    rows = {row["sample_id"]: row for row in answers.table.to_pylist()}
    return [rows.get(sample_id, {}) for sample_id in sample_ids]


def totals(answered: Answered | None, column: str, n: int, *, once: bool = False) -> list[int | None]:
    """`summed` over all n samples, each in the table of its own store."""
    if answered is None:
        return [None] * n
    return answered.each(lambda answers, ids: summed(answers, column, ids, once=once), None)


def summed(answers: Answers, column: str, sample_ids: list[str], *, once: bool = False) -> list[int | None]:
    """A column of counts, summed over each sample's answers; None if an answer or its count is missing.

    Args:
      once: use only the first answer to each prompt, for counts that all answers to a prompt share.
    """
    counts: dict[str, int | None] = dict.fromkeys(sample_ids, 0)
    names = ("sample_id", "index", column)
    for sample_id, index, tokens in zip(*(answers.table[name].to_pylist() for name in names), strict=True):
        if index and once:
            continue
        known = counts.get(sample_id)
        counts[sample_id] = None if tokens is None or known is None else known + tokens
    complete = answers.has(sample_ids)
    return [counts[name] if there else None for name, there in zip(sample_ids, complete, strict=True)]


def uncounted(samples: pa.Table, kind: str) -> list[str]:
    """The token count columns with nulls, among those that the cost of this reading needs."""
    always = ("prompt", "answer", "large_prompt", "large_answer")
    return [TOKEN_COUNTS[name] for name in (*always, *READS[kind]) if complete(samples, TOKEN_COUNTS[name]) is None]


def read_tokens(samples: pa.Table) -> Tokens | None:
    """The token counts in rows of samples.parquet; None unless all rows have both models' counts."""
    if uncounted(samples, "query"):
        return None
    counted = {name: complete(samples, column) for name, column in TOKEN_COUNTS.items()}
    return Tokens(**{name: counts for name, counts in counted.items() if counts is not None})


def complete(samples: pa.Table, column: str) -> np.ndarray | None:
    """A column of counts or labels; None unless every row has one."""
    if samples[column].null_count:
        return None
    return samples[column].to_numpy().astype(np.int64)
