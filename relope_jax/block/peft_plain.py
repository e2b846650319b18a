"""Checks that a PEFT config is plain LoRA: it adds scale * B A to weights and changes nothing else in the model."""

from __future__ import annotations

from typing import Any

from relope_jax.errors import ReLopeError
from relope_jax.io.typed import boolean, checked, mapping, maybe, number, record, text, whole

# Settings of a plain LoRA. Any other active setting, including those of newer PEFT versions, changes the computation.
PLAIN = {
    "peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "inference_mode",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "bias", "init_lora_weights",
    "eva_config", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core",
    "qalora_group_size",
}  # fmt: skip
# Initialisations that do not change the model's weights. PiSSA, OLoRA, CorDA and LoRA-GA subtract the adapter's initial
# product from them, and LoftQ quantises them: such an adapter needs weights that the store does not have.
LEAVE_THE_BASE = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")
WHY = {
    "use_dora": "DoRA rescales the model's own weights",
    "modules_to_save": "it replaces whole modules of the model",
    "trainable_token_indices": "it changes token embeddings",
    "lora_bias": "it adds a bias",
    "fan_in_fan_out": "its weights are transposed",
    "target_parameters": "it changes parameters that are not linear layers, such as experts",
    "layer_replication": "it repeats layers of the model",
}


LARGEST = 1e9  # rank or alpha
_rank, _alpha = whole(1, int(LARGEST)), number(1e-9, LARGEST)
NUMBERS = record(
    {"r": _rank, "lora_alpha": _alpha},
    {
        "rank_pattern": maybe(mapping(text, _rank)),
        "alpha_pattern": maybe(mapping(text, _alpha)),
        "use_rslora": maybe(boolean),
    },
)


def require_plain(config: dict[str, Any], where: str) -> None:
    """Raise ReLopeError, naming the first setting, if a LoRA config is not plain."""
    initialised = config.get("init_lora_weights")
    if str(initialised).lower() not in LEAVE_THE_BASE:
        raise ReLopeError(
            f"{where} was initialised with init_lora_weights={initialised!r}, which changes the model's own weights: "
            "save it with PEFT's path_initial_model_for_weight_conversion, or train it from another initialisation"
        )
    if (bias := config.get("bias")) not in (None, "none"):
        raise ReLopeError(f"{where} trains biases of the model (bias={bias!r}); only bias='none' can be read")
    if special := sorted(name for name, value in config.items() if value and name not in PLAIN):
        why = WHY.get(special[0], "it changes what the adapter computes")
        raise ReLopeError(f"{where} uses {special[0]} ({why}); only plain LoRA can be read")
    checked(config, NUMBERS, f"{where}'s adapter_config.json")
