"""Train our part of a toy MLLM: its projector; for the suite's pair also a LoRA and the large one's vision tower.

    python -m extract.toy.training.train --model=toy-small

writes extract/toy/weights/<model>.safetensors (bfloat16) and .json: the recipe, and the accuracy on questions about
images that no toy was trained on. Vision tower and language model are frozen unless the recipe trains them.
--measure only measures the existing weights, for example after a task's questions changed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from absl import app, flags
from peft import LoraConfig, inject_adapter_in_model
from tqdm import tqdm

from extract.spec import TOY_MODELS
from extract.toy import WEIGHTS
from extract.toy.build import IMAGE_TOKEN, assemble
from extract.toy.training.align import align
from extract.toy.training.evaluate import accuracies
from extract.toy.training.examples import SUITE, Example, examples
from extract.toy.vision import IMAGE_TOKENS
from extract.toy.weights import SCALE, Trained
from relope_jax.errors import exit_on_error


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines the trained weights.

    Attributes:
      shares: of the tasks among the examples.
      align_steps: steps of the first stage (align.py); 0 skips it.
      start: the toy MLLM whose weights are trained further; empty starts from a random projector.
      lora_rank: rank of a LoRA on the attention of every language-model layer; 0 freezes the language model.
      train_vision: also train the vision tower (its batch statistics remain ImageNet's).
    """

    shares: dict[str, float]
    steps: int
    align_steps: int = 0
    start: str = ""
    lora_rank: int = 0
    train_vision: bool = False
    batch_size: int = 32
    projector_learning_rate: float = 1e-3
    lora_learning_rate: float = 1e-3
    vision_learning_rate: float = 1e-4
    warmup_steps: int = 20
    seed: int = 0


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RECIPES = {
    "toy-mllm": Recipe(shares={"easy_vqa": 1.0}, steps=600),
    "toy-small": Recipe(SUITE, steps=300, align_steps=400, start="toy-mllm", lora_rank=8, projector_learning_rate=2e-4),
    "toy-large": Recipe(
        SUITE,
        steps=200,
        align_steps=500,
        start="toy-small",
        lora_rank=8,
        projector_learning_rate=2e-4,
        train_vision=True,
    ),
}


def batches(recipe: Recipe) -> Iterator[list[Example]]:
    """Endless batches, each of prompts with similar lengths, because padding costs as much as the prompts."""
    rng = random.Random(recipe.seed)
    draw = examples(recipe.shares, rng)
    while True:
        drawn = sorted((next(draw) for _ in range(8 * recipe.batch_size)), key=lambda example: len(example.prompt))
        cut = [drawn[i : i + recipe.batch_size] for i in range(0, len(drawn), recipe.batch_size)]
        rng.shuffle(cut)
        yield from cut


