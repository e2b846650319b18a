"""Writes collected answers to a table in STORE/answers/ and to its sidecar, which is replaced last."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from extract.answers.collect import Collected, cost_of
from extract.answers.endings import count_endings, ending_totals, is_answer
from extract.answers.request import Response, styles_of
from extract.answers.styles import STYLES
from extract.sample import Sample
from extract.spec import AnswerSpec
from extract.text import clean_text, shortened
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import explaining, to_json
from relope_jax.io.place import Place
from relope_jax.io.tables import table_bytes
from relope_jax.states.answer_files import ANSWER_SCHEMA, FOLDER, is_table_of, sidecar_name, table_name
from relope_jax.states.answers import Answers, read_sidecar
from relope_jax.states.manifest import MANIFEST

# How requests are sent, not what is asked: other values give the same answers.
HOW = ("name", "key_env", "concurrency", "retries", "timeout", "cache", "price_in", "price_out")

# Sample, style and response -> final answer and label. The response is "" when it is not an answer.
Read = Callable[[Sample, str, str], tuple[str, int]]


def settings_of(spec: AnswerSpec, source: str, variant: str) -> dict[str, Any]:
    """The settings that shape the answers. Tables with equal settings hold answers to the same requests."""
    asked = {name: getattr(spec, name) for name in spec.__dataclass_fields__ if name not in HOW}
    if spec.ask == "question":
        del asked["ask"]  # left out when it has the default
    settings = {"source": source, "variant": variant, "styles": {name: STYLES[name] for name in styles_of(spec)}}
    return json.loads(json.dumps(asked | settings))  # as read back from a sidecar


def refuse_other_settings(place: Place, name: str, settings: dict[str, Any]) -> None:
    """Raise ReLopeError when answers with that name were requested with other settings."""
    if not place.exists(sidecar_name(name)):
        return
    try:
        record = read_sidecar(place, name)
    except (FileNotFoundError, ValueError):
        return  # a damaged sidecar is rewritten
    if different := [f"{k}: {settings[k]!r} != {record.get(k)!r}" for k in settings if settings[k] != record.get(k)]:
        raise ReLopeError(
            f"the answers '{name}' of {place.url} were asked for with other settings ({'; '.join(different)}): "
            f"choose another --config.answers.name=... or delete {place.url}/{sidecar_name(name)}"
        )


def table_names(place: Place, name: str) -> list[str]:
    """Paths of all tables of the answers `name`: the sidecar's and those left by killed processes."""
    return [path for path in place.names(f"{FOLDER}/") if is_table_of(name, path)]


def require_writable(place: Place, name: str) -> None:
    """Raise ReLopeError when the store cannot take answers, before any is paid for."""
    probe = f"{FOLDER}/.{name}.{secrets.token_hex(4)}.tmp"
    try:
        with explaining(place.url):
            place.write(probe, b"answers")
            place.delete(probe)
    except ReLopeError as error:
        raise ReLopeError(f"nothing was asked, since the store could not take the answers: {error}") from error


def write_answers(
    place: Place,
    settings: dict[str, Any],
    read: Read,
    samples: list[Sample],
    collected: Collected,
    old_tables: list[str],
) -> Answers:
    """Read, grade and publish. A finished table with answers that these lack is kept.

    Args:
      old_tables: earlier tables of these answers, removed at the end.

    Raises:
      ReLopeError: no answer could be graded, or the store cannot take the table.
    """
    spec, totals = collected.spec, collected.totals
    rows = [row for sample in samples for row in _rows(read, sample, collected)]
    if not rows:
        last = collected.left_out[-1]
        raise ReLopeError(f"no answer could be graded; the last, {last['sample_id']}: {last['reason']}")
    if finished := _better(place, spec.name, settings, rows):
        return finished
    data = table_bytes(pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA))
    sha256 = hashlib.sha256(data).hexdigest()
    responses = collected.responses.values()
    record = settings | {
        "store_manifest": place.sha256(MANIFEST),
        "table": table_name(spec.name, sha256).removeprefix(f"{FOLDER}/"),
        "sha256": sha256,
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
    _publish(place, spec.name, data, record, old_tables)
    return Answers.load(place.url, spec.name)


def _publish(place: Place, name: str, data: bytes, record: dict[str, Any], old_tables: list[str]) -> None:
    """Write the table under a new name, then the sidecar that refers to it, then remove old tables: at every moment a
    sidecar and its table exist."""
    with explaining(place.url):
        place.write(table_name(name, record["sha256"]), data)
        place.write(sidecar_name(name), to_json(record).encode())
        named = table_name(name, read_sidecar(place, name)["sha256"])  # another process may have replaced it
        for old in set(old_tables) - {named}:
            place.delete(old)


def _better(place: Place, name: str, settings: dict[str, Any], rows: list[dict[str, Any]]) -> Answers | None:
    """The finished answers if they include some that `rows` lack, for example after a lost cache; else None."""
    try:
        finished = Answers.load(place.url, name)
    except ReLopeError:  # missing, damaged or from another store
        return None
    if any(finished.settings.get(field) != value for field, value in settings.items()):
        return None
    there = {(row["sample_id"], row["style"], row["index"]) for row in rows}
    lost = {tuple(row.values()) for row in finished.table.select(["sample_id", "style", "index"]).to_pylist()} - there
    if not lost:
        return None
    print(f"the answers '{name}' are kept: they include {len(lost)} that this run could not get")
    return finished


def _rows(read: Read, sample: Sample, collected: Collected) -> list[dict[str, Any]]:
    """The table's rows of one sample, by style and index. An answer that cannot be graded is left out and reported."""
    rows = []
    for style in styles_of(collected.spec):
        for index in range(max(collected.spec.samples, 1)):
            response = collected.responses.get((sample.sample_id, style, index))
            if response is None:
                continue
            try:
                whole = is_answer(response.finish_reason, response.text)
                final_answer, label = read(sample, style, response.text if whole else "")
                graded = {"final_answer": clean_text(final_answer), "label": int(bool(label))}
            except Exception as error:  # any error: the other answers are paid for
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
    """The columns of a row that come from the response."""
    return {
        "response": response.text,
        "token_logprobs": response.token_logprobs,
        "prompt_tokens": response.prompt_tokens,
        "completion_tokens": response.completion_tokens,
        "cost": cost_of(response, spec),
        "finish_reason": response.finish_reason,
    }
