"""Training on some stores and testing on another: several stores of one model, read as one."""

from __future__ import annotations

import collections
import functools
import hashlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError
from relope_jax.io.tables import stack_tables
from relope_jax.states.layout import block_name
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates
from relope_jax.states.reader import read_rows
from relope_jax.states.store import Store
from relope_jax.states.view import Piece, ReadableStore

Rows = Int[np.ndarray, "rows"]
SIDES = ("train", "validation", "test")  # a group stays in the last of these that has one of its rows


class JoinedStore(ReadableStore):
    """The training and validation prompts of `sources` and the test prompts of `target`, read as one `Store`.

    Prompts of different stores that share an image (or, without images, the question and its choices) must be in one
    split. The test split has priority, then the validation split; conflicting prompts of the others are left out.

    Ids and groups of a source are prefixed with its store's name, `NAME/ID`, so that equal ids of two stores stay
    distinct. Those of the target do not change. Tables of answers use the ids of their own store: see `pieces`.

    Attributes:
      left_out: number of prompts left out per split ("train", "validation").

    Raises:
      ReLopeError: the stores differ in model, layer or dtype, share questions of one dataset, or do not record their
        images.
    """

    def __init__(self, target: Store, sources: Sequence[Store]):
        for source in sources:
            _require_same_model(target, source)
        self.target, self.path, self._stores = target, target.path, [*sources, target]
        pieces = [Piece(source, _rows(source, ("train", "validation"))) for source in sources]
        pieces.append(Piece(target, _rows(target, ("test",))))
        _require_different_questions(target, pieces)

        owner = np.repeat(np.arange(len(pieces)), [len(piece.rows) for piece in pieces])
        table = stack_tables(list(map(_named, pieces, [*(f"{name}/" for name in _names(sources)), ""])))
        split, groups = table["split"].to_pylist(), table["group"].to_pylist()
        connected = connected_rows(list(zip(owner, groups, strict=True)), table["contents"].to_pylist())
        kept = on_one_side(split, connected)
        self.left_out = dict(collections.Counter(name for name, stays in zip(split, kept, strict=True) if not stays))
        self._pieces = [Piece(store, rows[kept[owner == i]]) for i, (store, rows) in enumerate(pieces)]
        # The target's groups keep their names, so that they do not depend on the training stores.
        groups = np.where(owner == len(sources), groups, names_of(groups, connected))
        self._samples = _with_column(table, "group", groups.tolist()).filter(pa.array(kept))
        if len(set(self._samples["sample_id"].to_pylist())) < len(self._samples):
            raise ReLopeError(f"the training stores and {target.path} share sample ids: rename a store's folder")

    @property
    def pieces(self) -> list[Piece]:
        """The remaining rows of every store, the target's last."""
        return self._pieces

    @property
    def samples(self) -> pa.Table:
        """The remaining rows of the stores' sample tables, concatenated."""
        return self._samples

    @property
    def layer(self) -> int:
        return self.target.layer

    @property
    def identity(self) -> Identity:
        """The identity of the target, on which the router is tested."""
        return self.target.identity

    @property
    def block(self) -> Block:
        return self.target.block

    @property
    def token_bytes(self) -> int:
        return self.target.token_bytes

    @property
    def digests(self) -> list[str]:
        """The digests of all stores, the target's last."""
        return [store.digest for store, _ in self.pieces]

    @functools.cached_property
    def digest(self) -> str:
        """One digest for all stores, in order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def states(self, rows: Rows | None = None) -> TokenStates:
        """States of the given rows, in that order, or of all rows, read into one array."""
        numbers = self._numbers if rows is None else self._numbers[np.asarray(rows)]
        readers = [reader for store in self._stores for reader in store.readers]
        starts = [store.starts[:-1] + first for store, first in zip(self._stores, self._firsts, strict=False)]
        lengths = np.concatenate([store.column("n_tokens") for store in self._stores])
        return read_rows(readers, np.concatenate([*starts, self._firsts[-1:]]), lengths, numbers)

    def last_hidden(self) -> Float[np.ndarray, "samples d"]:
        """z_n^(l) of all samples."""
        return self._vectors(lambda store: store.last_hidden())

    def output_embedding(self) -> Float[np.ndarray, "samples d"]:
        """The small model's last layer averaged over its answer."""
        return self._vectors(lambda store: store.output_embedding())

    def text_embedding(self, name: str) -> Float[np.ndarray, "samples d"]:
        """The sentence embeddings `name` of all samples, each from its own store."""
        return self._vectors(lambda store: store.text_embedding(name))

    def _vectors(self, read: Callable[[ReadableStore], Float[np.ndarray, "_ d"]]) -> Float[np.ndarray, "samples d"]:
        return np.concatenate([read(store)[rows] for store, rows in self.pieces])

    @functools.cached_property
    def _firsts(self) -> Int[np.ndarray, "stores_plus_1"]:
        """The number of every store's first row, if all rows of all stores are numbered."""
        return np.cumsum([0, *(len(store.samples) for store, _ in self.pieces)])

    @functools.cached_property
    def _numbers(self) -> Rows:
        """The remaining rows in that numbering."""
        return np.concatenate([rows + first for (_, rows), first in zip(self.pieces, self._firsts, strict=False)])


