"""Loads a PEFT adapter into a model. Its settings are checked, and PEFT gets only those of a LoRA: others can import
modules, contact repositories or change the model's own weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.model_files.config_sizes import largest_side
from relope_jax.block.peft_plain import LEAVE_THE_BASE
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Settings that define how a LoRA's weights are used, in PEFT's terms.
USED = {
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "bias",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
}
# Settings that matter only in training or record where the adapter came from.
UNUSED = {
    "peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "inference_mode",
    "lora_dropout", "init_lora_weights", "eva_config", "loftq_config", "corda_config", "lora_ga_config",
    "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying",
}  # fmt: skip
LONGEST, QUANTIFIERS = 2000, 4  # of a regular expression
REPEATED_GROUP = re.compile(r"\)[*+{]")  # as in (a+)+, which can take exponential time


def lora_settings(folder: Path) -> dict[str, Any]:
    """The fields of peft.LoraConfig that an adapter's folder sets.

    Raises:
      ValueError: its config is not a LoRA config, or asks for something that is refused.
      ReLopeError: its config cannot be read.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ValueError(f"its {CONFIG} has the type {kind!r:.60}; only LORA is supported")
    if unknown := sorted(name for name, value in config.items() if value and name not in USED | UNUSED):
        raise ValueError(f"its {CONFIG} sets {unknown[0]!r:.60}, which is not supported")
    if str(start := config.get("init_lora_weights", True)).lower() not in LEAVE_THE_BASE:
        raise ValueError(f"it was initialised with {start!r:.60}, which changes the model's own weights")
    largest, alpha = _largest_size(folder / WEIGHTS), config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise ValueError(f"its lora_alpha is {alpha!r:.60}, which is not a number")
    _check_ranks(config, largest)
    for pattern in _patterns(config):
        _check_pattern(pattern)
    return {name: value for name, value in config.items() if name in USED and value is not None}


def load_adapter(model: Any, folder: Path) -> set[str]:
    """Load the adapter from a folder into the model and activate it; returns the names of weights that do not fit.

    Raises:
      Exception: whatever PEFT raises for a config or weights that it cannot use.
    """
    import peft

    config = peft.LoraConfig(**lora_settings(folder))
    loaded = model.load_adapter(str(folder), peft_config=config, use_safetensors=True, ignore_mismatched_sizes=True)
    model.set_adapter("default")  # the name that load_adapter uses
    return loaded.missing_and_mismatched() | loaded.unexpected_keys


def _check_ranks(config: dict[str, Any], largest: int) -> None:
    """PEFT allocates an adapter by its ranks before it reads the weights, so ranks are checked first."""
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    for rank in ranks:
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= largest:
            raise ValueError(f"its rank {rank!r:.60} does not match its weights, whose largest side is {largest}")


def _largest_size(weights: Path) -> int:
    if not weights.is_file():
        raise ValueError(f"it holds no {weights.name}; weights in other files are pickles, which can run code")
    return largest_side(weights)[1]


def _patterns(config: dict[str, Any]) -> Iterator[object]:
    """Every setting that PEFT uses as a regular expression."""
    for name in ("target_modules", "exclude_modules", "layers_pattern"):
        value = config.get(name)
        yield from value if isinstance(value, list) else [value] if value is not None else []
    for name in ("rank_pattern", "alpha_pattern"):
        value = config.get(name)
        yield from value if isinstance(value, dict) else [value] if value is not None else []


def _check_pattern(pattern: object) -> None:
    """Refuse a pattern that could take exponential time on a module's name."""
    if not isinstance(pattern, str) or len(pattern) > LONGEST:
        raise ValueError(f"its pattern {pattern!r:.60} is not a text of at most {LONGEST} characters")
    if REPEATED_GROUP.search(pattern) or sum(pattern.count(sign) for sign in "*+{") > QUANTIFIERS:
        raise ValueError(f"its pattern {pattern!r:.60} repeats a group or repeats too often, and might never finish")


def explain(adapter: str, model: str, error: Exception) -> ReLopeError:
    """One line that says why an adapter cannot be loaded."""
    kind = "" if type(error) in (ValueError, ReLopeError) else f"{type(error).__name__}: "
    return ReLopeError(f"cannot load the adapter '{adapter}' into {model}: {kind}{first_line(error)}")