def prompt_ids(processor: Any, batch: list[Example]) -> dict[str, torch.Tensor]:
    """Left-padded token ids of the chat prompts, each followed by its answer."""
    texts = []
    for example in batch:
        content = [{"type": "image"}] if example.image else []
        content += [{"type": "text", "text": example.prompt}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        texts.append(
            text.replace(IMAGE_TOKEN, IMAGE_TOKEN * IMAGE_TOKENS) + example.answer + processor.tokenizer.eos_token
        )
    return processor.tokenizer(texts, return_tensors="pt", padding=True)


def answer_loss(model: Any, processor: Any, batch: list[Example], train_vision: bool) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, including their end of turn."""
    inputs = prompt_ids(processor, batch)
    ids = inputs["input_ids"]
    embeds = model.get_input_embeddings()(ids).clone()
    images = [example.image for example in batch if example.image]
    if images:
        pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
        with torch.set_grad_enabled(train_vision):
            features = model.model.vision_tower(pixels).last_hidden_state
        embeds[ids == model.config.image_token_id] = model.model.multi_modal_projector(features).flatten(0, 1)
    hidden = model.model.language_model(
        inputs_embeds=embeds, attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state
    lengths = [len(processor.tokenizer.encode(example.answer)) + 1 for example in batch]
    longest = max(lengths)
    logits = model.lm_head(hidden[:, -longest - 1 : -1])
    targets = ids[:, -longest:].clone()
    for row, length in enumerate(lengths):
        targets[row, : longest - length] = -100
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def trainable(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's parameter groups with gradients enabled; everything else is frozen."""
    model.requires_grad_(False)
    projector = model.model.multi_modal_projector
    if not recipe.start:
        projector.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)
    groups: list[dict[str, Any]] = [{"params": list(projector.parameters()), "lr": recipe.projector_learning_rate}]
    if recipe.lora_rank:
        config = LoraConfig(
            r=recipe.lora_rank, lora_alpha=round(SCALE * recipe.lora_rank), target_modules=list(LORA_TARGETS)
        )
        inject_adapter_in_model(config, model.model.language_model)
        adapter = [p for name, p in model.model.language_model.named_parameters() if "lora_" in name]
        groups.append({"params": adapter, "lr": recipe.lora_learning_rate})
    if recipe.train_vision:
        tower = [p for name, p in model.model.vision_tower.net.named_parameters() if not name.startswith("_fc")]
        groups.append({"params": tower, "lr": recipe.vision_learning_rate})
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return groups


def train(model: Any, processor: Any, recipe: Recipe, start: Trained | None) -> Trained:
    """AdamW with warm-up and cosine decay; returns the newly trained tensors merged with those of the start."""
    torch.manual_seed(recipe.seed)
    groups = trainable(model, recipe)
    if recipe.align_steps:
        align(model, processor, recipe.shares, recipe.align_steps, recipe.train_vision, recipe.seed)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    draw = batches(recipe)
    bar, smooth = tqdm(range(recipe.steps), desc="training"), None
    for _ in bar:
        batch = next(draw)
        loss = answer_loss(model, processor, batch, recipe.train_vision)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError("the loss is not finite: lower the recipe's learning rate")
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}")
    return trained(model, recipe, start)


def trained(model: Any, recipe: Recipe, start: Trained | None) -> Trained:
    """The tensors to ship. A LoRA that the start already had is concatenated with the new one: their ranks add up."""
    lora = dict(start.lora) if start else {}
    for name, tensor in model.model.language_model.state_dict().items():
        if ".lora_" in name:
            module, _, factor = name.replace(".default.weight", "").rpartition(".lora_")
            key = f"{module}.{factor}"
            lora[key] = torch.cat([lora[key], tensor], dim=0 if factor == "A" else 1) if key in lora else tensor
    vision = {}
    if recipe.train_vision:
        parameters = model.model.vision_tower.net.named_parameters()
        vision = {name: tensor.detach() for name, tensor in parameters if not name.startswith("_fc")}
    return Trained(model.model.multi_modal_projector.state_dict(), vision, lora)


@exit_on_error
def main(_: list[str]) -> None:
    name = flags.FLAGS.model
    recipe, path = RECIPES[name], WEIGHTS / f"{name}.json"
    if flags.FLAGS.measure:
        seconds = json.loads(path.read_text(encoding="utf-8"))["training_seconds"]
    else:
        started = time.time()
        start = Trained.load(recipe.start) if recipe.start else None
        train(*assemble(start), recipe, start).save(WEIGHTS / f"{name}.safetensors")
        seconds = round(time.time() - started)
    record = {
        "command": f"python -m extract.toy.training.train --model={name}",
        "recipe": dataclasses.asdict(recipe),
        "training_seconds": seconds,
        "accuracy": accuracies(*assemble(Trained.load(name)), tuple(recipe.shares)),  # of the rounded weights
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    flags.DEFINE_enum("model", "toy-mllm", TOY_MODELS, "which toy MLLM to train")
    flags.DEFINE_bool("measure", False, "do not train, only measure the existing weights")
    app.run(main)
