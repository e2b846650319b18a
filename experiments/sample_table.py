"""samples.parquet of a run: what is known of every sample whoever routes it, from which accuracies and costs follow."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relope_jax.baselines.inputs import Inputs

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("label", pa.int8()),  # 1 when the small model is right
        ("large_label", pa.int8()),  # 1 when the large one is; null when nobody asked it
        ("prompt_tokens", pa.int32()),
        ("answer_tokens", pa.int32()),  # of the small model's greedy answer
        ("large_prompt_tokens", pa.int32()),  # null when nobody asked, or counted
        ("large_answer_tokens", pa.int32()),
        ("sampled_tokens", pa.int32()),  # of all sampled answers together; null without them
    ]
)


def sample_table(inputs: Inputs) -> pa.Table:
    """One row a sample, in the store's order."""
    stored = inputs.store.samples
    large = {row["sample_id"]: row for row in inputs.large.table.to_pylist()} if inputs.large else {}
    answers = [large.get(sample_id, {}) for sample_id in inputs.sample_ids]
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
        "sampled_tokens": sampled_tokens(inputs),
    }
    return pa.table(columns).cast(SCHEMA)


def sampled_tokens(inputs: Inputs) -> list[int | None]:
    """Tokens of each sample's sampled answers; None where an answer is missing or was not counted."""
    if inputs.samples is None:
        return [None] * len(inputs.sample_ids)
    counts: dict[str, int | None] = dict.fromkeys(inputs.sample_ids, 0)
    table = inputs.samples.table
    for name, tokens in zip(table["sample_id"].to_pylist(), table["completion_tokens"].to_pylist(), strict=True):
        known = counts.get(name)
        counts[name] = None if tokens is None or known is None else known + tokens
    complete = inputs.samples.has(inputs.sample_ids)
    return [counts[name] if there else None for name, there in zip(inputs.sample_ids, complete, strict=True)]
