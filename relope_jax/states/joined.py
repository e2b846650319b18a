"""Train on some stores, test on another: several stores of one model that read like one store."""

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
SIDES = ("train", "validation", "test")  # a group stays on the last of those that its rows are on


class JoinedStore(ReadableStore):
    """The training and validation prompts of `sources` and the test prompts of `target`, read like one `Store`.

    Prompts of different stores that share an image (or, without images, the question and its choices) are on one side
    of the split: the test split keeps its prompts, then the validation split; the others are left out.

    Ids and groups of a source follow its store's name, `NAME/ID`, so that equal ids of two stores stay two samples.
    Those of the target stay as they are. Tables of answers call samples by the ids of their own store: see `pieces`.

    Attributes:
      left_out: how many prompts of a split ("train", "validation") were left out.

    Raises:
      ReLopeError: the stores are of different models, layers or dtypes, have questions of one dataset in common, or
        do not say what their images are.
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
        # The target's groups keep their names: they are the same whatever was trained on.
        groups = np.where(owner == len(sources), groups, names_of(groups, connected))
        self._samples = _with_column(table, "group", groups.tolist()).filter(pa.array(kept))
        if len(set(self._samples["sample_id"].to_pylist())) < len(self._samples):
            raise ReLopeError(f"ids of the stores trained on are ids of {target.path}, too: rename a store's folder")

    @property
    def pieces(self) -> list[Piece]:
        """The rows of every store that stay, the target's last."""
        return self._pieces

    @property
    def samples(self) -> pa.Table:
        """Those rows of the stores' sample tables, back to back."""
        return self._samples

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
        return [store.digest for store, _ in self.pieces]

    @functools.cached_property
    def digest(self) -> str:
        """Of all stores, in their order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def states(self, rows: Rows | None = None) -> TokenStates:
        """States of the given rows, in that order, or of all; read into one array, as those of one store are."""
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
        """Where every store's rows begin when all rows of all stores are numbered."""
        return np.cumsum([0, *(len(store.samples) for store, _ in self.pieces)])

    @functools.cached_property
    def _numbers(self) -> Rows:
        """The chosen rows in that numbering."""
        return np.concatenate([rows + first for (_, rows), first in zip(self.pieces, self._firsts, strict=False)])


def _rows(store: Store, splits: Sequence[str]) -> Rows:
    return np.sort(np.concatenate([store.rows(split) for split in splits]))


def _names(sources: Sequence[Store]) -> list[str]:
    """What the sources are called: their folders, numbered where two have one name."""
    names = [Path(source.path).name for source in sources]
    return [name if names.count(name) == 1 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _named(piece: Piece, prefix: str) -> pa.Table:
    """The rows of a piece, their ids and groups after `prefix`."""
    table = piece.store.samples.take(piece.rows)
    if table["contents"].null_count:
        raise ReLopeError(
            f"{piece.store.path} does not say which images its questions share with other stores: "
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
        raise ReLopeError(f"{target.path} and the stores trained on have questions in common: are they the same?")


def _origin(store: ReadableStore) -> tuple[str, str]:
    """Which dataset, and which file of it."""
    dataset = store.identity.dataset
    return dataset["name"], dataset.get("sha256") or dataset["path"]  # the path is only a name


def _require_same_model(target: Store, source: Store) -> None:
    """The frozen blocks must be equal to the byte: one router is trained on the states of all."""
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
    """A number for every row, the same for rows that belong together: they share a group or a content (an image, or the
    text of a question without one), and so do chains of such rows.

    Args:
      groups: of every row; equal ones are the same group.
      contents: digests of what every row holds.
    """
    n = len(groups)
    nodes: dict[Hashable, int] = {}  # of groups and contents, numbered after the rows
    owners = np.repeat(np.arange(n), [1 + len(own) for own in contents])
    keys = [key for group, own in zip(groups, contents, strict=True) for key in (("group", group), *own)]
    linked = np.array([nodes.setdefault(key, n + len(nodes)) for key in keys], np.int64)
    links = coo_array((np.ones(len(keys), np.int8), (owners, linked)), shape=(n + len(nodes), n + len(nodes)))
    return connected_components(links, directed=False)[1][:n]


def on_one_side(split: Sequence[str], connected: Int[np.ndarray, "rows"]) -> Bool[np.ndarray, "rows"]:
    """Which rows may stay: those on the last side that rows connected with them are on. A training row goes when the
    validation or the test split holds its image, a validation row when the test split does."""
    side = np.array([SIDES.index(name) for name in split], np.int64)
    last = np.zeros(connected.max(initial=-1) + 1, np.int64)
    np.maximum.at(last, connected, side)
    return side == last[connected]


def names_of(groups: Sequence[str], connected: Int[np.ndarray, "rows"]) -> list[str]:
    """One name for rows that belong together: the group of the first of them."""
    first: dict[int, str] = {}
    return [first.setdefault(int(number), group) for number, group in zip(connected, groups, strict=True)]
