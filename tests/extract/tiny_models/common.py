"""Shared by the tiny models: sizes, weights and the tokens that a processor expects."""

from __future__ import annotations

from typing import Any

import torch

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def add_tokens(tokenizer: Any, *tokens: str) -> list[int]:
    """Make `tokens` special tokens of the tokenizer; returns their ids."""
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(list(tokens))


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that attention, norms and biases all affect the result."""
    with torch.no_grad():
        for module in model.modules():
            kind = type(module).__name__
            for name, parameter in module.named_parameters(recurse=False):
                if "Norm" in kind and name == "weight":
                    one = 0.0 if "Gemma" in kind else 1.0  # Gemma's norms multiply by 1 + weight
                    parameter.uniform_(one - 0.5, one + 0.5)
                elif parameter.ndim >= 2:
                    parameter.normal_(std=1.0 / parameter[0].numel() ** 0.5)
                else:
                    parameter.normal_(std=0.5)
    return model
