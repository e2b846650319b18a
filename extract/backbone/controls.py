"""The control tokens of a prompt: image placeholders, ends of turns, roles. A question must not contain any: it could
claim an image that it does not have, end the user's turn or speak in another role."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

# Names of the fields of configs, processors and tokenizers that name such tokens; "image_seq_length" alone is a number.
PLACEHOLDER = re.compile(r"(?:image|vision|video|audio|[be]o[iav]|fake)\w*_(?:token|tag)(?:_id|_index)?$")


@dataclasses.dataclass(frozen=True)
class Controls:
    """The control tokens of one model.

    Attributes:
      placeholders: ids of all tokens that represent or enclose images, videos or sounds.
      specials: ids of all other special tokens, except the one for unknown text: plain text may become it.
      images, others: the texts of the placeholders and of the others. Processors look for these in the text.
    """

    tokenizer: Any
    placeholders: frozenset[int]
    specials: frozenset[int]
    images: frozenset[str]
    others: frozenset[str]

    @staticmethod
    def of(config: Any, processor: Any) -> Controls:
        """Collects them from the model's config (`image_token_id`, `boi_token_index`), the configs of its towers, its
        processor and its tokenizer."""
        tokenizer, ids = processor.tokenizer, set()
        for source in (config, getattr(config, "vision_config", None), getattr(config, "audio_config", None)):
            ids |= _placeholders(vars(source) if source is not None else {}, int)
        names = _placeholders(vars(processor), str) | {getattr(processor, "image_token", None)}
        names |= _placeholders(getattr(tokenizer, "_special_tokens_map", {}), str)
        vocabulary = tokenizer.get_vocab()
        ids |= {vocabulary[name] for name in names if name in vocabulary}
        added = tokenizer.added_tokens_decoder
        specials = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        images, others = (_written(vocabulary, some) for some in (ids, specials - ids))
        specials -= ids | {tokenizer.unk_token_id}
        return Controls(tokenizer, frozenset(ids), frozenset(specials), images | frozenset(filter(None, names)), others)

    def in_text(self, text: str) -> str:
        """Why this user text cannot be asked: the first control token in it. "" when there is none."""
        match = self._pattern.search(text)
        controls = self.placeholders | self.specials
        # Check tokens too: a tokenizer may produce one from text that is spelled differently.
        tokens = [match[0]] if match else self._names(i for i in self.ids_of(text) if i in controls)
        if not tokens:
            return ""
        kind = "image placeholder" if tokens[0] in self.images else "control token"
        return f"the question contains the model's {kind} {tokens[0]}"

    def count(self, prompt: str) -> tuple[int, int]:
        """The number of placeholders and of other control tokens in a rendered prompt."""
        ids = self.ids_of(prompt)
        return sum(i in self.placeholders for i in ids), sum(i in self.specials for i in ids)

    def ids_of(self, text: str) -> list[int]:
        """The tokens of a text, without those that the tokenizer adds around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.images | self.others, key=lambda text: (-len(text), text))
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def _names(self, ids: Iterable[int]) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(list(ids))


def _written(vocabulary: Mapping[str, int], ids: set[int]) -> frozenset[str]:
    return frozenset(text for text, number in vocabulary.items() if number in ids and text)


def _placeholders(fields: Mapping[str, Any], kind: type) -> set[Any]:
    """Values of the fields that name a placeholder, by id or by text; a field may hold several."""
    found: set[Any] = set()
    for name, value in fields.items():
        if PLACEHOLDER.search(name):
            values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
            found |= {each for each in values if isinstance(each, kind) and not isinstance(each, bool)}
    return found
