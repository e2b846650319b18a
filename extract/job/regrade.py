"""Recomputes the labels and final answers of a store from its own responses."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import pyarrow as pa

from extract import grading
from extract.backbone.narrowing import reason_of
from extract.job.extraction import chosen_samples, questions_digest
from extract.job.labels import graded
from extract.job.open import mismatches
from extract.plan import Extraction
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import explaining, to_json
from relope_jax.io.place import Place, open_place
from relope_jax.io.tables import table_bytes
from relope_jax.states.layout import IDENTITY, MANIFEST, PART, REGRADING, SAMPLES, part_name
from relope_jax.states.manifest import Manifest, Part, is_regrading
from relope_jax.states.shards import only_writer
from relope_jax.states.store import Store

Read = Callable[[str, str, str], tuple[str, int]]  # (sample id, response, finish reason) -> (final answer, label)


def regrade(plan: Extraction) -> str:
    """Regrade the store of `plan`; returns a line about the changes.

    Raises:
      ReLopeError: there is no such store, it has other questions, its labels come from another store, or a process is
        writing it or a shard of it.
    """
    place = open_place(plan.store)
    if not is_regrading(place):
        Store(plan.store)  # raises before a lock is written there
    with explaining(place.url), only_writer(place):
        if is_regrading(place):
            _publish(place)  # what a killed process prepared
        store = Store(plan.store)
        if store.identity.labels_from:
            raise ReLopeError(f"the labels of {store.path} come from another store: regrade that one")
        if store.identity.graders == grading.VERSION:
            _clear(place)  # left by a process that was killed at the very end
            return f"{store.path}: its labels are those of the current graders"
        changed = _prepare(place, store, _grader(plan, store))
        _publish(place)
    n = sum(part.n_samples for part in store.manifest.parts)
    return f"{store.path}: {n} responses regraded, {changed} labels changed"


def _grader(plan: Extraction, store: Store) -> Read:
    """The function that grades a response to one of the store's questions."""
    if different := mismatches(plan, store.identity):
        raise ReLopeError(
            f"{store.path} was made with other settings ({'; '.join(different)}): pass the config it was made with"
        )
    dataset, samples, _ = chosen_samples(plan.dataset)
    if questions_digest(dataset, samples) != store.identity.questions:
        raise ReLopeError(
            f"{store.path} was made from other questions or reference answers than the dataset has now: extract again"
        )
    by_id = {sample.sample_id: sample for sample in samples}

    def read(sample_id: str, response: str, finish_reason: str) -> tuple[str, int]:
        return graded(dataset, by_id[sample_id], response, finish_reason)

    return read


def _prepare(place: Place, store: Store, read: Read) -> int:
    """Write the new tables and manifest below `REGRADING`; returns the number of changed labels."""
    _clear(place)
    parts, changed = [], 0
    for part in store.manifest.parts:
        old = store.part_table(part)
        new = _graded(old, read)
        changed += sum(a != b for a, b in zip(old["label"].to_pylist(), new["label"].to_pylist(), strict=True))
        data = table_bytes(new)
        place.write(f"{REGRADING}/{part.name}.parquet", data)
        parts.append(dataclasses.replace(part, files=part.files | {SAMPLES: hashlib.sha256(data).hexdigest()}))
    identity = dataclasses.replace(store.identity, graders=grading.VERSION)
    manifest = Manifest(identity, parts, store.manifest.blocks)
    place.write(f"{REGRADING}/{MANIFEST}", manifest.to_json().encode())
    return changed


def _graded(table: pa.Table, read: Read) -> pa.Table:
    """The table with new final answers and labels; all other columns are unchanged."""
    rows = table.to_pylist()
    for row in rows:
        try:
            row["final_answer"], row["label"] = read(row["sample_id"], row["response"], row["finish_reason"])
        except Exception as error:
            reason = reason_of(error)
            raise ReLopeError(f"{row['sample_id']} cannot be graded ({reason}): nothing is changed") from error
    return pa.Table.from_pylist(rows, schema=table.schema)


def _publish(place: Place) -> None:
    """Move the prepared files into place. Every step may be repeated; until the last one the store has no manifest."""
    data = place.read(f"{REGRADING}/{MANIFEST}", limits.JSON)
    manifest = Manifest.parse(data, f"{place.url}/{REGRADING}/{MANIFEST}")
    if not all(_is_prepared(place, part) for part in manifest.parts):
        raise ReLopeError(f"{place.url}/{REGRADING} is damaged: delete that folder and run the same command again")
    place.delete(MANIFEST)  # so that no reader pairs new labels with old checksums
    for index, part in enumerate(manifest.parts):
        place.write(f"{part_name(index)}/{SAMPLES}", place.read(f"{REGRADING}/{part.name}.parquet", limits.TABLE))
        place.write(f"{part_name(index)}/{PART}", part.to_json().encode())
    # Only now, because an extraction started earlier would see other graders and redo only some of the labels.
    place.write(IDENTITY, to_json(manifest.identity.record()).encode())
    place.write(MANIFEST, data)
    _clear(place)


def _is_prepared(place: Place, part: Part) -> bool:
    """Whether the new table of a part exists and is complete."""
    try:
        return place.sha256(f"{REGRADING}/{part.name}.parquet") == part.files[SAMPLES]
    except FileNotFoundError:
        return False


def _clear(place: Place) -> None:
    """Delete the prepared files, the manifest first, so that a kill leaves nothing that looks complete."""
    place.delete(f"{REGRADING}/{MANIFEST}")
    place.delete(f"{REGRADING}/")