def _rows(store: Store, splits: Sequence[str]) -> Rows:
    return np.sort(np.concatenate([store.rows(split) for split in splits]))


def _names(sources: Sequence[Store]) -> list[str]:
    """Names of the sources: their folders, numbered if two are equal."""
    names = [Path(source.path).name for source in sources]
    return [name if names.count(name) == 1 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _named(piece: Piece, prefix: str) -> pa.Table:
    """The rows of a piece, with `prefix` before ids and groups."""
    table = piece.store.samples.take(piece.rows)
    if table["contents"].null_count:
        raise ReLopeError(
            f"{piece.store.path} does not record which images its questions share with other stores: "
            "delete it and extract it again"
        )
    for name in ("sample_id", "group"):
        table = _with_column(table, name, [f"{prefix}{text}" for text in table[name].to_pylist()])
    return table


def _with_column(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))


def _require_different_questions(target: Store, pieces: list[Piece]) -> None:
    origins = [(_origin(piece.store), name) for piece in pieces for name in piece.sample_ids]
    if len(set(origins)) < len(origins):
        raise ReLopeError(f"{target.path} and the training stores have questions in common: are they the same store?")


def _origin(store: ReadableStore) -> tuple[str, str]:
    """The dataset and its file."""
    dataset = store.identity.dataset
    return dataset["name"], dataset.get("sha256") or dataset["path"]  # the path is only a name


def _require_same_model(target: Store, source: Store) -> None:
    """Require identical frozen blocks, since one router is trained on the states of all stores."""
    name = block_name(target.layer)
    if source.layer != target.layer or source.manifest.blocks[name] != target.manifest.blocks[name]:
        raise ReLopeError(
            f"{source.path} and {target.path} hold states of different models or layers: "
            "extract both with the same config.model and extract.layer"
        )
    if source.identity.state_dtype != target.identity.state_dtype:
        raise ReLopeError(
            f"{source.path} holds states in {source.identity.state_dtype}, {target.path} in "
            f"{target.identity.state_dtype}: extract both with the same extract.state_dtype"
        )


def connected_rows(groups: Sequence[Hashable], contents: Sequence[Sequence[str]]) -> Int[np.ndarray, "rows"]:
    """The connected component of every row, as a number. Rows are connected if they share a group or a content (an
    image, or the text of a question without one).

    Args:
      groups: the group of every row.
      contents: digests of the contents of every row.
    """
    n = len(groups)
    nodes: dict[Hashable, int] = {}  # groups and contents, numbered after the rows
    owners = np.repeat(np.arange(n), [1 + len(own) for own in contents])
    keys = [key for group, own in zip(groups, contents, strict=True) for key in (("group", group), *own)]
    linked = np.array([nodes.setdefault(key, n + len(nodes)) for key in keys], np.int64)
    links = coo_array((np.ones(len(keys), np.int8), (owners, linked)), shape=(n + len(nodes), n + len(nodes)))
    return connected_components(links, directed=False)[1][:n]


def on_one_side(split: Sequence[str], connected: Int[np.ndarray, "rows"]) -> Bool[np.ndarray, "rows"]:
    """Which rows may stay: those in the last split that any row of their component is in. A training row is dropped if
    the validation or test split has its image, a validation row if the test split has it."""
    side = np.array([SIDES.index(name) for name in split], np.int64)
    last = np.zeros(connected.max(initial=-1) + 1, np.int64)
    np.maximum.at(last, connected, side)
    return side == last[connected]


def names_of(groups: Sequence[str], connected: Int[np.ndarray, "rows"]) -> list[str]:
    """One name per component: the group of its first row."""
    first: dict[int, str] = {}
    return [first.setdefault(int(number), group) for number, group in zip(connected, groups, strict=True)]
