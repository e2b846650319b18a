"""Reads tables of answers to a store's questions; they may come from untrusted sources."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int8

from relope_jax.errors import ReLopeError, first_line, nearest
from relope_jax.io import limits
from relope_jax.io.inside import shown_name
from relope_jax.io.place import Place, open_place
from relope_jax.states.answer_files import (
    FOLDER,
    is_answer_name,
    parse_answer_table,
    parse_sidecar,
    sidecar_name,
    table_name,
)
from relope_jax.states.manifest import MANIFEST


@dataclasses.dataclass(frozen=True)
class Answers:
    """A finished table of answers.

    Attributes:
      table: one row per (sample, style, index), see `answer_files.ANSWER_SCHEMA`.
      settings: the sidecar: the model and its settings, totals, and the questions that were left out.
    """

    name: str
    table: pa.Table
    settings: dict[str, Any]

    @staticmethod
    def load(store: str | Path, name: str) -> Answers:
        """Load the answers `name` of a store: a folder, or an s3:// or gs:// URL.

        Raises:
          ReLopeError: there are none with that name, they are damaged, or they belong to another store.
        """
        place = open_place(store)
        if not is_answer_name(name):
            raise ReLopeError(f"{shown_name(name)} is not a valid name for answers of {store}")
        sidecar = sidecar_name(name)
        if not place.exists(sidecar):
            names = answer_names(store)
            there = f"there are: {', '.join(names)}" if names else "it has none yet"
            raise ReLopeError(
                f"{store} has no answers '{name}'{nearest(name, names)}; {there}; "
                f"make them with `python -m extract.answer --config=... --config.answers.name={name}`"
            )
        again = f"delete {place.url}/{sidecar} and run `python -m extract.answer` again; paid answers are in its cache"
        try:
            settings = read_sidecar(place, name)
            data = place.read(table_name(name, settings["sha256"]))
            if hashlib.sha256(data).hexdigest() != settings["sha256"]:
                raise ValueError("the table changed")
            table = parse_answer_table(data, settings)
            belongs = settings["store_manifest"] == place.sha256(MANIFEST)
        except (FileNotFoundError, ValueError, ReLopeError) as error:
            raise ReLopeError(f"the answers '{name}' of {store} are damaged ({first_line(error)}): {again}") from error
        if not belongs:
            raise ReLopeError(f"the answers '{name}' belong to an earlier version of {store}: {again}")
        return Answers(name, table, settings)

    def labels(self, sample_ids: Sequence[str]) -> Int8[np.ndarray, "samples"]:
        """Whether the greedy answer to each sample is right, 0 or 1.

        Raises:
          ReLopeError: these are sampled answers, or a sample has none (see `has`).
        """
        if self.settings["samples"]:
            raise ReLopeError(
                f"the answers '{self.name}' are sampled, {self.settings['samples']} per prompt: make greedy "
                "ones with --config.answers.samples=0"
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
        """Whether each sample has all the answers that were requested."""
        wanted = len(self.settings["styles"]) * max(self.settings["samples"], 1)
        return np.array([len(self._rows_by_sample.get(i, ())) == wanted for i in sample_ids], dtype=bool)

    def sampled(self, column: str, style: str, sample_ids: Sequence[str]) -> list[list[Any]]:
        """One column of each sample's answers in one style, by index; for example "final_answer" for votes."""
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
    files = open_place(store).names(f"{FOLDER}/")
    names = [file[len(FOLDER) + 1 : -len(".json")] for file in files if file.endswith(".json")]
    return sorted(filter(is_answer_name, names))  # ignore foreign files


def read_sidecar(place: Place, name: str) -> dict[str, Any]:
    """Read and check the sidecar of a store's answers.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a sidecar of these answers.
      ReLopeError: it cannot be read, or is too large.
    """
    return parse_sidecar(place.read(sidecar_name(name), limits.JSON), name)
