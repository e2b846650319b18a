"""Train the projector of the toy MLLM on easy-VQA; vision tower and language model stay frozen.

    python -m extract.toy.train

writes extract/toy/projector.safetensors (bfloat16, 2.1 MB) and projector.json: the settings, the seed
and the accuracy measured on easy-VQA's test questions, whose images the projector never saw.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import random
import time
from pathlib import Path

import easy_vqa
import torch
from absl import app, flags
from PIL import Image
from safetensors.torch import save_file
from tqdm import tqdm

from extract.toy.build import IMAGE_TOKEN, PROJECTOR, assemble
from extract.toy.vision import IMAGE_TOKENS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights."""

    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    seed: int = 0
    eval_questions: int = 1000


ANSWER_KIND = {
    **dict.fromkeys(("yes", "no"), "yes/no"),
    **dict.fromkeys(("circle", "rectangle", "triangle"), "shape"),
}  # every other answer is a colour
KIND_SHARE = {"yes/no": 0.5, "colour": 0.3, "shape": 0.2}


class Features:
    """Vision-tower outputs of every image, computed once because the tower is frozen."""

    def __init__(self, model, processor, paths: dict[int, str]):
        self.index = {image_id: row for row, image_id in enumerate(sorted(paths))}
        ordered, rows = [paths[i] for i in sorted(paths)], []
        for start in tqdm(range(0, len(ordered), 64), desc="vision features"):
            images = [Image.open(path).convert("RGB") for path in ordered[start : start + 64]]
            pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                rows.append(model.model.vision_tower(pixels).last_hidden_state)
        self.tokens = torch.cat(rows)

    def __getitem__(self, image_ids: list[int]) -> torch.Tensor:
        return self.tokens[[self.index[i] for i in image_ids]]


def prompts(processor, questions: list[str], answers: list[str] | None = None) -> dict:
    """Left-padded token ids of the chat prompts, each followed by its answer when one is given."""
    texts = []
    for i, question in enumerate(questions):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        if answers is not None:
            text += answers[i] + processor.tokenizer.eos_token
        texts.append(text.replace(IMAGE_TOKEN, IMAGE_TOKEN * IMAGE_TOKENS))
    return processor.tokenizer(texts, return_tensors="pt", padding=True)


def answer_loss(model, processor, features: torch.Tensor, questions, answers) -> torch.Tensor:
    """Mean cross-entropy of the answer tokens and the end of turn."""
    inputs = prompts(processor, questions, answers)
    ids = inputs["input_ids"]
    embeds = model.get_input_embeddings()(ids).clone()
    embeds[ids == model.config.image_token_id] = model.model.multi_modal_projector(features).flatten(0, 1)
    hidden = model.model.language_model(
        inputs_embeds=embeds, attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state
    lengths = [len(processor.tokenizer.encode(answer)) + 1 for answer in answers]
    longest = max(lengths)
    logits = model.lm_head(hidden[:, -longest - 1 : -1])
    targets = ids[:, -longest:].clone()
    for row, length in enumerate(lengths):
        targets[row, : longest - length] = -100
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def balanced_draw(questions: tuple, rng: random.Random):
    """Endless (question, answer, image id): fewer yes/no questions than the three in four of the data."""
    kinds = collections.defaultdict(list)
    for row in zip(*questions, strict=True):
        kinds[ANSWER_KIND.get(row[1], "colour")].append(row)
    names, shares = list(KIND_SHARE), list(KIND_SHARE.values())
    while True:
        yield rng.choice(kinds[rng.choices(names, shares)[0]])


def train(model, processor, recipe: Recipe) -> None:
    """AdamW with warm-up and cosine decay on the projector alone."""
    torch.manual_seed(recipe.seed)
    model.requires_grad_(False)
    projector = model.model.multi_modal_projector
    projector.requires_grad_(True)
    projector.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    features = Features(model, processor, easy_vqa.get_train_image_paths())
    draw = balanced_draw(easy_vqa.get_train_questions(), random.Random(recipe.seed))
    optimizer = torch.optim.AdamW(projector.parameters(), lr=recipe.learning_rate, weight_decay=0.01)

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    bar = tqdm(range(recipe.steps), desc="projector")
    smooth = None
    for _ in bar:
        rows = [next(draw) for _ in range(recipe.batch_size)]
        questions, answers, images = (list(column) for column in zip(*rows, strict=True))
        loss = answer_loss(model, processor, features[images], questions, answers)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError("the loss is not finite: lower --learning_rate")
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}")


@torch.no_grad()
def evaluate(model, processor, n_questions: int, seed: int) -> dict[str, float]:
    """Greedy exact-match accuracy on easy-VQA test questions through `generate`, by kind of answer."""
    rows = list(zip(*easy_vqa.get_test_questions(), strict=True))
    rows = random.Random(seed).sample(rows, n_questions)
    paths = easy_vqa.get_test_image_paths()
    right = collections.defaultdict(list)
    for start in tqdm(range(0, len(rows), 32), desc="accuracy"):
        questions, answers, images = zip(*rows[start : start + 32], strict=True)
        inputs = prompts(processor, list(questions))
        pictures = [Image.open(paths[i]).convert("RGB") for i in images]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        output = model.generate(**inputs, pixel_values=pixels, max_new_tokens=4, do_sample=False)
        texts = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for text, answer in zip(texts, answers, strict=True):
            right[ANSWER_KIND.get(answer, "colour")].append(text.strip() == answer)
    flat = [r for kind in right.values() for r in kind]
    return {"all": sum(flat) / len(flat), **{k: sum(v) / len(v) for k, v in sorted(right.items())}}


def main(_) -> None:
    recipe = Recipe(**{f.name: getattr(flags.FLAGS, f.name) for f in dataclasses.fields(Recipe)})
    out = Path(flags.FLAGS.out)
    start = time.time()
    model, processor = assemble(projector=None)
    train(model, processor, recipe)
    projector = model.model.multi_modal_projector
    state = {k: v.to(torch.bfloat16).contiguous() for k, v in projector.state_dict().items()}
    projector.load_state_dict(state)  # measure what is shipped: the rounded weights
    seconds = time.time() - start
    accuracy = evaluate(model, processor, recipe.eval_questions, recipe.seed)
    save_file(state, out)
    record = {
        "command": "python -m extract.toy.train",
        "recipe": dataclasses.asdict(recipe),
        "training_seconds": round(seconds),
        "test_accuracy": {kind: round(value, 4) for kind, value in accuracy.items()},
    }
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    for field in dataclasses.fields(Recipe):
        define = flags.DEFINE_float if field.type == "float" else flags.DEFINE_integer
        define(field.name, field.default, "see Recipe")
    flags.DEFINE_string("out", str(PROJECTOR), "where to write the trained projector")
    app.run(main)
