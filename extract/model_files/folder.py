"""Checks a model's folder before a library reads it: settings within limits, no files outside of it, no pickles."""

from __future__ import annotations

from pathlib import Path

from extract.model_files.config_sizes import require_sizes
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import read_json
from relope_jax.io.inside import is_plain_name

TEMPLATE = limits.Limit("RELOPE_MAX_TEMPLATE_MB", 1)  # one chat template
BY_LIBRARY = ("tokenizer.json", "vocab.json")  # large, and read by a parser with its own depth limit


def require_model(folder: Path, name: str) -> None:
    """Check the folder of the model `name`.

    Raises:
      ReLopeError: a settings file is too large, too deep or damaged; the folder is an adapter's; its weights are only
        pickles or smaller than its config says; or its index refers to files outside of it.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ReLopeError(f"{name} is an adapter, not a model: give it as --config.model.adapter=...")
        raise ReLopeError(f"cannot load {name}: {folder} holds no config.json")
    if (folder / "adapter_config.json").is_file():
        raise ReLopeError(
            f"{name} holds an adapter_config.json next to its config.json, which would load an adapter unasked: move "
            "the adapter into a separate folder and give it as --config.model.adapter=..."
        )
    for path in sorted(folder.glob("*.jinja")):
        TEMPLATE.require(path.stat().st_size, path)
    for path in sorted(folder.glob("*.json")):
        limits.JSON.require(path.stat().st_size, path)
        if path.name not in BY_LIBRARY:
            content = read_json(path)
            if path.name == "config.json":
                require_sizes(content, folder)
            if path.name.endswith(".index.json"):
                _require_own_files(path, content)
    pickles = [path.name for path in folder.glob("*.bin") if path.name.startswith("pytorch_model")]
    if pickles and not any(folder.glob("*.safetensors")):
        raise ReLopeError(
            f"cannot load {name}: its weights are in {min(pickles)}, a pickle, which can run code: convert them to "
            "safetensors (`save_pretrained` of transformers writes it)"
        )


def _require_own_files(path: Path, index: object) -> None:
    """Refuse an index of weights that refers to files in other folders."""
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(map(is_plain_name, files.values())):
        raise ReLopeError(f"{path} must map every weight to a file next to it")
