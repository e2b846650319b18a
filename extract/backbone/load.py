"""Load the small MLLM through transformers' Auto classes."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils import check_peft_version

from extract.backbone.families import FAMILIES, DecoderLayer, Family, family_of
from extract.backbone.families.image_size import limit_images
from extract.backbone.processor import load_processor
from extract.backbone.template import Template
from extract.model_files.adapter import explain, load_adapter
from extract.model_files.config_sizes import require_weights
from extract.model_files.folder import require_model
from extract.model_files.hub import CODE, SETTINGS, WEIGHTS, commit_of, folder_of
from extract.source import adapter_folder
from extract.spec import TOY_MODELS, ModelSpec
from relope_jax.errors import ReLopeError, first_line

SETTING = "model.name"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A loaded MLLM: model, processor, its text decoder and the family of its layers."""

    spec: ModelSpec
    model: Any
    processor: Any
    decoder: Any
    family: Family
    commit: str  # on the hub; empty for a local model

    @functools.cached_property
    def template(self) -> Template:
        """The chat template. It refuses questions that could be mistaken for a part of it."""
        return Template(self.model.config, self.processor, self.spec.name)

    def layer(self, number: int) -> torch.nn.Module:
        """Decoder layer `number`, 1-based; raises ReLopeError when there is none."""
        layers = self.decoder.layers
        if not 1 <= number <= len(layers):
            raise ReLopeError(
                f"layer {number} of extract.layer and extract.layers does not exist: "
                f"{self.spec.name} has decoder layers 1 to {len(layers)}"
            )
        return layers[number - 1]

    def decoder_layer(self, number: int) -> DecoderLayer:
        """Decoder layer `number`, 1-based, with its config and rotary embedding."""
        return DecoderLayer(self.layer(number), self.decoder.config, self.decoder.rotary_emb, number)

    @property
    def n_positions(self) -> float:
        """The maximum length in tokens according to the model's config; infinite if it gives none."""
        return getattr(self.decoder.config, "max_position_embeddings", None) or float("inf")

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer


def load_backbone(spec: ModelSpec) -> Backbone:
    """Load model and processor, and activate the adapter given in `spec`.

    Raises:
      ReLopeError: model or adapter is not available (the message says how to get it), the family is not supported, or
        the model does not support the limits on image size.
    """
    source, commit, options = _source_of(spec)
    adapter = _find_adapter(spec, source, commit)
    try:
        processor = load_processor(AutoProcessor, source, options)  # before the weights: it fails faster
        limit_images(processor, spec)
        require_weights(AutoModelForMultimodalLM, source, options)
        model = AutoModelForMultimodalLM.from_pretrained(
            source,
            dtype=getattr(torch, spec.dtype),
            attn_implementation=spec.attention,
            device_map=spec.device_map or None,
            use_safetensors=True,
            **options,
        )
    except ReLopeError:
        raise
    except Exception as error:  # the libraries raise many kinds for foreign files
        raise ReLopeError(_explain(spec, error)) from error
    if adapter:
        _load_adapter(model, spec, adapter)
    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = (model if spec.device_map else model.to(device)).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:  # the device does not exist, or has too little memory
        raise ReLopeError(f"cannot put {spec.name} on device '{device}': {first_line(error)}") from error
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None)
    if not layers or not hasattr(decoder, "rotary_emb"):
        raise ReLopeError(
            f"{spec.name}: its decoder {type(decoder).__name__} has no list of layers with rotary positions; "
            f"supported layers: {', '.join(FAMILIES)}"
        )
    return Backbone(spec, model, processor, decoder, family_of(layers[0]), commit)


@functools.cache
def decoder_depth(spec: ModelSpec) -> int:
    """The number of decoder layers of a model, without reading its weights.

    Raises:
      ReLopeError: the model is not available (the message says how to get it).
    """
    source, _, options = _source_of(spec, weights=False)
    try:
        config = AutoConfig.from_pretrained(source, **options)
        return int(config.get_text_config(decoder=True).num_hidden_layers)
    except Exception as error:  # as above
        raise ReLopeError(_explain(spec, error)) from error


def _source_of(spec: ModelSpec, *, weights: bool = True) -> tuple[Path, str, dict[str, Any]]:
    """The folder of the model's files, its commit on the hub, and the options to load it with."""
    from extract.toy import build  # registers the toys' vision tower, so that saved toys can be loaded by path

    if spec.name in TOY_MODELS:
        folder, commit = build.ensure_built(spec.name), ""
    elif Path(spec.name).is_dir():
        folder, commit = Path(spec.name), ""
    elif spec.name.startswith(("/", ".", "~")):
        raise ReLopeError(f"no such folder {spec.name}: set --config.model.name to a model's folder or hub name")
    else:
        patterns = SETTINGS + (WEIGHTS if weights else ()) + (CODE if spec.trust_remote_code else ())
        commit = commit_of(spec.name, spec.revision, SETTING)
        folder = folder_of(spec.name, commit, patterns, SETTING)
    require_model(folder, spec.name)
    return folder, commit, {"trust_remote_code": spec.trust_remote_code, "local_files_only": True}


def _find_adapter(spec: ModelSpec, source: Path, commit: str) -> Path | None:
    """The adapter's folder (on the hub, at the model's commit). Fails before the model's weights are loaded."""
    if not spec.adapter:
        return None
    try:
        check_peft_version(MIN_PEFT_VERSION)
    except ValueError as error:  # the message says whether it is absent or too old
        raise ReLopeError(f"--config.model.adapter needs the peft package: {error}") from error
    if folder := adapter_folder(spec.adapter, str(source)):
        return folder
    if commit:
        whole = folder_of(spec.name, commit, SETTINGS + WEIGHTS, SETTING, below=(spec.adapter,))
        if folder := adapter_folder(spec.adapter, str(whole)):
            return folder
    raise ReLopeError(
        f"no adapter '{spec.adapter}': neither that folder nor {source / spec.adapter} holds an "
        "adapter_config.json; set --config.model.adapter to a PEFT adapter's folder"
    )


def _load_adapter(model: Any, spec: ModelSpec, folder: Path) -> None:
    """Load the adapter into the model and activate it. Every one of its weights must match a module."""
    try:
        astray = load_adapter(model, folder)
    except Exception as error:  # PEFT raises many kinds for foreign files
        raise explain(spec.adapter, spec.name, error) from error
    if astray:
        raise ReLopeError(
            f"the adapter '{spec.adapter}' was made for another model than {spec.name}: {len(astray)} weights do not "
            f"fit, the first '{min(astray)}'"
        )


def _explain(spec: ModelSpec, error: Exception) -> str:
    """One line that says why loading failed and what to do."""
    if "trust_remote_code" in str(error):
        return f"{spec.name} runs its own code: read it, then add --config.model.trust_remote_code=True"
    if 'attn_implementation="eager"' in str(error):
        return f"{spec.name} has no '{spec.attention}' attention: set --config.model.attention=eager"
    named = isinstance(error, OSError | ValueError | ImportError | SafetensorError)
    kind = "" if named else f"{type(error).__name__}: "
    return f"cannot load {spec.name}: {kind}{first_line(error)}"
