"""The extraction: questions -> greedy answers, grades, hidden states -> store. Resumable part by part."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
import transformers
from tqdm import tqdm

from extract.backbone import Backbone, load_backbone
from extract.block import dump_block
from extract.capture import Capture
from extract.datasets import Dataset, Sample, get_dataset
from extract.prompts import image_span
from extract.queries import Query, prepare
from extract.settings import Extraction
from extract.source import adapter_source, dataset_source, model_source
from extract.spec import ExtractSpec
from extract.splits import draw, group_split
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates, concatenate
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter


def extract_store(plan: Extraction) -> Store:
    """Make the store of `plan`, or go on where an interrupted extraction stopped.

    Raises:
      ReLopeError: model or data cannot be had, every sample failed, a state is not finite, or the folder
        holds a store of other settings.
    """
    dataset = get_dataset(plan.dataset.name)
    samples = draw(dataset.load(plan.dataset), plan.dataset)
    splits = group_split(samples, plan.dataset)
    backbone = load_backbone(plan.model)
    block = dump_block(backbone, plan.extract.layer)  # first: a layer that is not supported is refused at once
    size = plan.extract.part_size
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]

    with StoreWriter(plan.store, make_identity(plan, backbone, dataset)) as writer:
        done = sum(len(part) for i, part in enumerate(parts) if writer.has_part(i))
        if done and not writer.finished:
            print(f"going on with {plan.store}: {done} of {len(samples)} prompts are already there")
        with tqdm(total=len(samples), initial=done, desc="extracting", unit="prompt", smoothing=0.05) as bar:
            for index, part in enumerate(parts):
                if not writer.has_part(index):
                    writer.write_part(index, *extract_part(plan, backbone, dataset, part, splits, bar))
        published = writer.parts(len(parts))
        failed = [entry for part in published for entry in part.failed]
        if len(failed) == len(samples):
            writer.discard_parts()  # so that the same command tries again once the images are there
            raise ReLopeError(f"every sample of {plan.dataset.name} failed; the first: {failed[0]['reason']}")
        writer.write_block(block)
        writer.finish(len(parts))
    return Store(plan.store)


def make_identity(plan: Extraction, backbone: Backbone, dataset: Dataset) -> Identity:
    """What shaped the states; a store with another identity is never continued."""
    template = f"{backbone.processor.chat_template}\n{dataset.prompt_template}"
    return Identity(
        model=plan.model.name,
        source=model_source(plan.model),
        commit=backbone.commit,
        adapter=adapter_source(plan.model),
        layer=plan.extract.layer,
        hidden_size=backbone.decoder.config.hidden_size,
        model_dtype=plan.model.dtype,
        state_dtype=plan.extract.state_dtype,
        attention=plan.model.attention,
        prompt_hash=hashlib.sha256(template.encode()).hexdigest(),
        dataset=dataset_source(plan.dataset),
        max_new_tokens=plan.extract.max_new_tokens,
        part_size=plan.extract.part_size,
        batch_size=plan.extract.batch_size,
        versions={"torch": torch.__version__, "transformers": transformers.__version__},
    )


def extract_part(
    plan: Extraction,
    backbone: Backbone,
    dataset: Dataset,
    part: list[Sample],
    splits: dict[str, str],
    bar: tqdm,
) -> tuple[TokenStates | None, list[dict[str, Any]], list[dict[str, str]]]:
    """States, table rows and failures of one part, rows in the dataset's order."""
    # Prompts of like length share a batch, which keeps padding small.
    order = np.argsort([len(dataset.prompt(sample)) for sample in part], kind="stable")
    states, rows, failed = [], {}, []
    for start in range(0, len(order), plan.extract.batch_size):
        chosen = [part[i] for i in order[start : start + plan.extract.batch_size]]
        inputs, batch = prepare(backbone, dataset, chosen, failed)
        if batch:
            batch_states, batch_rows = extract_batch(plan.extract, backbone, dataset, batch, inputs)
            states.append(batch_states)
            rows |= {row["sample_id"]: row | {"split": splits[row["group"]]} for row in batch_rows}
        bar.update(min(plan.extract.batch_size, len(order) - start))
    if not rows:
        return None, [], failed
    position = {sample_id: i for i, sample_id in enumerate(rows)}
    ordered = [sample.sample_id for sample in part if sample.sample_id in rows]
    back = np.array([position[sample_id] for sample_id in ordered])
    return concatenate(states).select(back), [rows[sample_id] for sample_id in ordered], failed


def extract_batch(
    spec: ExtractSpec, backbone: Backbone, dataset: Dataset, batch: list[Query], inputs: Any
) -> tuple[TokenStates, list[dict[str, Any]]]:
    """One `generate`: its prefill gives the states, its tokens the answers."""
    with torch.inference_mode(), Capture(backbone, spec.layer, inputs["attention_mask"]) as capture:
        output = backbone.model.generate(**inputs, max_new_tokens=spec.max_new_tokens, **GREEDY)
    states = capture.states()
    answers = backbone.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    rows = []
    for i, ((sample, _), answer) in enumerate(zip(batch, answers, strict=True)):
        start, count, height, width = image_span(backbone, inputs, i)
        rows.append({
            "sample_id": sample.sample_id, "group": sample.group, "question": sample.question,
            "answer": sample.answer, "response": answer.strip(),
            "label": int(dataset.grade(sample, answer.strip())),
            "n_tokens": int(states.lengths[i]), "image": str(sample.image or ""),
            "image_start": start, "image_tokens": count, "grid_height": height, "grid_width": width,
        })  # fmt: skip
    return states, rows


# A model's own generation config may ask for sampling or penalties; the label is about the greedy answer.
GREEDY = {
    "do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
}  # fmt: skip
