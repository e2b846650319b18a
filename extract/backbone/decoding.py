"""How tokens are chosen. A model's own generation config may set penalties, filters, bans, time limits or several
answers. The label is about the plain greedy answer, so only its special tokens are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import GenerationConfig

from extract.backbone.load import Backbone

GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1}


def end_tokens(backbone: Backbone) -> list[int]:
    """Ids of the tokens that end an answer: those of the model's generation config, else the tokenizer's; empty when
    there are none."""
    return _ids(backbone, backbone.model.generation_config.eos_token_id) or _ids(
        backbone, getattr(backbone.tokenizer, "eos_token_id", None)
    )


def plain_config(backbone: Backbone, max_new_tokens: int, **options: Any) -> GenerationConfig:
    """A new generation config: the model's end, padding and start tokens, `options`, and defaults for the rest."""
    own, ends = backbone.model.generation_config, end_tokens(backbone)
    padding, start = _ids(backbone, own.pad_token_id) or ends, _ids(backbone, own.bos_token_id)
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=padding[0] if padding else None,
        bos_token_id=start[0] if start else None,
        **options,
    )


@contextlib.contextmanager
def only(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Replaces the model's own generation config by `config` while it generates, because transformers fills every field
    that is left at its default from there."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def _ids(backbone: Backbone, value: Any) -> list[int]:
    """Token ids that a config gives as a number, a list or None. Ids that the model does not have are dropped."""
    size = backbone.model.config.get_text_config(decoder=True).vocab_size
    values = value if isinstance(value, list | tuple) else [value]
    return [token for token in values if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < size]
