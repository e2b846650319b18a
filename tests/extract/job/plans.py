"""Small extractions for tests: a tiny LLaVA and questions about random pictures."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from PIL import Image

from extract.plan import Extraction
from extract.spec import DatasetSpec, ExtractSpec, ModelSpec
from tests.extract import tiny_models

N_QUESTIONS = 24


def tiny_plan(folder: Path, tokenizer, **extract) -> Extraction:
    """24 questions for a tiny LLaVA, with model and data saved below `folder`; the store will be `folder/store`."""
    model = tiny_models.save_llava(folder / "model", copy.deepcopy(tokenizer))
    rng = np.random.default_rng(0)
    lines = []
    for i in range(N_QUESTIONS):
        Image.fromarray(rng.integers(0, 255, (28 + i, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        question = "what is this" + " and that" * int(rng.integers(0, 9)) + "?"
        lines.append(json.dumps({"id": f"q{i:02d}", "question": question, "answer": "x", "image": f"{i}.png"}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return Extraction(
        model=ModelSpec(name=str(model), device="cpu"),
        dataset=DatasetSpec(name="jsonl", path=str(folder / "data.jsonl")),
        extract=ExtractSpec(**{"layer": 2, "max_new_tokens": 3, "part_size": 2} | extract),
        store=folder / "store",
    )


def end_often(model: Path, every: int = 5) -> None:
    """Make every fifth token, or all, of a saved model an end token, so that some short answers are complete."""
    path = model / "generation_config.json"
    vocabulary = json.loads((model / "config.json").read_text())["text_config"]["vocab_size"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": list(range(0, vocabulary, every))}))


def asking(folder: Path, model: Path, rows: list[dict], **extract) -> Extraction:
    """An extraction of these JSONL rows, which may refer to pictures in `folder`."""
    rows = [{"id": f"q{i:02d}", "answer": "x", **row} for i, row in enumerate(rows)]
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return Extraction(
        model=ModelSpec(name=str(model), device="cpu"),
        dataset=DatasetSpec(name="jsonl", path=str(folder / "asked.jsonl")),
        extract=ExtractSpec(**{"layer": 2, "max_new_tokens": 3} | extract),
        store=folder / "store",
    )


def save_pictures(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """Random pictures by name and (width, height)."""
    rng = np.random.default_rng(1)
    for name, (width, height) in sizes.items():
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / name)


def contents(store: Path) -> dict[str, str]:
    """Checksums of everything in a store except locks and hidden files left by a killed writer."""
    from relope_jax.io.files import tree_checksums

    return {k: v for k, v in tree_checksums(store).items() if not k.startswith(".") and "/." not in k}
