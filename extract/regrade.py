"""Grade a store's responses again, with today's graders: python -m extract.regrade --config=quickstart.py

Nothing is generated: the responses are in the store, the right answers in the config's dataset. Labels and final
answers are replaced in place, with all checksums; the states stay. If it is killed, the same command finishes the work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from absl import app

from extract.extraction import chosen_samples, questions_digest
from extract.graded import graded
from extract.narrowing import reason_of
from extract.settings import Extraction, mismatches, plan_from_config
from extract.source import graders_digest
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.states.files import explaining, to_json
from relope_jax.states.manifest import IDENTITY, MANIFEST, PART, REGRADING, Manifest, Part, is_regrading
from relope_jax.states.place import Place, open_place
from relope_jax.states.store import Store
from relope_jax.states.writer import Shard, part_name

TABLE = "samples.parquet"

Read = Callable[[str, str, str], tuple[str, int]]  # (sample id, response, finish reason) -> (final answer, label)


def regrade(plan: Extraction) -> str:
    """Grade the store of `plan` again; a line about what changed.

    Raises:
      ReLopeError: there is no such store, it was made of other questions, or its labels are another store's.
    """
    place = open_place(plan.store)
    if not is_regrading(place):
        Store(plan.store)  # says what is wrong before a lock is written there
    with explaining(place.url), place.lock(Shard().lock):
        if is_regrading(place):
            _publish(place)  # what a killed process had prepared
        store = Store(plan.store)
        if store.identity.labels_from:
            raise ReLopeError(f"the labels of {store.path} come from another store: grade that one again")
        if store.identity.graders == graders_digest():
            _clear(place)  # a process that was killed at its very end may have left something
            return f"{store.path}: its labels are those of today's graders"
        changed = _prepare(place, store, _grader(plan, store))
        _publish(place)
    n = sum(part.n_samples for part in store.manifest.parts)
    return f"{store.path}: {n} responses graded again, {changed} labels changed"


def _grader(plan: Extraction, store: Store) -> Read:
    """Reads and grades a response to one of the store's questions."""
    if different := mismatches(plan, store.identity):
        raise ReLopeError(f"{store.path} was made with other settings ({'; '.join(different)}): give it its own config")
    dataset, samples, _ = chosen_samples(plan.dataset)
    if questions_digest(dataset, samples) != store.identity.questions:
        raise ReLopeError(f"{store.path} was made of other questions or right answers than are read now: extract again")
    by_id = {sample.sample_id: sample for sample in samples}

    def read(sample_id: str, response: str, finish_reason: str) -> tuple[str, int]:
        return graded(dataset, by_id[sample_id], response, finish_reason)

    return read


def _prepare(place: Place, store: Store, read: Read) -> int:
    """Write the new tables and the new manifest below `REGRADING`; how many labels changed."""
    _clear(place)
    parts, changed = [], 0
    for part in store.manifest.parts:
        old = store.part_table(part)
        new = _graded(old, read)
        changed += sum(a != b for a, b in zip(old["label"].to_pylist(), new["label"].to_pylist(), strict=True))
        data = _bytes(new)
        place.write(f"{REGRADING}/{part.name}.parquet", data)
        parts.append(dataclasses.replace(part, files=part.files | {TABLE: hashlib.sha256(data).hexdigest()}))
    identity = dataclasses.replace(store.identity, graders=graders_digest())
    manifest = Manifest(identity, parts, store.manifest.blocks)
    place.write(f"{REGRADING}/{MANIFEST}", manifest.to_json().encode())
    return changed


def _graded(table: pa.Table, read: Read) -> pa.Table:
    """The table with new final answers and labels; all other columns stay."""
    rows = table.to_pylist()
    for row in rows:
        try:
            row["final_answer"], row["label"] = read(row["sample_id"], row["response"], row["finish_reason"])
        except Exception as error:
            reason = reason_of(error)
            raise ReLopeError(f"{row['sample_id']} cannot be graded ({reason}): nothing is changed") from error
    return pa.Table.from_pylist(rows, schema=table.schema)


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _publish(place: Place) -> None:
    """Move what is prepared into place. Every step may be repeated; until the last one the store has no manifest."""
    data = place.read(f"{REGRADING}/{MANIFEST}")
    record = json.loads(data)
    place.delete(MANIFEST)  # nobody reads new labels with old checksums
    for part in (Part(**part) for part in record["parts"]):
        index = int(part.name)
        place.write(f"{part_name(index)}/{TABLE}", place.read(f"{REGRADING}/{part.name}.parquet"))
        place.write(f"{part_name(index)}/{PART}", part.to_json().encode())
    # Only now: an extraction that is started in between finds other graders, and does not finish half of the labels.
    identity = {"schema_version": record["schema_version"], **record["identity"]}
    place.write(IDENTITY, to_json(identity).encode())
    place.write(MANIFEST, data)
    _clear(place)


def _clear(place: Place) -> None:
    """Delete what is prepared; its manifest first, so that a killed process leaves nothing that looks complete."""
    place.delete(f"{REGRADING}/{MANIFEST}")
    place.delete(f"{REGRADING}/")


@exit_on_error
def main(_: list[str]) -> None:
    print(regrade(plan_from_config(config_flag.value)))


if __name__ == "__main__":
    config_flag = define_config_flag()  # only here: flags are global, and other commands define this one too
    app.run(main, flags_parser=parse_flags)
