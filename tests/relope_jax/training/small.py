"""A small learnable store and a training on it, also as a command:

    python -m tests.relope_jax.training.small --store=S --out=O --method=relope ...

writes O/scores.npy, O/records.json and O/router; used by tests that need other processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np

from relope_jax.block.spec import LoRASpec
from relope_jax.data import load_router_data
from relope_jax.machine.engine import EngineSpec
from relope_jax.machine.mesh import is_primary
from relope_jax.methods import METHODS
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.states.manifest import Identity
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from relope_jax.training.checkpoints import save_router
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import fit
from relope_jax.training.members import Member
from relope_jax.training.scoring import scores
from relope_jax.training.spec import TrainSpec
from tests.builders import make_block, make_states

IDENTITY = Identity(
    model="m", source="s", commit="", adapter="", layers=[2], hidden_size=16, model_dtype="float32",
    state_dtype="bfloat16", attention="sdpa", device="cpu", device_map="", prompt_hash="h",
    dataset={"name": "d", "path": ""},
    graders=1, questions="q", samples="x",
    labels_from="", max_new_tokens=4, part_size=60, token_budget=64, versions={"torch": "1"},
)  # fmt: skip
WIDTHS, RATE = (16, 16, 8, 8), 3e-3
SPECS = {
    "probe": ProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "attention_probe": AttentionProbeSpec(widths=WIDTHS, learning_rate=RATE),
    "relope": ReLopeSpec(widths=WIDTHS, learning_rate=RATE, beta=0.1, lora=LoRASpec(rank=4, alpha=8.0)),
}


def write_small_store(path: Path, parts: int = 4, part_size: int = 60) -> Store:
    """Prompts of about two lengths whose label is visible in z_n and in one token of Z^(l-1)."""
    identity = dataclasses.replace(IDENTITY, part_size=part_size)
    with StoreWriter(path, identity) as writer:
        for part in range(parts):
            rng = np.random.default_rng(part)
            states = make_states(rng, np.where(rng.random(part_size) < 0.4, rng.integers(30, 32, part_size), 8))
            labels = rng.integers(0, 2, part_size)
            signal = (2.0 * labels - 1.0)[:, None]
            states.last_hidden[:, :4] += signal
            states.hidden[states.offsets[1:] - 1, :4] += (4 * signal).astype(states.hidden.dtype)
            writer.write_part(part, {2: states}, _rows(part, labels, states.lengths), [])
        writer.finish(parts, {2: make_block(np.random.default_rng(9))})
    return Store(path)


def _rows(part: int, labels: np.ndarray, lengths: np.ndarray) -> list[dict]:
    splits = ("train", "train", "validation", "test")
    return [
        {
            "sample_id": f"p{part}s{i}",
            "group": f"p{part}g{i}",
            "split": splits[i % 4],
            "question": f"what is {i % 7}?",
            "answer": "a",
            "response": "b",
            "label": int(label),
            "n_tokens": int(n),
        }
        for i, (label, n) in enumerate(zip(labels, lengths, strict=True))
    ]


def train_small(
    store: Store, method: str, engine: EngineSpec, out: Path, seeds: tuple[int, ...] = (0, 1), epochs: int = 6
) -> None:
    """Train and write the results. If there is a folder O/training, the training is saved there."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "router").exists():  # killed after its last step
        return
    train = TrainSpec(batch_size=16, epochs=epochs, patience=epochs)
    members = [Member(SPECS[method], train, seed) for seed in seeds]
    data = load_router_data(store, engine)
    feed = open_feed(data, engine)
    records: list[dict] = []
    folder = out / "training"
    fitted = fit(METHODS[method], members, data, feed, records.append, folder, engine.checkpoint_seconds)
    predicted = scores(fitted.parts, feed.of(METHODS[method]), np.arange(len(store.samples)))
    if is_primary():
        (out / "records.json").write_text(json.dumps(records))
        np.save(out / "scores.npy", predicted)
    save_router(out / "router", METHODS[method], members, fitted)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--states", default="resident")
    parser.add_argument("--checkpoint_seconds", type=float, default=60.0)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    args = parser.parse_args()
    if args.coordinator:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    engine = EngineSpec(states=args.states, checkpoint_seconds=args.checkpoint_seconds)
    train_small(Store(args.store), args.method, engine, args.out)
    print(f"{jax.process_count()} processes, {jax.device_count()} devices")


if __name__ == "__main__":
    main()
