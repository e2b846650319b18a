"""Train on some stores, test on another: several stores of one model that read like one store."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from relope_jax.errors import ReLopeError
from relope_jax.models.block_spec import Block
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates, concatenate
from relope_jax.states.store import Store
from relope_jax.states.tables import prompts_of, stack_tables
from relope_jax.states.writer import block_name

Rows = Int[np.ndarray, "rows"]


class JoinedStore:
    """The training and validation prompts of `sources` and the test prompts of `target`, read like one `Store`.

    Raises:
      ReLopeError: the stores are of different models or layers, or have questions of one dataset in common.
    """

    def __init__(self, target: Store, sources: Sequence[Store]):
        for source in sources:
            _require_same_model(target, source)
        self._pieces = [(source, _rows(source, ("train", "validation"))) for source in sources]
        self._pieces.append((target, _rows(target, ("test",))))
        self.target = target
        self.path, self.place, self.manifest = target.path, target.place, target.manifest
        origins = [(_origin(store), name) for store, rows in self._pieces for name in store.column("sample_id")[rows]]
        if len(set(origins)) < len(origins):
            raise ReLopeError(f"{target.path} and the stores trained on have questions in common: are they the same?")
        self._ambiguous = len({name for _, name in origins}) < len(origins)  # datasets that both number from 1

    @property
    def layer(self) -> int:
        return self.target.layer

    @property
    def identity(self) -> Identity:
        """The target's: what the router is tested on."""
        return self.target.identity

    @property
    def block(self) -> Block:
        return self.target.block

    @property
    def token_bytes(self) -> int:
        return self.target.token_bytes

    @property
    def digests(self) -> list[str]:
        """Of every store, the target's last."""
        return [store.digest for store, _ in self._pieces]

    @property
    def members(self) -> list[Store]:
        """The stores themselves, the target last."""
        return [store for store, _ in self._pieces]

    @functools.cached_property
    def digest(self) -> str:
        """Of all stores, in their order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    @functools.cached_property
    def samples(self) -> pa.Table:
        """The chosen rows of every store, back to back. Ids that two datasets share are told apart: those trained on
        follow their store's name."""
        tables = [store.samples.take(rows) for store, rows in self._pieces]
        if self._ambiguous:
            sources = [store for store, _ in self._pieces[:-1]]
            tables = [*map(_renamed, tables[:-1], sources), tables[-1]]
        return stack_tables(tables)

    def column(self, name: str) -> np.ndarray:
        """A column of the sample table as numpy."""
        return self.samples[name].to_numpy()

    @functools.cached_property
    def prompts(self) -> list[str]:
        """What the small model was asked, in words."""
        return prompts_of(self.samples)

    def rows(self, split: str) -> Rows:
        """Row numbers of one split."""
        return np.flatnonzero(self.column("split") == split)

    def states(self, rows: Rows | None = None) -> TokenStates:
        """States of the given rows, in that order, or of all."""
        rows = np.arange(self._starts[-1]) if rows is None else np.asarray(rows)
        order = np.argsort(rows, kind="stable")  # a store at a time
        asked, cuts = rows[order], np.searchsorted(rows[order], self._starts)
        read = [
            store.states(chosen[asked[begin:end] - start])
            for (store, chosen), start, begin, end in zip(
                self._pieces, self._starts[:-1], cuts[:-1], cuts[1:], strict=True
            )
            if end > begin
        ]
        return concatenate(read).select(np.argsort(order, kind="stable"))

    def last_hidden(self) -> Float[np.ndarray, "samples d"]:
        """z_n^(l) of all samples."""
        return self._vectors(Store.last_hidden)

    def output_embedding(self) -> Float[np.ndarray, "samples d"]:
        """The small model's last layer averaged over its answer."""
        return self._vectors(Store.output_embedding)

    def text_embedding(self, name: str) -> Float[np.ndarray, "samples d"]:
        """The sentence embeddings `name` of all samples, each from its own store."""
        return self._vectors(lambda store: store.text_embedding(name))

    def _vectors(self, read: Callable[[Store], np.ndarray]) -> Float[np.ndarray, "samples d"]:
        return np.concatenate([read(store)[rows] for store, rows in self._pieces])

    @functools.cached_property
    def _starts(self) -> Int[np.ndarray, "pieces_plus_1"]:
        return np.cumsum([0, *(len(rows) for _, rows in self._pieces)])


def _rows(store: Store, splits: Sequence[str]) -> Rows:
    return np.sort(np.concatenate([store.rows(split) for split in splits]))


def _origin(store: Store) -> tuple[str, str]:
    """Which dataset, and which file of it."""
    dataset = store.identity.dataset
    return dataset["name"], dataset.get("sha256") or dataset.get("path", "")  # the path is only a name


def _renamed(table: pa.Table, store: Store) -> pa.Table:
    ids = [f"{Path(store.path).name}/{name}" for name in table["sample_id"].to_pylist()]
    return table.set_column(table.schema.get_field_index("sample_id"), "sample_id", pa.array(ids))


def _require_same_model(target: Store, source: Store) -> None:
    """The frozen blocks must be equal to the byte: one router is trained on the states of all."""
    name = block_name(target.layer)
    if source.layer != target.layer or source.manifest.blocks[name] != target.manifest.blocks[name]:
        raise ReLopeError(
            f"{source.path} and {target.path} hold states of different models or layers: "
            "extract both with the same config.model and extract.layer"
        )
