"""What a store is made from, and its name."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path

from ml_collections import ConfigDict

from extract.spec import TOY_MODELS, DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.io.paths import expand, folder_name


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Everything that a store is made from."""

    model: ModelSpec
    dataset: DatasetSpec
    extract: ExtractSpec
    store: str | Path  # a folder, or a URL that `open_place` knows


def plan_from_config(config: ConfigDict) -> Extraction:
    """The extraction described by `config`. If `config.store` is empty, the store is named after its contents."""
    model, dataset, extract = ModelSpec(**config.model), DatasetSpec(**config.dataset), ExtractSpec(**config.extract)
    return plan_extraction(model, dataset, extract, config.stores, config.store)


def plan_extraction(
    model: ModelSpec, dataset: DatasetSpec, extract: ExtractSpec, stores: str, store: str = ""
) -> Extraction:
    """The extraction into `store`, or, if that is empty, into a folder of `stores` named after its contents."""
    named = f"{_slug(f'{_called(model.name)} {_called(model.adapter)}')}-{dataset.name}"
    file = Path(dataset.path).stem if dataset.name == "jsonl" else ""  # all "jsonl" datasets share that name
    for part in (file, dataset.modality, dataset.variant, dataset.only_split):
        named += f"-{_slug(part)}" if part else ""
    named += f"-l{'-'.join(map(str, extract.all_layers))}"
    folder = expand(stores).rstrip("/")
    return Extraction(model, dataset, extract, expand(store) or f"{folder}/{named}")


def _called(name: str) -> str:
    """A hub name, or a local folder's name with a suffix that distinguishes it from others of the same name."""
    if not name or name in TOY_MODELS or not os.path.isdir(name):
        return name
    return f"{folder_name(name)}-{hashlib.sha256(os.path.realpath(name).encode()).hexdigest()[:6]}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()
