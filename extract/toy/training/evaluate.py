"""Accuracy of a toy MLLM on each task, and accuracy of a guesser that never sees an image."""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from extract.datasets import get_dataset
from extract.imaging.images import read_image
from extract.sample import Sample
from extract.spec import DatasetSpec
from extract.toy.training.examples import examples

QUESTIONS = 300  # per task
BATCH = 30
GUESSED_FROM = 3000  # training examples


def accuracies(model: Any, processor: Any, tasks: Sequence[str]) -> dict[str, dict[str, float]]:
    """Greedy and blind-baseline accuracy, on the first questions of each task in a fixed random order."""
    result = {}
    for task in tasks:
        dataset = get_dataset(task)
        samples = dataset.load(DatasetSpec(name=task))
        samples = random.Random(f"evaluate-{task}").sample(samples, min(QUESTIONS, len(samples)))
        right = []
        for start in tqdm(range(0, len(samples), BATCH), desc=task):
            batch = samples[start : start + BATCH]
            texts = responses(model, processor, [(dataset.prompt(s), s) for s in batch])
            right += [dataset.grade(sample, text) for sample, text in zip(batch, texts, strict=True)]
        result[task] = {
            "accuracy": round(sum(right) / len(right), 4),
            "blind": round(blind_accuracy(task, [(dataset.prompt(s), s.answer) for s in samples]), 4),
        }
    return result


@torch.no_grad()
def responses(model: Any, processor: Any, queries: Sequence[tuple[str, Sample]]) -> list[str]:
    """Greedy answers through `generate`."""
    texts, images = [], []
    for prompt, sample in queries:
        content = [*({"type": "image"} for _ in sample.images), {"type": "text", "text": prompt}]
        texts.append(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
        images.append([read_image(path) for path in sample.images])
    inputs = processor(text=texts, images=images if any(images) else None, padding=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def blind_accuracy(task: str, questions: Sequence[tuple[str, str]]) -> float:
    """Accuracy of always giving the most frequent answer to exactly this prompt, else of the whole task."""
    answers: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    draw = examples({task: 1.0}, random.Random(0))
    for _ in range(GUESSED_FROM):
        example = next(draw)
        for key in (example.prompt, ""):
            answers[key][example.answer] += 1
    right = [
        answers[prompt if prompt in answers else ""].most_common(1)[0][0] == answer for prompt, answer in questions
    ]
    return sum(right) / len(right)
