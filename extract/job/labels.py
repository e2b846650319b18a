"""Labels: grades new answers, or reuses those of a finished store for variants that do not change them."""

from __future__ import annotations

from typing import Any

from extract.answers.endings import CUT_OFF, count_endings, incomplete_line, kind_of
from extract.datasets import Dataset
from extract.datasets.reading.grouping import contents
from extract.imaging.images import LeftOut
from extract.sample import Sample
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import Identity, difference
from relope_jax.states.store import Store

# What shapes an answer or its label. The variant, the captured states and the batching may differ: layers,
# state_dtype, token_budget, part_size, device_map (the same sums on other devices), splits.
SAME = ("model", "source", "commit", "adapter", "min_pixels", "max_pixels", "image_reading", "model_dtype", "attention",
        "device", "prompt_hash", "questions", "graders", "max_new_tokens")  # fmt: skip
COLUMNS = ["response", "finish_reason", "final_answer", "label", "token_logprobs", "first_token_entropy"]


class Labels:
    """The small model's answers in another store, by sample.

    Raises:
      ReLopeError: there is no such store, or its answers or labels would differ if made with the current settings.
    """

    def __init__(self, url: str, identity: Identity):
        store = Store(url)
        if different := differing(identity, store.identity):
            graders = any(line.startswith("graders:") for line in different)
            hint = ": regrade it with `python -m extract.regrade` and its --config" if graders else ""
            raise ReLopeError(f"extract.labels_from={url} has labels for other settings ({'; '.join(different)}){hint}")
        self._url, self.digest = url, store.digest
        rows = store.samples.select(["sample_id", "question", "answer", "contents", *COLUMNS]).to_pylist()
        self._rows = {row["sample_id"]: row for row in rows}

    def columns(self, sample: Sample) -> dict[str, Any]:
        """The columns about the answer; raises LeftOut if that store lacks the question or has other images for it."""
        row = self._rows.get(sample.sample_id)
        if row is None or (row["question"], row["answer"]) != (sample.question, sample.answer):
            raise LeftOut(f"{self._url} has no label of this question")
        if row["contents"] != (here := contents(sample)):
            raise LeftOut(
                f"the label in {self._url} is about other images: contents {_shown(here)} here, "
                f"{_shown(row['contents'])} there"
            )
        return {name: row[name] for name in COLUMNS}


def graded(dataset: Dataset, sample: Sample, response: str, finish_reason: str) -> tuple[str, int]:
    """Final answer and label of a response; `("", 0)` when it was cut off: such an answer is not read."""
    if kind_of(finish_reason) == CUT_OFF:
        return "", 0
    return dataset.final_answer(sample, response), int(dataset.grade(sample, response))


def incomplete_answers(store: Store) -> str:
    """One line that counts a store's answers that are cut off or empty, and says how to raise the limit; "" when all
    are whole."""
    reasons, responses = (store.samples[name].to_pylist() for name in ("finish_reason", "response"))
    endings = count_endings((reason or "", response or "") for reason, response in zip(reasons, responses, strict=True))
    which = "" if not store.identity.labels_from else " of the store that the labels come from"
    advice = f"such an answer counts as wrong; raise the limit{which} with --config.extract.max_new_tokens=..."
    return incomplete_line(endings, f"extract.max_new_tokens={store.identity.max_new_tokens}", advice)


def differing(mine: Identity, theirs: Identity) -> list[str]:
    """A line for each difference that shapes an answer or its label; the peft version counts only with an adapter."""
    here, there = ({name: getattr(identity, name) for name in SAME} for identity in (mine, theirs))
    if not mine.commit and not theirs.commit:
        del here["model"]  # `source` has the folder's digest, independent of its path
    here["dataset.name"], there["dataset.name"] = mine.dataset["name"], theirs.dataset["name"]
    packages = [package for package in mine.versions if package != "peft" or mine.adapter or theirs.adapter]
    here |= {f"versions.{package}": mine.versions[package] for package in packages}
    there |= {f"versions.{package}": theirs.versions.get(package) for package in packages}
    return [difference(name, value, there.get(name)) for name, value in here.items() if value != there.get(name)]


def _shown(digests: list[str] | None) -> str:
    return ", ".join(digest[:12] for digest in digests or []) or "none"
