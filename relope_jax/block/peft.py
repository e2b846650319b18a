"""Reads and writes LoRA adapters as PEFT checkpoints, for `PeftModel.from_pretrained`.

Works without torch: a PEFT checkpoint is adapter_config.json and adapter_model.safetensors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file

from relope_jax.block.lora import Adapter
from relope_jax.block.module_pattern import matches
from relope_jax.block.peft_plain import require_plain
from relope_jax.block.spec import Block, LoRASpec, by_module, projection_shape
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.files import explaining, publishing, read_json, write_json, write_text
from relope_jax.io.inside import inside
from relope_jax.io.tensors import read_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
Matrices = tuple[Float[np.ndarray, "r fan_in"], Float[np.ndarray, "fan_out r"]]


def save_peft(
    folder: Path, block: Block, spec: LoRASpec, matrices: dict[str, Matrices], base_model: str = "", below: str = ""
) -> None:
    """Write `folder` as a PEFT LoRA checkpoint for the model that `block` was dumped from.

    Args:
      matrices: `{projection: (A, B)}` without the scale, which the config stores as alpha / r.
      base_model: name or path of the model, recorded in the checkpoint.
      below: adapter that was merged into the block, and must also be merged into the model.

    Raises:
      ReLopeError: `folder` exists, or the block does not record the module names of its projections.
    """
    if folder.exists():
        raise ReLopeError(f"{folder} already exists: choose another folder, or delete it")
    if not block.modules:
        raise ReLopeError("the frozen block does not name its modules in the model: extract the store again")
    tensors: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    modules = []
    for module, names in by_module(block.modules).items():
        adapted = [name for name in names if name in matrices]
        if not adapted:
            continue
        modules.append(module)
        a, b = _fuse(block, names, {name: matrices[name] for name in adapted})
        tensors |= {_key(module, "A"): a, _key(module, "B"): b}
        if len(adapted) > 1:  # a fused module stacks its adapters' ranks; alpha grows to keep the scale
            ranks[module] = a.shape[0]
            alphas[module] = spec.scale * (math.sqrt(a.shape[0]) if spec.rslora else a.shape[0])
    config = _config(spec, modules, base_model) | {"rank_pattern": ranks, "alpha_pattern": alphas}

    with explaining(folder), publishing(folder) as scratch:
        save_file(tensors, scratch / WEIGHTS, metadata={"format": "pt"})
        write_json(scratch / CONFIG, config)
        write_text(scratch / "README.md", _card(block, base_model, below))


def load_peft(folder: Path, block: Block) -> dict[str, Adapter]:
    """Load the adapters of a PEFT checkpoint on the block's layer: `{projection: (A, scale * B)}`, as the block uses
    them.

    The adapter of a fused module is split into one per projection, with a shared A and separate rows of B.

    Raises:
      ReLopeError: it is not a LoRA checkpoint, not a plain one, or changes modules outside the block.
    """
    config, tensors = _read(folder)
    require_plain(config, str(folder))
    unread = set(tensors)
    adapters: dict[str, Adapter] = {}
    for module, names in by_module(block.modules).items():
        keys = (_key(module, "A"), _key(module, "B"))
        if not unread.issuperset(keys):
            continue
        unread -= set(keys)
        a, b = (jnp.asarray(tensors[key], jnp.float32) for key in keys)
        sizes = [projection_shape(block.spec, name) for name in names]
        fan_out, fan_in = sum(size[0] for size in sizes), sizes[0][1]
        if a.ndim != 2 or a.shape != (a.shape[0], fan_in) or b.shape != (fan_out, a.shape[0]):
            raise ReLopeError(f"{folder}: the adapter of '{module}' has shapes {a.shape}, {b.shape}, not this model's")
        if not (jnp.isfinite(a).all() and jnp.isfinite(b).all()):
            raise ReLopeError(f"{folder}: the adapter of '{module}' has values that are not finite")
        rank = _pattern(config.get("rank_pattern"), module, config["r"])
        if rank != a.shape[0]:
            raise ReLopeError(f"{folder}: its config says rank {rank} for '{module}', and its A has {a.shape[0]} rows")
        b = _scale(config, module) * b
        splits = np.cumsum([size[0] for size in sizes])[:-1]
        adapters |= {name: (a, rows) for name, rows in zip(names, jnp.split(b, splits), strict=True)}
    if unread:
        raise ReLopeError(f"{folder} also changes '{min(unread)}', which is not in layer {block.spec.layer}'s block")
    return adapters


def _fuse(
    block: Block, names: list[str], matrices: dict[str, Matrices]
) -> tuple[Float[np.ndarray, "fused_rank fan_in"], Float[np.ndarray, "fused_out fused_rank"]]:
    """A and B of one module; adapters of fused projections are stacked in A and block-diagonal in B."""
    a = np.ascontiguousarray(np.concatenate([np.asarray(a, np.float32) for a, _ in matrices.values()]))
    b = np.zeros((sum(projection_shape(block.spec, name)[0] for name in names), a.shape[0]), np.float32)
    row = column = 0
    for name in names:
        fan_out = projection_shape(block.spec, name)[0]
        if name in matrices:
            part = np.asarray(matrices[name][1], np.float32)
            b[row : row + fan_out, column : column + part.shape[1]] = part
            column += part.shape[1]
        row += fan_out
    return a, b


def _config(spec: LoRASpec, modules: list[str], base_model: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model or None,
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": spec.lora_alpha,
        "lora_dropout": 0.0,
        "use_rslora": spec.rslora,
        "bias": "none",
        "target_modules": modules,
    }


def _card(block: Block, base_model: str, below: str) -> str:
    first = f" after merging its adapter '{below}'" if below else ""
    return (
        f"LoRA of a ReLope router on decoder layer {block.spec.layer} (1-based) of {base_model or 'its small model'}. "
        f"Load it with peft.PeftModel.from_pretrained(model, folder){first}. The layer's output for the last prompt "
        "token is then the router's z. The bottleneck and the classifier are only in the router's checkpoint.\n"
    )


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        config = read_json(inside(folder, CONFIG))
        tensors, _ = read_tensors(inside(folder, WEIGHTS))
    except (OSError, ReLopeError) as error:
        raise ReLopeError(f"{folder} is not a PEFT checkpoint: {first_line(error)}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else "unnamed"
        raise ReLopeError(f"{folder} is a {kind} adapter; only LoRA can be read")
    return config, tensors


def _scale(config: dict[str, Any], module: str) -> float:
    """alpha / r, or alpha / sqrt(r), of one module, including patterns, as PEFT resolves them."""
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _pattern(patterns: dict[str, float] | None, module: str, default: float) -> float:
    for pattern, value in (patterns or {}).items():
        if matches(pattern, module):
            return value
    return default


def _key(module: str, matrix: str) -> str:
    return f"{PREFIX}{module}.lora_{matrix}.weight"
