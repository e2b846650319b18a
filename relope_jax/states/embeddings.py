"""Sentence embeddings of a store's texts: STORE/embeddings/NAME.safetensors, row i for sample i."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import json_digest, parse_json
from relope_jax.io.inside import shown_text
from relope_jax.io.place import open_place
from relope_jax.io.tensors import read_tensors
from relope_jax.states.layout import MANIFEST

FOLDER = "embeddings"
QUESTION, QUESTION_ANSWER = "question", "question_answer"
NAMES = (QUESTION, QUESTION_ANSWER)
_KEY = "embeddings"


def store_texts(name: str, prompts: Sequence[str], responses: Sequence[str]) -> list[str]:
    """The text to embed for every sample: its prompt, or the prompt, a space and the small model's answer."""
    if name == QUESTION:
        return list(prompts)
    return [f"{prompt} {response}" for prompt, response in zip(prompts, responses, strict=True)]


def save_embeddings(
    store: str | Path, name: str, embeddings: Float[np.ndarray, "samples d"], encoder: str, texts: Sequence[str]
) -> None:
    """Publish the embeddings of a store's texts atomically; `encoder` identifies the encoder."""
    place = open_place(store)
    record = {
        "store_manifest": place.sha256(MANIFEST),
        "encoder": encoder,
        "texts": json_digest(list(texts)),
        "sha256": _array_digest(embeddings),
    }
    # A single entry, since safetensors writes several in random order.
    data = save({_KEY: np.ascontiguousarray(embeddings, np.float32)}, metadata={"record": json.dumps(record)})
    place.write(f"{FOLDER}/{name}.safetensors", data)


def load_embeddings(
    store: str | Path, name: str, texts: Sequence[str], encoder: str | None = None
) -> Float[np.ndarray, "samples d"]:
    """Load the embeddings `name` of a store: a folder, or an s3:// or gs:// URL.

    Args:
      texts: the texts that must have been embedded.
      encoder: identity of the encoder that must have been used; None accepts any.

    Raises:
      ReLopeError: there are none, they are damaged, or they belong to another store, other texts or another encoder.
    """
    place, file = open_place(store), f"{FOLDER}/{name}.safetensors"
    make = "make them with `python -m extract.embed --config=...`"
    if not place.exists(file):
        raise ReLopeError(f"{store} has no embeddings '{name}': {make}")
    try:
        with place.local_copy(file) as path:
            tensors, metadata = read_tensors(path)
        record, embeddings = parse_json(metadata["record"], f"the record of {file}"), tensors[_KEY]
        if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not embeddings.shape[1]:
            raise ValueError("it has no float32 vectors")
        whole = record["sha256"] == _array_digest(embeddings)
        same_store = record["store_manifest"] == place.sha256(MANIFEST)
        same_texts = record["texts"] == json_digest(list(texts)) and len(embeddings) == len(texts)
        made_by = record["encoder"]
    except (OSError, ValueError, KeyError, TypeError, ReLopeError) as error:
        raise ReLopeError(f"the embeddings '{name}' of {store} are damaged ({first_line(error)}): {make}") from error
    if not whole:
        raise ReLopeError(f"the embeddings '{name}' of {store} are damaged: {make}")
    if not (same_store and same_texts):
        raise ReLopeError(f"the embeddings '{name}' belong to another store than {store}: {make}")
    if encoder is not None and made_by != encoder:
        raise ReLopeError(
            f"the embeddings '{name}' of {store} were made by another encoder ({shown_text(made_by)}): {make}"
        )
    return embeddings


def _array_digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest()
