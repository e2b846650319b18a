"""The first stage of training: each image token is aligned with the word for the content of its image cell.

Like LLaVA's feature alignment, but without the language model's forward pass: a projected token is compared with the
embeddings of all words in the tasks. Images without words (easy-VQA's) are trained to keep their initial projections.
"""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import torch
from tqdm import tqdm

from extract.toy.training.examples import Example, examples

BATCH = 64
PROJECTOR_RATE, VISION_RATE = 1e-3, 3e-4


def align(model: Any, processor: Any, shares: dict[str, float], steps: int, train_vision: bool, seed: int) -> None:
    """AdamW on the projector, and on the vision tower if it is trained too. Both must require gradients."""
    groups: list[dict[str, Any]] = [
        {"params": list(model.model.multi_modal_projector.parameters()), "lr": PROJECTOR_RATE}
    ]
    if train_vision:
        trained = [p for p in model.model.vision_tower.parameters() if p.requires_grad]
        groups.append({"params": trained, "lr": VISION_RATE})
    parts = (model.model.vision_tower, model.model.multi_modal_projector)
    tower, projector = (copy.deepcopy(part).requires_grad_(False) for part in parts)
    draw = (example for example in examples(shares, random.Random(f"align-{seed}")) if example.image)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], steps, pct_start=0.1)
    vocabulary = Vocabulary(model, processor.tokenizer)
    bar, smooth = tqdm(range(steps), desc="aligning"), None
    for _ in bar:
        batch = list(itertools.islice(draw, BATCH))
        pixels = processor.image_processor([example.image for example in batch], return_tensors="pt")["pixel_values"]
        tokens = model.model.multi_modal_projector(model.model.vision_tower(pixels).last_hidden_state)
        worded = torch.tensor([bool(example.words) for example in batch])
        loss = vocabulary.loss(tokens[worded], [example for example in batch if example.words])
        if not worded.all():
            with torch.no_grad():
                held = projector(tower(pixels[~worded]).last_hidden_state)
            loss = loss + torch.nn.functional.mse_loss(tokens[~worded], held) / held.var()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}")


class Vocabulary:
    """The words seen so far and their embeddings; a word is the last token of its text, as in answers."""

    def __init__(self, model: Any, tokenizer: Any):
        self._table, self._tokenizer = model.get_input_embeddings().weight.detach(), tokenizer
        self._ids: dict[str, int] = {}

    def loss(self, tokens: torch.Tensor, batch: list[Example]) -> torch.Tensor:
        """Cross-entropy of "this token is the embedding of this word" among all words so far; `tokens` [n, cells, d].

        A word's logit is minus the squared distance, in units in which two words are ten apart.
        """
        for example in batch:
            for word in example.words:
                self._ids.setdefault(word, self._tokenizer.encode(word)[-1])  # "North Dakota": the second word
        ids = list(dict.fromkeys(self._ids.values()))
        known = self._table[ids]
        apart = (known - known.mean(dim=0)).pow(2).sum(dim=1).mean() * 2
        distance = torch.cdist(tokens.flatten(0, 1), known).pow(2)
        targets = torch.tensor([ids.index(self._ids[word]) for example in batch for word in example.words])
        return torch.nn.functional.cross_entropy(-10 * distance / apart, targets)
