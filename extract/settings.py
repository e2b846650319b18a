"""From a resolved config to its store: open it, or extract it first."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path

from ml_collections import ConfigDict

from extract.source import adapter_source, dataset_source, model_source, model_title
from extract.spec import TOY_MODELS, DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.paths import expand, folder_name
from relope_jax.states.manifest import MANIFEST, Identity
from relope_jax.states.place import open_place
from relope_jax.states.store import Store


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Everything one store is made of."""

    model: ModelSpec
    dataset: DatasetSpec
    extract: ExtractSpec
    store: str | Path  # a folder, or a URL that `open_place` knows


def plan_from_config(config: ConfigDict) -> Extraction:
    """The extraction that `config` describes; an empty `config.store` is named by what is in it."""
    model, dataset = ModelSpec(**config.model), DatasetSpec(**config.dataset)
    extract = ExtractSpec(**config.extract)
    named = f"{_slug(f'{_called(model.name)} {_called(model.adapter)}')}-{dataset.name}"
    file = Path(dataset.path).stem if dataset.name == "jsonl" else ""  # several of them share the name
    for part in (file, dataset.modality, dataset.variant, dataset.only_split):
        named += f"-{_slug(part)}" if part else ""
    named += f"-l{'-'.join(map(str, extract.all_layers))}"
    folder = expand(config.stores).rstrip("/")
    return Extraction(model, dataset, extract, expand(config.store) or f"{folder}/{named}")


def _called(name: str) -> str:
    """A hub name; of a local folder its own name, and a mark that tells it from others of that name."""
    if not name or name in TOY_MODELS or not os.path.isdir(name):
        return name
    return f"{folder_name(name)}-{hashlib.sha256(os.path.realpath(name).encode()).hexdigest()[:6]}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()


def open_or_extract(plan: Extraction) -> Store:
    """The store of `plan`, extracted first (or finished) when it is not there yet.

    Raises:
      ReLopeError: the store was made with another layer, model, dataset or dtype than the config's.
    """
    if not open_place(plan.store).exists(MANIFEST):
        from extract.extraction import extract_store  # torch and transformers load only when needed

        extract_store(plan)
        store = Store(plan.store, plan.extract.layer)
        report_failures(store)
        return store
    store = Store(plan.store)
    report_failures(store)
    if different := mismatches(plan, store.identity):
        raise ReLopeError(
            f"the store {plan.store} was made with other settings ({'; '.join(different)}): "
            "delete it, set the config's fields to the store's, or name another with --config.store=... "
            "(a study's: --config.stores=...)"
        )
    return Store(plan.store, plan.extract.layer)


def report_failures(store: Store) -> None:
    """Say which samples a store lacks, the first few by name."""
    failed = store.manifest.failed
    for entry in failed[:5]:
        print(f"left out {entry['sample_id']}: {entry['reason']}")
    if failed:
        print(f"{len(failed)} samples are left out; to try them again delete {store.path} and run the same command")


def mismatches(plan: Extraction, identity: Identity) -> list[str]:
    """What a finished store has other than the plan wants; how its work was cut is nobody's concern any more."""
    wanted = {
        "model.name": (model_title(plan.model), identity.model),
        "model.dtype": (plan.model.dtype, identity.model_dtype),
        "the model's files or revision": (model_source(plan.model), identity.source),
        "model.adapter": (adapter_source(plan.model), identity.adapter),
        "model.attention": (plan.model.attention, identity.attention),
        "model.device_map": (plan.model.device_map, identity.device_map),
        "extract.layers": (plan.extract.all_layers, [n for n in plan.extract.all_layers if n in identity.layers]),
        "extract.state_dtype": (plan.extract.state_dtype, identity.state_dtype),
        "extract.max_new_tokens": (plan.extract.max_new_tokens, identity.max_new_tokens),
    }
    for field, value in dataset_source(plan.dataset).items():
        wanted[f"dataset.{field}"] = (value, identity.dataset.get(field))
    if plan.extract.labels_from:
        wanted["extract.labels_from"] = (Store(plan.extract.labels_from).digest, identity.labels_from)
    elif identity.labels_from:
        wanted["extract.labels_from"] = ("", identity.labels_from)
    return [f"{name}: config {want!r}, store {have!r}" for name, (want, have) in wanted.items() if want != have]
