"""From collected answers to STORE/answers/NAME.parquet and its sidecar, which is written last."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extract.answers.collect import Collected, cost_of
from extract.answers.endings import count_endings, ending_totals
from extract.answers.request import Response, styles_of
from extract.answers.styles import STYLES
from extract.sample import Sample
from extract.spec import AnswerSpec
from extract.text import shortened, without_surrogates
from relope_jax.errors import ReLopeError, first_line
from relope_jax.states.answers import ANSWER_SCHEMA, FOLDER, Answers
from relope_jax.states.files import explaining, to_json
from relope_jax.states.manifest import MANIFEST
from relope_jax.states.place import Place

# How the asking went, not what was asked: another value gives the same answers.
HOW = ("name", "key_env", "concurrency", "retries", "timeout", "cache", "price_in", "price_out")

Read = Callable[[Sample, str, str], tuple[str, int]]  # sample, style, response -> final answer and label


def settings_of(spec: AnswerSpec, source: str, variant: str) -> dict[str, Any]:
    """What shapes the answers. Two tables with equal settings hold answers to the same requests."""
    asked = {name: getattr(spec, name) for name in spec.__dataclass_fields__ if name not in HOW}
    if spec.ask == "question":
        del asked["ask"]  # as in tables from before there was anything else to ask
    settings = {"source": source, "variant": variant, "styles": {name: STYLES[name] for name in styles_of(spec)}}
    return json.loads(json.dumps(asked | settings))  # as a sidecar gives them back


def refuse_other_settings(place: Place, name: str, settings: dict[str, Any]) -> None:
    """Raise ReLopeError when answers of that name were asked for with other settings."""
    sidecar = f"{FOLDER}/{name}.json"
    if not place.exists(sidecar):
        return
    try:
        record = json.loads(place.read(sidecar))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return  # a damaged sidecar is written again
    if different := [f"{k}: {settings[k]!r} != {record.get(k)!r}" for k in settings if settings[k] != record.get(k)]:
        raise ReLopeError(
            f"the answers '{name}' of {place.url} were asked for with other settings ({'; '.join(different)}): "
            f"choose another --config.answers.name=... or delete {place.url}/{sidecar}"
        )


def require_writable(place: Place, name: str) -> None:
    """Raise ReLopeError when the store does not take answers, so that none is paid for in vain."""
    probe = f"{FOLDER}/.{name}.{secrets.token_hex(4)}.tmp"
    try:
        with explaining(place.url):
            place.write(probe, b"answers")
            place.delete(probe)
    except ReLopeError as error:
        raise ReLopeError(f"nothing was asked, since the store could not take the answers: {error}") from error


def write_answers(
    place: Place, settings: dict[str, Any], read: Read, samples: list[Sample], collected: Collected
) -> Answers:
    """Read, grade and publish: the table first, then the sidecar, which marks it as finished.

    Raises:
      ReLopeError: no answer could be graded, or the store does not take the table.
    """
    spec, totals = collected.spec, collected.totals
    rows = [row for sample in samples for row in _rows(read, sample, collected)]
    if not rows:
        last = collected.left_out[-1]
        raise ReLopeError(f"no answer could be graded; the last, {last['sample_id']}: {last['reason']}")
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA), buffer)
    data = buffer.getvalue().to_pybytes()
    responses = collected.responses.values()
    record = settings | {
        "store_manifest": place.sha256(MANIFEST),
        "sha256": hashlib.sha256(data).hexdigest(),
        "served_models": sorted({response.model for response in responses} - {""}),
        "fingerprints": sorted({response.fingerprint for response in responses} - {""}),
        "answers": len(rows),
        "accuracy": sum(row["label"] for row in rows) / len(rows),
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "without_token_counts": totals.uncounted,
        "price_in": spec.price_in,
        "price_out": spec.price_out,
        "cost": totals.cost,
        **ending_totals(count_endings((row["finish_reason"], row["response"]) for row in rows)),
        "left_out": sorted(collected.left_out, key=lambda entry: (entry["sample_id"], entry["answer"])),
    }
    with explaining(place.url):
        place.write(f"{FOLDER}/{spec.name}.parquet", data)
        place.write(f"{FOLDER}/{spec.name}.json", to_json(record).encode())
    return Answers.load(place.url, spec.name)


def _rows(read: Read, sample: Sample, collected: Collected) -> list[dict[str, Any]]:
    """The table's rows of one sample, by style and index; an answer that cannot be graded is left out and named."""
    rows = []
    for style in styles_of(collected.spec):
        for index in range(max(collected.spec.samples, 1)):
            response = collected.responses.get((sample.sample_id, style, index))
            if response is None:
                continue
            try:
                final_answer, label = read(sample, style, response.text)
                graded = {"final_answer": without_surrogates(final_answer), "label": int(bool(label))}
            except Exception as error:  # whatever it is: the other answers are paid for
                reason = f"cannot be graded: {type(error).__name__}: {shortened(first_line(error))}"
                collected.leave_out(sample.sample_id, reason, f"{style} {index}")
                continue
            rows.append(
                {"sample_id": sample.sample_id, "style": style, "index": index}
                | graded
                | _columns(response, collected.spec)
            )
    return rows


def _columns(response: Response, spec: AnswerSpec) -> dict[str, Any]:
    """What a row takes from the response."""
    return {
        "response": response.text, "token_logprobs": response.token_logprobs, "prompt_tokens": response.prompt_tokens,
        "completion_tokens": response.completion_tokens, "cost": cost_of(response, spec),
        "finish_reason": response.finish_reason,
    }  # fmt: skip
