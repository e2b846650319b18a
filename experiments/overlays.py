"""Which test prompts the report shows with the Attention Probe's weights on the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from experiments.figures import attention_overlay
from relope_jax.run import Run
from relope_jax.states.store import Store

METHOD = "attention_probe"


@dataclasses.dataclass(frozen=True)
class Overlay:
    """One example: what was asked and answered, the probe's score, and the picture (or why there is none)."""

    caption: str
    question: str
    answer: str
    response: str
    score: float
    image_share: float
    picture: str


def attention_overlays(run: Run, store: Store, seed: int) -> list[Overlay]:
    """The most and the least trusted right and wrong answers of the test split."""
    table = run.scores.filter(
        (pc.field("method") == METHOD) & (pc.field("seed") == seed) & (pc.field("split") == "test")
    ).to_pydict()
    scores, labels = np.array(table["score"]), np.array(table["label"])
    row_of = {sample_id: i for i, sample_id in enumerate(store.column("sample_id"))}
    chosen = [
        ("right, and trusted", labels == 1, np.argmax),
        ("right, but not trusted", labels == 1, np.argmin),
        ("wrong, and caught", labels == 0, np.argmin),
        ("wrong, but trusted", labels == 0, np.argmax),
    ]
    picked = []
    for caption, members, pick in chosen:
        index = np.flatnonzero(members)
        best = int(index[pick(scores[index])])
        picked.append((caption, row_of[table["sample_id"][best]], float(scores[best])))
    states = store.states(np.array([row for _, row, _ in picked]))
    weights = run.restore(METHOD, seed).attention(states)
    return [
        _overlay(caption, store.samples.slice(row, 1).to_pylist()[0], score, attention)
        for (caption, row, score), attention in zip(picked, weights, strict=True)
    ]


def _overlay(caption: str, sample: dict, score: float, attention: np.ndarray) -> Overlay:
    start, count = sample["image_start"], sample["image_tokens"]
    on_image = attention[start : start + count] if count else np.zeros(0)
    if not count or sample["grid_height"] * sample["grid_width"] != count:
        picture = "<p>no image tokens in a grid</p>"
    else:
        grid = on_image.reshape(sample["grid_height"], sample["grid_width"])
        try:
            with Image.open(sample["images"][0]) as image:
                picture = attention_overlay(image.convert("RGB"), grid)
        except OSError:
            picture = f"<p>the image {sample['images'][0]} is not on this machine</p>"
    return Overlay(
        caption, sample["question"], sample["answer"], sample["response"], score, float(on_image.sum()), picture
    )
