"""The devices that share a batch, on one or several hosts."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from relope_jax.errors import ReLopeError

AXIS = "batch"
Tree = TypeVar("Tree")


def is_primary() -> bool:
    """Whether this process writes files and prints."""
    return jax.process_index() == 0


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh of the first `devices` devices of all hosts, or of all devices.

    Raises:
      ReLopeError: there are fewer devices, or only some devices of several hosts are requested.
    """
    found = jax.devices()
    if devices and jax.process_count() > 1:
        raise ReLopeError("several processes always use all of their devices: leave out --config.engine.devices")
    if devices > len(found):
        raise ReLopeError(f"engine.devices is {devices}, but there are {len(found)}: set --config.engine.devices=0")
    return Mesh(np.array(found[: devices or len(found)]), (AXIS,))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The arrays of `tree`, equal on all processes, replicated on every device."""
    return jax.tree.map(lambda x: _place(x, NamedSharding(mesh, PartitionSpec())), tree)


def sharded(mesh: Mesh, tree: Any, axis: int) -> Any:
    """The arrays of `tree`, equal on all processes, with `axis` sharded over the devices."""
    return jax.tree.map(lambda x: _place(x, sharding(mesh, axis)), tree)


def sharded_parts(mesh: Mesh, tree: Any) -> Any:
    """The arrays of `tree`, sharded over the devices; every process has its own part of axis 0."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding(mesh, 0), x), tree)


def own_part(mesh: Mesh, size: int) -> slice:
    """This process's slice of a sharded axis with `size` entries."""
    n = size // mesh.size * len(mesh.local_devices)
    return slice(jax.process_index() * n, (jax.process_index() + 1) * n)


def sharding(mesh: Mesh, axis: int) -> NamedSharding:
    """A sharding of `axis` only."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def keep_replicated(mesh: Mesh, tree: Tree) -> Tree:
    """Inside jit: keep the arrays of `tree` replicated on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def to_host(tree: Any) -> Any:
    """`tree`, whose arrays are replicated, as numpy arrays."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)


def barrier(name: str) -> None:
    """Wait until all processes reach this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agreed(decision: bool) -> bool:
    """The primary process's decision."""
    return bool(from_primary(int(decision)))


def from_primary(number: int) -> int:
    """The primary process's number."""
    return int(multihost_utils.broadcast_one_to_all(np.array(number))) if jax.process_count() > 1 else number


def _place(x: Any, target: NamedSharding) -> Array:
    if jax.process_count() == 1:
        return jax.device_put(x, target)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_place(jax.random.key_data(x), target))
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, target, lambda index: x[index])
