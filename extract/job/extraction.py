"""The extraction: questions -> greedy answers, grades, hidden states -> store. It resumes part by part."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from extract import grading
from extract.backbone.dump_block import dump_block
from extract.backbone.generate import CAPTION_PROMPT, CAPTION_TOKENS
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.narrowing import AcceleratorLost
from extract.datasets import Dataset, get_dataset
from extract.datasets.reading.grouping import image_digest
from extract.imaging.images import READING
from extract.job.crashes import Suspects
from extract.job.health import every_sample_failed, spread
from extract.job.labels import Labels
from extract.job.part import PartExtractor
from extract.job.splits import draw, group_split
from extract.job.token_counts import describe_tokens
from extract.model_files.hub import dataset_commit
from extract.plan import Extraction
from extract.queries.captions import Captions
from extract.queries.queries import QueryBuilder
from extract.queries.variants import CAPTION_TEMPLATE, parse_variant
from extract.sample import Sample
from extract.source import adapter_source, dataset_source, model_source, model_title
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import Identity
from relope_jax.states.writer import Shard, StoreWriter

# torchvision decides which image processors transformers uses; pillow decodes and blurs.
PACKAGES = ("torch", "transformers", "pillow", "torchvision", "peft")


def extract_store(plan: Extraction, shard: Shard | None = None) -> bool:
    """Extract the store of `plan`, or one shard of it, or continue an interrupted extraction.

    The process that publishes the last part writes the manifest, which joins the parts of all shards into one store.

    Returns:
      Whether the store is finished. Other shards may still be running.

    Raises:
      ReLopeError: model or data are not available, every sample failed, a state is not finite, the disk is full, or the
        place holds a store with other settings.
    """
    dataset, samples, splits = chosen_samples(plan.dataset)
    variant = parse_variant(plan.dataset.variant)
    backbone = load_backbone(plan.model)
    # First, so that an unsupported layer fails at once.
    blocks = {layer: dump_block(backbone, layer) for layer in plan.extract.all_layers}
    size = plan.extract.part_size
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]

    identity, labels = make_identity(plan, backbone, dataset, samples, splits), None
    if plan.extract.labels_from:
        labels = Labels(plan.extract.labels_from, identity)
        identity = dataclasses.replace(identity, labels_from=labels.digest)
    captions = Captions(backbone, plan.dataset.captions, samples) if variant.needs_captions else None
    with StoreWriter(plan.store, identity, shard) as writer:
        queries = QueryBuilder(backbone, dataset, variant, captions)
        print(describe_tokens(queries, samples, backbone.n_positions))
        extractor = PartExtractor(plan.extract, backbone, dataset, queries, splits, labels)
        extract_parts(extractor, writer, parts)
        if not all(writer.has_part(index) for index in range(len(parts))):
            return False
        failed = [entry for part in writer.parts(len(parts)) for entry in part.failed]
        if len(failed) == len(samples):
            writer.discard_parts()  # so that the same command retries once the images are there
            raise ReLopeError(f"every sample of {plan.dataset.name} failed; the first: {failed[0]['reason']}")
        writer.finish(len(parts), blocks)
    return True


def chosen_samples(spec: DatasetSpec) -> tuple[Dataset, list[Sample], dict[str, str]]:
    """The dataset, the samples of it that make up a store of `spec`, and the split of every group."""
    dataset = get_dataset(spec.name)
    samples = draw(dataset.load(spec), spec)
    splits = group_split(samples, spec)
    if spec.only_split:
        samples = [sample for sample in samples if splits[sample.group] == spec.only_split]
    return dataset, samples, splits


def extract_parts(extractor: PartExtractor, writer: StoreWriter, parts: list[list[Sample]]) -> None:
    """Extract and publish every unpublished part of the writer's shard.

    Parts with only failures are not published until the model has worked on some sample, so that a model that fails on
    every sample leaves nothing that a restart would skip.

    Raises:
      ReLopeError: the model fails on every sample, or the accelerator was lost.
    """
    mine: Mapping[int, list[Sample]] = {i: part for i, part in enumerate(parts) if writer.shard.owns(i)}
    waiting = {i: part for i, part in mine.items() if not writer.has_part(i)}
    total = sum(map(len, mine.values()))
    done = total - sum(map(len, waiting.values()))
    if done and waiting:
        print(f"continuing {writer.place.url}: {done} of {total} prompts are already there")
    extractor = dataclasses.replace(extractor, probes=spread([s for part in waiting.values() for s in part]))
    title = "extracting" if writer.shard.count == 1 else f"extracting shard {writer.shard}"
    bar = tqdm(total=total, initial=done, desc=title, unit="prompt", smoothing=0.05)
    with bar, ThreadPoolExecutor(max_workers=1) as background:  # so that the model does not wait for the disk
        writing: Future[None] | None = None
        held: list[Callable[[], None]] = []
        for index, part in waiting.items():
            held.append(_extract_part(extractor, writer, index, part, bar.update))
            if not extractor.health.worked and extractor.health.reasons:
                continue
            if writing:
                writing.result()
            writing, held = background.submit(_call_all, held), []
        if writing:
            writing.result()
        if held:
            if not any(part.n_samples for part in writer.parts(len(parts))):
                raise every_sample_failed(extractor.health.reasons[0], len(extractor.health.reasons))
            _call_all(held)  # the model worked in an earlier run


def _extract_part(
    extractor: PartExtractor,
    writer: StoreWriter,
    index: int,
    samples: list[Sample],
    advance: Callable[[int], None],
) -> Callable[[], None]:
    """Extract a part; returns the function that publishes it."""
    suspects = Suspects.load(writer.place, index)
    try:
        part = extractor.extract(samples, advance, suspects)
    except AcceleratorLost as lost:
        raise suspects.note(writer.place, index, lost) from lost

    def publish() -> None:
        part.write(writer, index, samples)
        suspects.clear(writer.place, index)

    return publish


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


def make_identity(
    plan: Extraction, backbone: Backbone, dataset: Dataset, samples: list[Sample], splits: dict[str, str]
) -> Identity:
    """Everything that shapes the states and their labels. A store with another identity is never continued."""
    return Identity(
        model=model_title(plan.model),
        source=model_source(plan.model),
        commit=backbone.commit,
        adapter=adapter_source(plan.model),
        layers=plan.extract.all_layers,
        hidden_size=backbone.decoder.config.hidden_size,
        model_dtype=plan.model.dtype,
        state_dtype=plan.extract.state_dtype,
        attention=plan.model.attention,
        device=backbone.device.type,
        device_map=plan.model.device_map,
        prompt_hash=_digest(
            backbone.processor.chat_template, dataset.prompt_template, CAPTION_PROMPT, CAPTION_TOKENS, CAPTION_TEMPLATE
        ),
        graders=grading.VERSION,
        dataset=dataset_source(plan.dataset) | _dataset_commit(plan.dataset, dataset),
        questions=questions_digest(dataset, samples),
        samples=_digest(
            *((s.sample_id, s.group, splits[s.group], [_content(path) for path in s.images]) for s in samples)
        ),
        labels_from="",
        max_new_tokens=plan.extract.max_new_tokens,
        part_size=plan.extract.part_size,
        token_budget=plan.extract.token_budget,
        versions={package: _version(package) for package in PACKAGES},
        image_reading=READING if any(sample.images for sample in samples) else 0,
        min_pixels=plan.model.min_pixels,
        max_pixels=plan.model.max_pixels,
    )


def _dataset_commit(spec: DatasetSpec, dataset: Dataset) -> dict[str, str]:
    """The commit of a dataset read from the hub; empty for files, which have a digest."""
    if spec.path or not dataset.published:
        return {}
    return {"commit": dataset_commit(dataset.published.hub, spec.revision)}


def questions_digest(dataset: Dataset, samples: list[Sample]) -> str:
    """Digest of every prompt with its right answers."""
    return _digest(*((s.sample_id, dataset.prompt(s), s.answer, s.choices, s.accepted) for s in samples))


def _content(image: Path) -> str:
    """Digest of an image; a constant for a missing image, whatever its path."""
    return image_digest(image) if image.is_file() else "absent"


def _digest(*parts: Any) -> str:
    """SHA-256 of the concatenated parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
