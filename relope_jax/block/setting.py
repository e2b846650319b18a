"""The kind of number in a module that is neither trained nor frozen."""

from __future__ import annotations

from flax import nnx


class Setting(nnx.Variable):
    """A number of the module that the members of an ensemble may differ in: its dropout, its LoRA's scale."""
