"""Several sampled answers per prompt, as MoT uses them, against transformers' `num_return_sequences`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from experiments.benchmarks.measure import Program, Record, measure
from extract.answers.styles import STEPS, styled
from extract.backbone.generate import Sampling, generate
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.prompts import build_inputs
from extract.backbone.shared_prefill import SharedPrefill
from extract.datasets import get_dataset
from extract.imaging.images import read_image
from extract.job.splits import draw
from extract.spec import DatasetSpec, ModelSpec

ROUNDS = 3
PROMPTS, DRAWS, TOKENS = 64, 4, 8


def run() -> Iterator[Record]:
    """One record: the toy MLLM on the quickstart's questions, asked to think step by step."""
    yield run_sampling("toy", load_backbone(ModelSpec()), DatasetSpec(max_questions=PROMPTS))


def run_sampling(name: str, backbone: Backbone, spec: DatasetSpec) -> Record:
    """All samples in one process. transformers copies the prompts and so prefills each of them once per sample."""
    dataset = get_dataset(spec.name)
    samples = draw(dataset.load(spec), spec)
    queries = [(styled(STEPS, dataset.prompt(sample)), read_image(sample.images[0])) for sample in samples]
    inputs = build_inputs(backbone, queries)
    programs = {
        "shared": Program(lambda: shared_draws(backbone, inputs)),
        "copied": Program(lambda: copied_draws(backbone, inputs)),
    }
    seconds, _ = measure(programs, ROUNDS)
    rate, copied = (DRAWS * len(samples) / seconds[program] for program in ("shared", "copied"))
    return Record.of_rate(f"sampling/{name}/shared_prefill_vs_num_return_sequences", rate, "answers/s", copied)


def shared_draws(backbone: Backbone, inputs: Any) -> list[Any]:
    """What a run does for its sampled answers, including log-probabilities and output embeddings."""
    shared, rows = SharedPrefill(), len(inputs["input_ids"])
    seeds = [tuple(range(i * rows, (i + 1) * rows)) for i in range(DRAWS)]
    return [generate(backbone, inputs, TOKENS, sampling=Sampling(each), shared=shared) for each in seeds]


@torch.inference_mode()
def copied_draws(backbone: Backbone, inputs: Any) -> torch.Tensor:
    """Only the tokens."""
    options = {"do_sample": True, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    return backbone.model.generate(**inputs, max_new_tokens=TOKENS, num_return_sequences=DRAWS, **options)
