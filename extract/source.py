"""Which bytes a model and a dataset are made of; cheap enough to check at every run, and free of torch."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from extract.datasets import get_dataset
from extract.spec import TOY_MLLM, DatasetSpec, ModelSpec
from relope_jax.states.files import sha256

TOY_FOLDER = Path(__file__).with_name("toy")
TOY_PARTS = ("projector.safetensors", "build.py", "vision.py")


def toy_digest() -> str:
    """Identity of the toy MLLM: its projector and the code that assembles it."""
    return hashlib.sha256(b"".join((TOY_FOLDER / name).read_bytes() for name in TOY_PARTS)).hexdigest()[:12]


def model_source(spec: ModelSpec) -> str:
    """Digest of the toy or of a local folder's weights and configuration; the revision asked for on the hub."""
    if spec.name == TOY_MLLM:
        return toy_digest()
    folder = Path(spec.name)
    if not folder.is_dir():
        return spec.revision
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".jinja"}:
            digest.update(f"{path.name}:{sha256(path)}\n".encode())
    return digest.hexdigest()


def dataset_source(spec: DatasetSpec) -> dict[str, Any]:
    """The dataset's settings, its prompt template, and the digest of its file."""
    source = dataclasses.asdict(spec) | {"prompt_template": get_dataset(spec.name).prompt_template}
    if spec.path and Path(spec.path).is_file():
        source["sha256"] = sha256(Path(spec.path))
    return source
