"""Identifies a model and a dataset by digests of their files, cheaply enough for every run. No torch here."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from extract.datasets import get_dataset
from extract.spec import TOY_MODELS, DatasetSpec, ModelSpec
from extract.toy import toy_digest
from relope_jax.io.files import sha256
from relope_jax.io.paths import folder_name

READ = {
    ".json",
    ".safetensors",
    ".bin",
    ".jinja",
    ".model",
    ".txt",
    ".py",
}  # file types of a model or an adapter


def model_source(spec: ModelSpec) -> str:
    """Digest of a toy, or of a local folder's weights and configuration; for a hub model, the requested revision."""
    if spec.name in TOY_MODELS:
        return toy_digest(spec.name)
    folder = Path(spec.name)
    return _folder_digest(folder) if folder.is_dir() else spec.revision


def model_title(spec: ModelSpec) -> str:
    """The model's name in a store: the name of a local folder, however its path is written, or the name on the hub."""
    return folder_name(spec.name) if is_local(spec) else spec.name


def answering_model(spec: ModelSpec) -> str:
    """One line with everything that determines a model's answers in this process: their cache key."""
    limits = [f"{name}={value}" for name in ("min_pixels", "max_pixels") if (value := getattr(spec, name))]
    parts = (model_title(spec), model_source(spec), adapter_source(spec), spec.dtype, spec.attention, *limits)
    return " ".join(filter(None, parts))


def is_local(spec: ModelSpec) -> bool:
    """Whether the model is identified by the digest of its files, not by its name."""
    return spec.name in TOY_MODELS or Path(spec.name).is_dir()


def adapter_source(spec: ModelSpec) -> str:
    """Digest of a local adapter's files, or the name of its subfolder on the hub; empty without an adapter."""
    if not spec.adapter:
        return ""
    folder = adapter_folder(spec.adapter, spec.name)
    return _folder_digest(folder) if folder else Path(spec.adapter).as_posix()


def adapter_folder(adapter: str, model: str) -> Path | None:
    """The local folder of `adapter`, by itself or below the model's folder; None when neither exists."""
    folders = (Path(adapter), Path(model) / adapter)
    return next((folder for folder in folders if (folder / "adapter_config.json").is_file()), None)


def dataset_source(spec: DatasetSpec) -> dict[str, Any]:
    """The dataset's settings, its prompt template, and the digest of its tables if they still exist.

    Only the last part of a path is kept, for readers: the digest identifies the tables, independent of their path.
    Images in files next to a table are not read here: there may be gigabytes of them.
    """
    dataset = get_dataset(spec.name)
    source = dataclasses.asdict(spec) | {"prompt_template": dataset.prompt_template}
    del source["image_cache"], source["outside"]  # locations of images; only their content counts
    source["path"] = folder_name(spec.path) if spec.path else ""  # the digest below identifies the content
    captions = Path(spec.captions)
    source["captions"] = sha256(captions) if captions.is_file() else captions.name
    tables = [Path(spec.path)] if Path(spec.path).is_file() else []
    if dataset.published:
        source["benchmark_split"] = dataset.published.split_of(spec)
        source["hub"] = "" if spec.path else dataset.published.hub
        tables = dataset.published.sources(spec)
    if tables:
        digests = [sha256(table) for table in tables]
        source["sha256"] = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return source


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in READ:
            digest.update(f"{path.name}:{sha256(path)}\n".encode())
    return digest.hexdigest()
