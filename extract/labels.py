"""Answers and labels of a finished store, for variants that leave them as they are."""

from __future__ import annotations

from typing import Any

from extract.images import LeftOut
from extract.sample import Sample
from relope_jax.errors import ReLopeError
from relope_jax.states.manifest import Identity
from relope_jax.states.store import Store

SAME = ("prompt_hash", "questions")
COLUMNS = ["response", "finish_reason", "final_answer", "label", "token_logprobs", "first_token_entropy"]


class Labels:
    """What the small model answered in another store, by sample.

    Raises:
      ReLopeError: there is no such store, or it was made with another model, prompt or dataset.
    """

    def __init__(self, url: str, identity: Identity):
        store = Store(url)
        if different := _differing(store.identity, identity):
            raise ReLopeError(f"extract.labels_from={url} has labels of something else: {different[0]} differs")
        self._url, self.digest = url, store.digest
        rows = store.samples.select(["sample_id", "question", "answer", *COLUMNS]).to_pylist()
        self._rows = {row["sample_id"]: row for row in rows}

    def columns(self, sample: Sample) -> dict[str, Any]:
        """The columns about the answer; raises LeftOut when that store has no such question."""
        row = self._rows.get(sample.sample_id)
        if row is None or (row["question"], row["answer"]) != (sample.question, sample.answer):
            raise LeftOut(f"{self._url} has no label of this question")
        return {name: row[name] for name in COLUMNS}


def _differing(theirs: Identity, mine: Identity) -> list[str]:
    """What must be the same for a label to be the same; the variant and what is captured may differ."""
    different = [] if mine.same_model(theirs) else ["the model"]
    different += [name for name in SAME if getattr(mine, name) != getattr(theirs, name)]
    return different + (["dataset"] if mine.dataset["name"] != theirs.dataset["name"] else [])
