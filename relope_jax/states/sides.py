"""Which rows of several stores belong together, and which of them may stay so that all are on one side of the split."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDES = ("train", "validation", "test")  # a group stays on the last of those that its rows are on


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
