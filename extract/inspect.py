"""Show what is in a store: python -m extract.inspect stores/NAME (a folder, or an s3:// or gs:// URL)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from absl import app, logging

from extract import grading
from extract.job.labels import incomplete_answers
from extract.job.open import kinds
from relope_jax.errors import ReLopeError, exit_on_error, one_line
from relope_jax.states.store import SPLITS, Store

BARS, BAR = 10, 40  # maximum number of bars in the histogram, and characters of the longest
HIDDEN = ("prompt_template", "sha256")  # fields of the dataset that are too long to show


def describe(store: Store) -> Iterator[str]:
    """The lines about a store: its source, its splits, the model's accuracy, and the prompt lengths."""
    return map(one_line, _lines(store))


def _lines(store: Store) -> Iterator[str]:
    identity = store.identity
    yield from _source(store)
    labels, groups, splits = (store.column(name) for name in ("label", "group", "split"))
    yield ""
    yield f"{'split':<12}{'prompts':>9}{'groups':>9}{'accuracy':>10}"
    for split in SPLITS:
        rows = splits == split
        accuracy = f"{labels[rows].mean():.3f}" if rows.any() else "-"
        yield f"{split:<12}{rows.sum():>9}{len(np.unique(groups[rows])):>9}{accuracy:>10}"
    yield f"{'all':<12}{len(labels):>9}{len(np.unique(groups)):>9}{labels.mean():>10.3f}"
    yield ""
    yield from _lengths(store.column("n_tokens"))
    if incomplete := incomplete_answers(store):
        yield ""
        yield incomplete
    failed = store.manifest.failed
    if failed:
        yield ""
        yield f"left out: {len(failed)} samples ({kinds(failed)})"
        yield from (f"  {entry['sample_id']}: {entry['reason']}" for entry in failed[:10])
        if len(failed) > 10:
            yield f"  and {len(failed) - 10} more"
    if identity.labels_from:
        yield f"labels: taken from the store with digest {identity.labels_from[:12]}"
    elif identity.graders != grading.VERSION:
        yield "labels: from another version of the graders (`python -m extract.regrade --config=...` regrades them)"


def _source(store: Store) -> Iterator[str]:
    identity, parts = store.identity, store.manifest.parts
    commit = f" at {identity.commit[:12]}" if identity.commit else ""
    adapter = f" with adapter {identity.adapter[:12]}" if identity.adapter else ""
    tokens = sum(part.n_tokens for part in parts)
    size = tokens * identity.hidden_size * (2 if identity.state_dtype == "bfloat16" else 4) * len(identity.layers)
    yield f"store     {store.path}"
    how = f"{identity.model_dtype} on {identity.device}, {identity.attention} attention"
    yield f"model     {identity.model}{commit}{adapter}, {how}"
    dataset = [f"{k} {v}" for k, v in identity.dataset.items() if v not in ("", None) and k not in HIDDEN]
    yield f"dataset   {', '.join(dataset)}"
    if limits := [f"{k} {v}" for k in ("min_pixels", "max_pixels") if (v := getattr(identity, k))]:
        yield f"images    {', '.join(limits)}"
    yield f"layers    {', '.join(map(str, identity.layers))} of width {identity.hidden_size}, in {identity.state_dtype}"
    yield f"states    {tokens} tokens, {size / 1e9:.2f} GB in {len(parts)} parts"
    yield f"made with {', '.join(f'{k} {v}' for k, v in identity.versions.items())}"
    if reduced := [part.name for part in parts if part.token_budget < identity.token_budget]:
        yield f"memory    ran out in parts {', '.join(reduced)}, which were finished with smaller batches"


def _lengths(lengths: np.ndarray) -> Iterator[str]:
    """A histogram of prompt lengths."""
    yield f"prompt tokens: shortest {lengths.min()}, median {np.median(lengths):g}, longest {lengths.max()}"
    width = int(np.ptp(lengths)) // BARS + 1
    counts = np.bincount((lengths - lengths.min()) // width)
    for count, low in zip(counts, range(lengths.min(), lengths.max() + 1, width), strict=True):
        yield f"{low:>7} to {low + width - 1:<7}{count:>8} {'#' * round(BAR * count / counts.max())}".rstrip()


if __name__ == "__main__":

    @exit_on_error
    def main(argv: list[str]) -> None:
        if len(argv) != 2:
            raise ReLopeError("usage: relope inspect STORE")
        logging.set_verbosity(logging.WARNING)  # hides jax's list of missing backends
        print("\n".join(describe(Store(argv[1]))))

    app.run(main)
