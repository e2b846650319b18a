"""Tables of answers, aligned with the samples of a store or of several joined stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int

from relope_jax.errors import ReLopeError
from relope_jax.states.answers import Answers, answer_names
from relope_jax.states.view import ReadableStore

T = TypeVar("T")
UNKNOWN = -1  # label of a sample without an answer


@dataclasses.dataclass(frozen=True)
class Answered:
    """The answers with one name to all samples, looked up in each sample's own store by its id there.

    Attributes:
      tables: for every piece, its table of answers (None if its store has none with that name) and its samples' ids.
    """

    name: str
    tables: tuple[tuple[Answers | None, list[str]], ...]

    @staticmethod
    def find(store: ReadableStore, name: str, same: Sequence[str] = ()) -> Answered | None:
        """Find the answers `name`; None if no store has any.

        Args:
          same: settings that must be equal in the tables of all stores.

        Raises:
          ReLopeError: a table is damaged or belongs to another store, or two tables have different settings.
        """
        found = [
            Answers.load(piece.store.path, name) if name in answer_names(piece.store.path) else None
            for piece in store.pieces
        ]
        there = [(piece.store.path, table) for piece, table in zip(store.pieces, found, strict=True) if table]
        for path, table in there[:-1]:
            last_path, last = there[-1]
            for field in same:
                mine, theirs = table.settings.get(field), last.settings.get(field)
                if mine != theirs:
                    raise ReLopeError(
                        f"the answers '{name}' of {path} and of {last_path} have different settings "
                        f"({field}: {mine!r} != {theirs!r}): make them again with the same settings"
                    )
        ids = [piece.sample_ids for piece in store.pieces]
        return Answered(name, tuple(zip(found, ids, strict=True))) if there else None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the last store that has a table: the test store, if it has one."""
        return [table for table, _ in self.tables if table][-1].settings

    def each(self, read: Callable[[Answers, list[str]], Iterable[T]], missing: T) -> list[T]:
        """The result of `read` for every sample, table by table; `missing` if its store has no table."""
        return [value for table, ids in self.tables for value in (read(table, ids) if table else [missing] * len(ids))]

    def has(self) -> Bool[np.ndarray, "samples"]:
        """Whether each sample has all the answers that were requested."""
        return np.array(self.each(lambda table, ids: table.has(ids), False), dtype=bool)

    def labels(self) -> Int[np.ndarray, "samples"]:
        """Whether the greedy answer to each sample is right, 0 or 1; UNKNOWN if there is none.

        Raises:
          ReLopeError: these are sampled answers.
        """
        return np.array(self.each(_labels, UNKNOWN), np.int64)

    def sampled(self, column: str, style: str) -> list[list[Any]]:
        """One column of each sample's answers in one style; empty if there are none."""
        return self.each(lambda table, ids: table.sampled(column, style, ids), [])


def _labels(table: Answers, ids: list[str]) -> Int[np.ndarray, "samples"]:
    labels = np.full(len(ids), UNKNOWN, np.int64)
    known = np.flatnonzero(table.has(ids))
    labels[known] = table.labels([ids[i] for i in known])
    return labels
