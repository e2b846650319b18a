"""Opens the store of a plan, or extracts it first."""

from __future__ import annotations

import collections
import re

from extract import grading
from extract.imaging.images import READING
from extract.job.labels import incomplete_answers
from extract.plan import Extraction
from extract.source import adapter_source, dataset_source, is_local, model_source, model_title
from extract.text import SHORT, shortened
from relope_jax.errors import ReLopeError
from relope_jax.io.place import open_place
from relope_jax.states.manifest import MANIFEST, Identity, difference
from relope_jax.states.store import Store

DETAIL = re.compile(r"[:/\\\d]")  # starts the part that differs between samples


def open_or_extract(plan: Extraction) -> Store:
    """The store of `plan`, extracted first (or completed) if it is missing or unfinished.

    Raises:
      ReLopeError: the store was made with another layer, model, dataset or dtype than the config sets.
    """
    if not open_place(plan.store).exists(MANIFEST):
        from extract.job.extraction import extract_store  # imported here: torch and transformers load only when needed

        extract_store(plan)
        store = Store(plan.store, plan.extract.layer)
        report_failures(store)
        report_incomplete(store)
        return store
    store = Store(plan.store)
    report_failures(store)
    if different := mismatches(plan, store.identity):
        raise ReLopeError(
            f"the store {plan.store} was made with other settings ({'; '.join(different)}): "
            "delete it, set the config's fields to the store's, or choose another with --config.store=... "
            "(a study's: --config.stores=...)"
        )
    report_incomplete(store)
    report_graders(store)
    return store.with_layer(plan.extract.layer)


def report_graders(store: Store) -> None:
    """Print a line when a store's labels come from another version of the graders. Its states are still valid."""
    if not store.identity.labels_from and store.identity.graders != grading.VERSION:
        print(
            f"the labels of {store.path} were graded by another version of the graders and are used as they are; "
            "`python -m extract.regrade` with the same --config grades its stored responses again, in seconds"
        )


def report_failures(store: Store) -> None:
    """Print which samples a store lacks: the first few by id, all of them counted by kind of reason."""
    failed = store.manifest.failed
    for entry in failed[:5]:
        print(shortened(f"left out {entry['sample_id']}: {entry['reason']}", SHORT * 2))
    if failed:
        print(
            f"{len(failed)} samples are left out ({kinds(failed)}); "
            f"to try them again delete {store.path} and run the same command"
        )


def report_incomplete(store: Store) -> None:
    """Print how many answers of a store are cut off or empty."""
    if line := incomplete_answers(store):
        print(f"{store.path}: {line}")


def kinds(failed: list[dict[str, str]]) -> str:
    """`"3 unreadable image, 2 out of memory"`: counts of reasons without the part that differs between samples."""
    counts = collections.Counter(DETAIL.split(entry["reason"], maxsplit=1)[0].strip() for entry in failed)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def mismatches(plan: Extraction, identity: Identity) -> list[str]:
    """How a finished store differs from the plan, one line per field. Its division into parts does not matter."""
    wanted = {
        "model.dtype": (plan.model.dtype, identity.model_dtype),
        "the model's files or revision": (model_source(plan.model), identity.source),
        "model.adapter": (adapter_source(plan.model), identity.adapter),
        "model.min_pixels": (plan.model.min_pixels, identity.min_pixels),
        "model.max_pixels": (plan.model.max_pixels, identity.max_pixels),
        "image_reading": (READING if identity.image_reading else 0, identity.image_reading),
        "model.attention": (plan.model.attention, identity.attention),
        "model.device_map": (plan.model.device_map, identity.device_map),
        "extract.layers": (plan.extract.all_layers, [n for n in plan.extract.all_layers if n in identity.layers]),
        "extract.state_dtype": (plan.extract.state_dtype, identity.state_dtype),
        "extract.max_new_tokens": (plan.extract.max_new_tokens, identity.max_new_tokens),
    }
    if identity.commit or not is_local(plan.model):  # a local model is compared by its files, not by its folder's name
        wanted = {"model.name": (model_title(plan.model), identity.model)} | wanted
    source = dataset_source(plan.dataset)
    if source.get("sha256") and identity.dataset.get("sha256"):  # of the tables, independent of their path
        del source["path"]
    for field, value in source.items():
        wanted[f"dataset.{field}"] = (value, identity.dataset.get(field))
    if plan.extract.labels_from:
        wanted["extract.labels_from"] = (Store(plan.extract.labels_from).digest, identity.labels_from)
    elif identity.labels_from:
        wanted["extract.labels_from"] = ("", identity.labels_from)
    return [difference(name, want, have) for name, (want, have) in wanted.items() if want != have]


def closing_line(store: Store) -> str:
    """The last line printed by a finished extraction."""
    tokens = sum(part.n_tokens for part in store.manifest.parts)
    accuracy = store.column("label").mean()
    return f"{store.path}: {len(store.samples)} prompts, {tokens} tokens, small-model accuracy {accuracy:.3f}"
