"""Extraction: captured prefill against a bare forward pass to layer l, the whole extraction against `generate` alone,
and peak memory."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from experiments.benchmarks.measure import Program, Record, measure, peak_memory
from experiments.benchmarks.random_llava import IMAGE_SIZE, RandomModel
from experiments.benchmarks.store import identity
from extract.backbone.capture import Capture
from extract.backbone.generate import GREEDY
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.prompts import build_inputs
from extract.datasets import get_dataset
from extract.job.extraction import extract_parts, extract_store
from extract.job.part import PartExtractor
from extract.job.splits import draw, group_split
from extract.plan import Extraction
from extract.queries.queries import Query, QueryBuilder, read_image
from extract.queries.variants import parse_variant
from extract.sample import Sample
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.ragged import TokenStates
from relope_jax.states.writer import StoreWriter

ROUNDS = 5
AGREEMENT = 1e-3  # relative; both must compute the same states before timing
TOY_LAYER, TOY_PROMPTS = 24, 64
D896 = RandomModel("d896", 896, 14, 2, 4864, n_layers=6, layer=4, words=240, prompts=8)  # layers of Qwen2-0.5B
GROWING = RandomModel("memory", 512, 8, 2, 256, n_layers=2, layer=2, words=960, prompts=48)
TIMES, PART_SIZE = 4, 16  # memory measurement: factor for the prompts, prompts per part


def run() -> Iterator[Record]:
    """Records for the toy MLLM on the quickstart's questions, and for a random model with longer prompts."""
    toy = load_backbone(ModelSpec())
    yield from run_toy(toy, DatasetSpec(max_questions=TOY_PROMPTS))
    yield run_random(D896, toy.tokenizer)
    yield run_memory(GROWING, toy.tokenizer)


def run_toy(backbone: Backbone, spec: DatasetSpec, layer: int = TOY_LAYER) -> Iterator[Record]:
    dataset = get_dataset(spec.name)
    samples = draw(dataset.load(spec), spec)
    queries = [(dataset.prompt(sample), read_image(sample.images[0])) for sample in samples]
    yield run_prefill("toy", backbone, layer, build_inputs(backbone, queries))
    yield run_extraction("toy", backbone, layer, samples, spec)


def run_random(model: RandomModel, tokenizer: Any) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_backbone(ModelSpec(name=str(model.save(Path(folder), tokenizer))))
        image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE))
        inputs = build_inputs(backbone, [(question, image) for question in model.questions(model.prompts)])
        return run_prefill(model.name, backbone, model.layer, inputs)


def run_prefill(name: str, backbone: Backbone, layer: int, inputs: Any) -> Record:
    """Captured prefill, with the states on the host as the store needs them, against the bare layers."""
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
def captured_prefill(backbone: Backbone, layer: int, inputs: Any, dtype: torch.dtype = torch.bfloat16) -> TokenStates:
    """What `extract.backbone.prefill` does, and also an extraction that reuses labels."""
    with Capture(backbone, [layer], inputs["attention_mask"], stop_after=True, dtype=dtype) as capture:
        backbone.model(**inputs)
    return capture.states(layer)


@torch.inference_mode()
def bare_forward(backbone: Backbone, layer: int, inputs: Any, **options: Any) -> Any:
    """The model cut after layer l: no layer above it, no logits, no key cache, no hooks."""
    layers = backbone.decoder.layers
    backbone.decoder.layers = layers[:layer]
    try:
        output = backbone.model.base_model(**inputs, use_cache=False, **options)
    finally:
        backbone.decoder.layers = layers
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()
    return output


