"""From a resolved config to its store: open it, or extract it first."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ml_collections import ConfigDict

from extract.source import adapter_source, dataset_source, model_source
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import MANIFEST, Identity
from relope_jax.states.store import Store


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Everything one store is made of."""

    model: ModelSpec
    dataset: DatasetSpec
    extract: ExtractSpec
    store: Path


def plan_from_config(config: ConfigDict) -> Extraction:
    """The extraction that `config` describes; an empty `config.store` is named by model, adapter, dataset and layer."""
    model = re.sub(r"[^A-Za-z0-9.]+", "-", f"{config.model.name} {config.model.adapter}").strip("-").lower()
    named = f"stores/{model}-{config.dataset.name}-l{config.extract.layer}"
    return Extraction(
        model=ModelSpec(**config.model),
        dataset=DatasetSpec(**config.dataset),
        extract=ExtractSpec(**config.extract),
        store=Path(config.store or named),
    )


def open_or_extract(plan: Extraction) -> Store:
    """The store of `plan`, extracted first (or finished) when it is not there yet.

    Raises:
      ReLopeError: the store was made with another layer, model, dataset or dtype than the config's.
    """
    if not (plan.store / MANIFEST).exists():
        from extract.extraction import extract_store  # torch and transformers load only when needed

        store = extract_store(plan)
        report_failures(store)
        return store
    store = Store(plan.store)
    report_failures(store)
    if different := mismatches(plan, store.identity):
        raise ReLopeError(
            f"the store {plan.store} was made with other settings ({'; '.join(different)}): "
            "name another folder with --config.store=..., delete this one, or set the config's fields to the store's"
        )
    return store


def report_failures(store: Store) -> None:
    """Say which samples a store lacks, the first few by name."""
    failed = store.manifest.failed
    for entry in failed[:5]:
        print(f"left out {entry['sample_id']}: {entry['reason']}")
    if failed:
        print(f"{len(failed)} samples are left out; to try them again delete {store.path} and run the same command")


def mismatches(plan: Extraction, identity: Identity) -> list[str]:
    """What a finished store has other than the plan wants. Batch and part sizes do not change a state."""
    wanted = {
        "model.name": (plan.model.name, identity.model),
        "model.dtype": (plan.model.dtype, identity.model_dtype),
        "the model's files or revision": (model_source(plan.model), identity.source),
        "model.adapter": (adapter_source(plan.model), identity.adapter),
        "model.attention": (plan.model.attention, identity.attention),
        "extract.layer": (plan.extract.layer, identity.layer),
        "extract.state_dtype": (plan.extract.state_dtype, identity.state_dtype),
        "extract.max_new_tokens": (plan.extract.max_new_tokens, identity.max_new_tokens),
    }
    for field, value in dataset_source(plan.dataset).items():
        wanted[f"dataset.{field}"] = (value, identity.dataset.get(field))
    return [f"{name}: config {want!r}, store {have!r}" for name, (want, have) in wanted.items() if want != have]
