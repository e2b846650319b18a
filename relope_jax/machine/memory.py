"""Free memory on the device, on the machine, and within the limits of the container or job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Free bytes on the first local device or on the host, whichever is less: resident states are on both."""
    host = host_memory(proc, cgroups)
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return min(host, stats["bytes_limit"] - stats["bytes_in_use"])
    return host


def host_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that this process can still allocate, given the machine's free memory and all limits of its control groups
    (Docker, Kubernetes, Slurm, systemd)."""
    return max(0, min([_of_machine(proc), *_of_groups(proc, cgroups)]))


def _of_machine(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields.get("MemAvailable", fields["MemFree"]).split()[0]) * 1024


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Free bytes within each control group of this process and its parents."""
    for root, group in _memory_groups(proc, cgroups):
        inside = root / group.lstrip("/")
        for folder in (inside, *inside.parents):
            if not folder.is_relative_to(root):
                break
            # A container often sees its own group at the root, not at the host's path.
            limits = [_number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
            if known := [limit for limit in limits if limit is not None]:
                yield min(known) - (used - _reclaimable(folder, used))


def _memory_groups(proc: Path, cgroups: Path) -> Iterator[tuple[Path, str]]:
    """Roots of the hierarchies that limit memory, and this process's group in each."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2, at the root or next to version 1
            yield (cgroups / "unified" if (cgroups / "unified").is_dir() else cgroups), group
        elif "memory" in controllers.split(","):
            yield cgroups / "memory", group


def _number(path: Path) -> int | None:
    """The number in a file; None if there is no file or no limit ("max")."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path, used: int) -> int:
    """Bytes of `used` that are inactive file cache, which the kernel reclaims before an allocation fails."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    counts = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
    return min(used, counts.get("total_inactive_file", counts.get("inactive_file", 0)))
