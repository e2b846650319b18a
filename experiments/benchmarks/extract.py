"""Extraction: captured prefill against a bare forward to layer l, the whole extraction against `generate` alone, and
the memory that it takes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers import LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from experiments.benchmarks.measure import Program, Record, measure, peak_memory
from experiments.benchmarks.store import identity
from extract.backbone import Backbone, load_backbone
from extract.capture import Capture
from extract.datasets import get_dataset
from extract.extraction import extract_parts, extract_store
from extract.generation import GREEDY
from extract.part import PartExtractor
from extract.prompts import build_inputs
from extract.queries import Queries, read_image
from extract.sample import Sample
from extract.settings import Extraction
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from extract.splits import draw, group_split
from extract.toy.build import CHAT_TEMPLATE, IMAGE_TOKEN, ensure_built
from extract.variants import parse_variant
from relope_jax.errors import ReLopeError
from relope_jax.states.ragged import TokenStates
from relope_jax.states.writer import StoreWriter

ROUNDS = 5
AGREEMENT = 1e-3  # relative; before anything is timed, both must have computed the same states
WORDS = "what is the red blue small large shape colour of in and that this one under left right".split()


@dataclasses.dataclass(frozen=True)
class Shape:
    """A random LLaVA with a Llama decoder, and a batch of text prompts with one small image each."""

    name: str
    d: int
    heads: int
    kv: int
    intermediate: int
    n_layers: int
    layer: int
    words: int  # a question, give or take half; a word is about one token
    prompts: int


TOY_LAYER = 24
TOY_PROMPTS = 64
D896 = Shape("d896", 896, 14, 2, 4864, n_layers=6, layer=4, words=240, prompts=8)  # Qwen2-0.5B's layers
GROWING = Shape("memory", 256, 4, 2, 256, n_layers=3, layer=2, words=960, prompts=48)
TIMES = 4  # as many prompts in the second process


def run() -> Iterator[Record]:
    """Records of the toy MLLM on the quickstart's questions, and of a random model with longer prompts."""
    backbone = load_backbone(ModelSpec())
    spec = DatasetSpec(max_questions=TOY_PROMPTS)
    samples = draw(get_dataset(spec.name).load(spec), spec)
    dataset = get_dataset(spec.name)
    queries = [(dataset.prompt(sample), read_image(sample.images[0])) for sample in samples]
    yield run_prefill("toy", backbone, TOY_LAYER, build_inputs(backbone, queries))
    yield run_extraction("toy", backbone, samples, spec)
    with random_backbone(D896) as backbone:
        image = Image.new("RGB", (28, 28))
        inputs = build_inputs(backbone, [(question, image) for question in questions(D896, D896.prompts)])
        yield run_prefill(D896.name, backbone, D896.layer, inputs)
    yield run_memory(GROWING)


def run_prefill(name: str, backbone: Backbone, layer: int, inputs: Any) -> Record:
    """Captured prefill, states on the host as the store takes them, against the bare layers."""
    require_agreement(backbone, layer, inputs)
    programs = {
        "captured": Program(lambda: captured_prefill(backbone, layer, inputs)),
        "bare": Program(lambda: bare_forward(backbone, layer, inputs)),
    }
    seconds, _ = measure(programs, ROUNDS)
    tokens = int(inputs["attention_mask"].sum())
    rate, bare = tokens / seconds["captured"], tokens / seconds["bare"]
    return Record.of_rate(f"extract/{name}/captured_prefill_vs_bare_forward", rate, "tokens/s", bare)


@torch.inference_mode()
def captured_prefill(
    backbone: Backbone, layer: int, inputs: Any, dtype: torch.dtype = torch.bfloat16
) -> TokenStates:
    """What extraction with given labels and `extract.prefill` do."""
    with Capture(backbone, [layer], inputs["attention_mask"], stop_after=True, dtype=dtype) as capture:
        backbone.model(**inputs)
    return capture.states(layer)


@torch.inference_mode()
def bare_forward(backbone: Backbone, layer: int, inputs: Any, **options: Any) -> Any:
    """The model cut after layer l: no layers above it, no logits, no cache, no hooks."""
    layers = backbone.decoder.layers
    backbone.decoder.layers = layers[:layer]
    try:
        output = backbone.model.base_model(**inputs, use_cache=False, **options)
    finally:
        backbone.decoder.layers = layers
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()
    return output


def require_agreement(backbone: Backbone, layer: int, inputs: Any) -> None:
    """Stop unless the bare forward computes the states that are captured."""
    ours = captured_prefill(backbone, layer, inputs, torch.float32)
    output = bare_forward(backbone, layer, inputs, output_hidden_states=True)
    keep = inputs["attention_mask"].bool()
    theirs = output.hidden_states[layer - 1][keep].float().cpu().numpy()
    with torch.inference_mode():
        mine = backbone.decoder.norm(torch.from_numpy(ours.last_hidden).to(output.last_hidden_state)).float().cpu()
    last = output.last_hidden_state[:, -1].float().cpu().numpy()  # prompts are padded on the left
    for what, a, b in (("Z^(l-1)", ours.hidden, theirs), ("z_n^(l)", mine.numpy(), last)):
        error = float(np.abs(a - b).max() / np.abs(b).max())
        if not error <= AGREEMENT:
            raise ReLopeError(f"captured {what} differs from the bare forward's by {error:.1e}: nothing is timed")


def run_extraction(name: str, backbone: Backbone, samples: list[Sample], dataset: DatasetSpec) -> Record:
    """Images, prompts, answers, grades, states and the store on the disk, against transformers' `generate` on
    inputs that are ready."""
    spec = ExtractSpec(layer=TOY_LAYER, part_size=max(1, len(samples) // 2))
    queries = _Recording(backbone, get_dataset(dataset.name), parse_variant(dataset.variant), {})
    extractor = PartExtractor(spec, backbone, queries.dataset, queries, group_split(samples, dataset))
    parts = [list(part) for part in itertools.batched(samples, spec.part_size)]

    def whole() -> None:
        queries.seen.clear()
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder, quiet():
            with StoreWriter(folder, identity(backbone.decoder.config.hidden_size, [TOY_LAYER])) as writer:
                extract_parts(extractor, writer, parts)

    @torch.inference_mode()
    def generate_alone() -> None:
        for inputs in queries.seen:
            backbone.model.generate(**inputs, max_new_tokens=spec.max_new_tokens, **GREEDY)

    seconds, _ = measure({"whole": Program(whole), "generate": Program(generate_alone)}, ROUNDS)
    rate, alone = len(samples) / seconds["whole"], len(samples) / seconds["generate"]
    return Record.of_rate(f"extract/{name}/whole_extraction_vs_generate_alone", rate, "prompts/s", alone)