@torch.inference_mode()
def require_agreement(backbone: Backbone, layer: int, inputs: Any) -> None:
    """Raise ReLopeError unless the bare forward pass computes the captured states."""
    captured = captured_prefill(backbone, layer, inputs, torch.float32)
    bare = bare_forward(backbone, layer, inputs, output_hidden_states=True)
    hidden = bare.hidden_states[layer - 1][inputs["attention_mask"].bool()]
    last = bare.last_hidden_state[:, -1]  # after the decoder's last norm; prompts are padded on the left
    normed = backbone.decoder.norm(torch.from_numpy(captured.last_hidden).to(last))
    for what, ours, theirs in (("Z^(l-1)", torch.from_numpy(captured.hidden), hidden), ("z_n^(l)", normed, last)):
        error = float((ours.cpu() - theirs.float().cpu()).abs().max() / theirs.abs().max())
        if not error <= AGREEMENT:
            raise ReLopeError(f"captured {what} differs from the bare forward's by {error:.1e}: nothing is timed")


def run_extraction(name: str, backbone: Backbone, layer: int, samples: list[Sample], dataset: DatasetSpec) -> Record:
    """From images to the store on disk, in two parts, against transformers' `generate` alone on the same batches."""
    half = len(samples) // 2
    spec = ExtractSpec(layer=layer, part_size=half)
    queries = _Recording(backbone, get_dataset(dataset.name), parse_variant(dataset.variant))
    extractor = PartExtractor(spec, backbone, get_dataset(dataset.name), queries, group_split(samples, dataset))

    def whole() -> None:
        queries.batches.clear()
        with (
            tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder,
            StoreWriter(folder, identity(backbone.decoder.config.hidden_size, layer)) as writer,
            _without_bar(),
        ):
            extract_parts(extractor, writer, [samples[:half], samples[half:]])

    @torch.inference_mode()
    def generate_alone() -> None:
        for inputs in queries.batches:
            backbone.model.generate(**inputs, max_new_tokens=spec.max_new_tokens, **GREEDY)

    seconds, _ = measure({"whole": Program(whole), "generate": Program(generate_alone)}, ROUNDS)
    rate, alone = len(samples) / seconds["whole"], len(samples) / seconds["generate"]
    return Record.of_rate(f"extract/{name}/whole_extraction_vs_generate", rate, "prompts/s", alone)


class _Recording(QueryBuilder):
    """Keeps the batches for which it made inputs."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.batches: list[Any] = []

    def inputs(self, batch: list[Query]) -> Any:
        self.batches.append(super().inputs(batch))
        return self.batches[-1]


def _without_bar() -> contextlib.AbstractContextManager:
    """Hides the extraction's progress bar."""
    return contextlib.redirect_stderr(io.StringIO())


def run_memory(model: RandomModel, tokenizer: Any) -> Record:
    """Peak memory of a process that extracts `TIMES` times as many prompts, against one that extracts them once."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder:
        model.save(Path(folder) / "model", tokenizer)
        less, more = (
            peak_memory(extract_questions, folder, str(_write_questions(model, Path(folder), count)), str(model.layer))
            for count in (model.prompts, TIMES * model.prompts)
        )
    return Record.of_memory(f"extract/memory/extracting_{TIMES}x_prompts", more, less)


def _write_questions(model: RandomModel, folder: Path, count: int) -> Path:
    """A JSONL file with `count` questions, each with its own image (otherwise they could not be split)."""
    lines = []
    for i, text in enumerate(model.questions(count)):
        Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (i % 256, i // 256, 0)).save(folder / f"{i}.png")
        lines.append(json.dumps({"question": text, "answer": "x", "image": f"{i}.png"}))
    path = folder / f"{count}.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def extract_questions(folder: str, data: str, layer: str) -> None:
    """A whole extraction of what `run_memory` prepared."""
    plan = Extraction(
        model=ModelSpec(name=f"{folder}/model"),
        dataset=DatasetSpec(name="jsonl", path=data),
        extract=ExtractSpec(layer=int(layer), max_new_tokens=2, part_size=PART_SIZE),
        store=f"{data}-store",
    )
    with _without_bar():
        extract_store(plan)
