"""Reads tables of answers to a store's questions: STORE/answers/NAME.parquet and its sidecar NAME.json."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int8

from relope_jax.errors import ReLopeError, nearest
from relope_jax.states.manifest import MANIFEST
from relope_jax.states.place import open_place
from relope_jax.states.tables import parse_table

FOLDER = "answers"

ANSWER_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("style", pa.string()),  # the prompt's style: "direct" or "steps"
        ("index", pa.int32()),  # 0 for the greedy answer; numbers the sampled ones
        ("response", pa.string()),
        ("final_answer", pa.string()),  # normalised: two responses with the same one agree
        ("label", pa.int8()),  # 1 when the response is right
        ("token_logprobs", pa.list_(pa.float32())),  # null when the server gives none
        ("prompt_tokens", pa.int32()),  # null when the server does not count
        ("completion_tokens", pa.int32()),
        ("cost", pa.float64()),  # dollars
        ("finish_reason", pa.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Answers:
    """A finished table of answers.

    Attributes:
      table: one row a (sample, style, index), see `ANSWER_SCHEMA`.
      settings: the sidecar: who was asked and how, totals, and which questions were left out.
    """

    name: str
    table: pa.Table
    settings: dict[str, Any]

    @staticmethod
    def load(store: str | Path, name: str) -> Answers:
        """The answers `name` of a store, a folder or an s3:// or gs:// URL.

        Raises:
          ReLopeError: there are none of that name, they are damaged, or they belong to another store.
        """
        place = open_place(store)
        sidecar = f"{FOLDER}/{name}.json"
        if not place.exists(sidecar):
            names = answer_names(store)
            there = f"there are: {', '.join(names)}" if names else "it has none yet"
            raise ReLopeError(
                f"{store} has no answers '{name}'{nearest(name, names)}; {there}; "
                f"make them with `python -m extract.answer --config=... --config.answers.name={name}`"
            )
        again = f"delete {place.url}/{sidecar} and run `python -m extract.answer` again; paid answers are in its cache"
        try:
            settings = json.loads(place.read(sidecar))
            data = place.read(f"{FOLDER}/{name}.parquet")
            whole = hashlib.sha256(data).hexdigest() == settings["sha256"]
            belongs = settings["store_manifest"] == place.sha256(MANIFEST)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise ReLopeError(f"the answers '{name}' of {store} are damaged ({error}): {again}") from error
        if not whole:
            raise ReLopeError(f"the answers '{name}' of {store} are damaged (the table changed): {again}")
        if not belongs:
            raise ReLopeError(f"the answers '{name}' belong to an earlier {store} that was made again since: {again}")
        return Answers(name, parse_table(data), settings)

    def labels(self, sample_ids: Sequence[str]) -> Int8[np.ndarray, "samples"]:
        """Whether the greedy answer to each sample is right, 0 or 1.

        Raises:
          ReLopeError: these are sampled answers, or a sample has none (`has` tells which have).
        """
        if self.settings["samples"]:
            raise ReLopeError(
                f"the answers '{self.name}' are sampled, {self.settings['samples']} a prompt: for one greedy answer "
                "make others with --config.answers.samples=0"
            )
        found = self._rows_by_sample
        if missing := [sample_id for sample_id in sample_ids if sample_id not in found]:
            raise ReLopeError(
                f"the answers '{self.name}' lack {len(missing)} of {len(sample_ids)} samples, the first "
                f"'{missing[0]}': run the same `python -m extract.answer` again, or leave these samples out"
            )
        labels = self.table["label"].to_numpy()
        return labels[[found[sample_id][0] for sample_id in sample_ids]]

    def has(self, sample_ids: Sequence[str]) -> Bool[np.ndarray, "samples"]:
        """For each sample whether all answers that were asked for are there."""
        wanted = len(self.settings["styles"]) * max(self.settings["samples"], 1)
        return np.array([len(self._rows_by_sample.get(i, ())) == wanted for i in sample_ids], dtype=bool)

    def sampled(self, column: str, style: str, sample_ids: Sequence[str]) -> list[list[Any]]:
        """A column's values of each sample's answers under one style, by index; such as "final_answer" for votes."""
        values, styles = self.table[column].to_pylist(), self.table["style"].to_pylist()
        rows = self._rows_by_sample
        return [[values[row] for row in rows.get(i, ()) if styles[row] == style] for i in sample_ids]

    @functools.cached_property
    def _rows_by_sample(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, sample_id in enumerate(self.table["sample_id"].to_pylist()):
            rows.setdefault(sample_id, []).append(row)
        return rows


def answer_names(store: str | Path) -> list[str]:
    """Names of a store's finished tables of answers, sorted."""
    names = open_place(store).names(f"{FOLDER}/")
    return [name[len(FOLDER) + 1 : -len(".json")] for name in names if name.endswith(".json")]
