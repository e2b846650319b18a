"""From collected answers to STORE/answers/NAME.parquet and its sidecar, which is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extract.answers.collect import Collected, cost_of
from extract.answers.request import styles_of
from extract.answers.styles import STYLES
from extract.sample import Sample
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
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
    except ValueError:
        return  # a damaged sidecar is written again
    if different := [f"{k}: {settings[k]!r} != {record.get(k)!r}" for k in settings if settings[k] != record.get(k)]:
        raise ReLopeError(
            f"the answers '{name}' of {place.url} were asked for with other settings ({'; '.join(different)}): "
            f"choose another --config.answers.name=... or delete {place.url}/{sidecar}"
        )


def write_answers(
    place: Place, settings: dict[str, Any], read: Read, samples: list[Sample], collected: Collected
) -> Answers:
    """Read, grade and publish: the table first, then the sidecar, which marks it as finished."""
    spec, totals = collected.spec, collected.totals
    rows = [row for sample in samples for row in _rows(read, sample, collected)]
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
        "left_out": sorted(collected.left_out, key=lambda entry: (entry["sample_id"], entry["answer"])),
    }
    with explaining(place.url):
        place.write(f"{FOLDER}/{spec.name}.parquet", data)
        place.write(f"{FOLDER}/{spec.name}.json", to_json(record).encode())
    return Answers.load(place.url, spec.name)


def _rows(read: Read, sample: Sample, collected: Collected) -> list[dict[str, Any]]:
    """The table's rows of one sample, by style and index."""
    rows = []
    for style in styles_of(collected.spec):
        for index in range(max(collected.spec.samples, 1)):
            response = collected.responses.get((sample.sample_id, style, index))
            if response is None:
                continue
            final_answer, label = read(sample, style, response.text)
            rows.append({
                "sample_id": sample.sample_id, "style": style, "index": index, "response": response.text,
                "final_answer": final_answer, "label": label,
                "token_logprobs": response.token_logprobs, "prompt_tokens": response.prompt_tokens,
                "completion_tokens": response.completion_tokens, "cost": cost_of(response, collected.spec),
                "finish_reason": response.finish_reason,
            })  # fmt: skip
    return rows
