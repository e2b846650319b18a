"""The files of STORE/answers/: their names, and the checks on a sidecar and a table.

A table is NAME-DIGEST.parquet, with the first digits of its SHA-256. The sidecar NAME.json names it and is replaced
last. Both may come from untrusted sources.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relope_jax.io.files import parse_json
from relope_jax.io.inside import shown_name
from relope_jax.io.tables import parse_table

FOLDER = "answers"
DIGITS = 12  # of the SHA-256 in a table's name
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile("[0-9a-f]{64}")

ANSWER_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("style", pa.string()),  # the prompt's style: "direct" or "steps"
        ("index", pa.int32()),  # number of the sampled answer; 0 for the greedy answer
        ("response", pa.string()),
        ("final_answer", pa.string()),  # normalised: two responses agree if it is equal; "" means no answer
        ("label", pa.int8()),  # 1 if the response is right
        ("token_logprobs", pa.list_(pa.float32())),  # null if the server gives none
        ("prompt_tokens", pa.int32()),  # null if the server does not count them
        ("completion_tokens", pa.int32()),
        ("cost", pa.float64()),  # dollars
        ("finish_reason", pa.string()),
    ]
)
_ALWAYS = ("sample_id", "style", "index", "response", "final_answer", "label", "finish_reason")  # never null
_KEY = ("sample_id", "style", "index")


def is_answer_name(name: object) -> bool:
    """Whether `name` is valid for answers: at most 200 letters, digits, `.`, `_` and `-`."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def sidecar_name(name: str) -> str:
    """The sidecar's path in its store."""
    return f"{FOLDER}/{name}.json"


def table_name(name: str, sha256: str) -> str:
    """A table's path in its store, from the SHA-256 of its bytes."""
    return f"{FOLDER}/{name}-{sha256[:DIGITS]}.parquet"


def is_table_of(name: str, path: str) -> bool:
    """Whether `path`, in its store, is named like a table of the answers `name`."""
    return re.fullmatch(f"{re.escape(f'{FOLDER}/{name}')}-[0-9a-f]{{{DIGITS}}}\\.parquet", path) is not None


def parse_sidecar(data: bytes, name: str) -> dict[str, Any]:
    """Parse the settings in the sidecar of the answers `name`.

    Raises:
      ValueError: it is not a sidecar, or a field has the wrong type or an impossible value.
      ReLopeError: it is larger than `limits.JSON`.
    """
    settings = parse_json(data, sidecar_name(name))
    if not isinstance(settings, dict):
        raise ValueError("the sidecar is not an object")
    if lacking := [field for field in _REQUIRED if field not in settings]:
        raise ValueError(f"the sidecar lacks '{lacking[0]}'")
    for field, is_good in _FIELDS.items():
        if field in settings and not is_good(settings[field]):
            raise ValueError(f"'{field}' of the sidecar cannot be {shown_name(settings[field])}")
    if settings["table"] != table_name(name, settings["sha256"]).removeprefix(f"{FOLDER}/"):
        raise ValueError(f"the sidecar names the table {shown_name(settings['table'])}, which belongs to other answers")
    return settings


def parse_answer_table(data: bytes, settings: dict[str, Any]) -> pa.Table:
    """Parse the Parquet file `data` of answers, whose sidecar holds `settings`.

    Raises:
      ValueError: a value is impossible.
      ReLopeError: it is not a table of answers, or needs more memory than `limits.TABLE`.
    """
    table = parse_table(data, "the table", ANSWER_SCHEMA)
    for column in _ALWAYS:
        if table[column].null_count:
            raise ValueError(f"the table's column '{column}' has nulls")
    if problem := next((problem for problem, is_bad in _PROBLEMS.items() if is_bad(table, settings)), None):
        raise ValueError(f"in the table {problem}")
    return table


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0 and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_amount(value) and value <= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_styles(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_text, value.values()))


def _is_left_out(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and entry.keys() == {"sample_id", "answer", "reason"} and _is_texts([*entry.values()])
        for entry in value
    )


_REQUIRED = ("table", "sha256", "store_manifest", "samples", "styles")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "table": _is_text, "sha256": _is_digest, "store_manifest": _is_digest, "samples": _is_count, "styles": _is_styles,
    "left_out": _is_left_out, "splits": _is_texts, "served_models": _is_texts, "fingerprints": _is_texts,
    "accuracy": _is_share, "top_p": _is_share, "logprobs": lambda value: isinstance(value, bool),
    **dict.fromkeys(("model", "base_url", "ask", "extra", "image_detail", "source", "variant"), _is_text),
    **dict.fromkeys(("answers", "max_tokens", "prompt_tokens", "completion_tokens", "without_token_counts",
                     "cut_off", "filtered", "tool_calls", "empty"), _is_count),
    **dict.fromkeys(("temperature", "price_in", "price_out", "cost"), _is_amount),
}  # fmt: skip


def _any(condition: Any) -> bool:
    return bool(pc.any(condition).as_py())


def _is_outside(column: pa.ChunkedArray, low: float, high: float) -> bool:
    """Whether a value is out of bounds or NaN; nulls are ignored."""
    return _any(pc.invert(pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))))


def _has_twice(table: pa.Table) -> bool:
    return len(table.select(_KEY).group_by(list(_KEY), use_threads=False).aggregate([])) < len(table)


def _has_odd_logprobs(table: pa.Table) -> bool:
    for chunk in table["token_logprobs"].chunks:
        values = chunk.flatten()
        if values.null_count or not np.isfinite(values.to_numpy(zero_copy_only=False)).all():
            return True
    return False


# Problems and their tests; the first problem found is reported.
_PROBLEMS: dict[str, Callable[[pa.Table, dict[str, Any]], bool]] = {
    "a label is neither 0 nor 1": lambda t, _: _is_outside(t["label"], 0, 1),
    "an index is out of range": lambda t, s: _is_outside(t["index"], 0, max(s["samples"], 1) - 1),
    "a style is not one of the sidecar's": lambda t, s: (
        not set(pc.unique(t["style"]).to_pylist()) <= s["styles"].keys()
    ),
    "an answer is duplicated": lambda t, _: _has_twice(t),
    "a number of tokens is negative": lambda t, _: (
        _is_outside(t["prompt_tokens"], 0, np.inf) or _is_outside(t["completion_tokens"], 0, np.inf)
    ),
    "a cost is not a finite amount of at least 0": lambda t, _: _is_outside(t["cost"], 0, np.finfo(np.float64).max),
    "a log-probability is not finite": lambda t, _: _has_odd_logprobs(t),
}
