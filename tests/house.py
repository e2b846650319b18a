"""Which of our modules imports which: read from the source, including imports inside functions."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests import ROOT

PACKAGES = ("relope_jax", "extract", "experiments")


@functools.cache
def modules() -> dict[str, Path]:
    """The file of every module; a package's name stands for its `__init__.py`."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return dict(zip([name.removesuffix(".__init__") for name in names], files, strict=True))


@functools.cache
def imported(module: str) -> frozenset[str]:
    """The modules of ours that `module` imports."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {owner_of(node.module, alias.name) for alias in node.names}
    return frozenset(found & modules().keys() - {module})


def owner_of(module: str, name: str) -> str:
    """The module that `from module import name` loads: the submodule `name`, or the one that defines it."""
    return f"{module}.{name}" if f"{module}.{name}" in modules() else module


def room(module: str) -> str:
    """The subpackage or file directly below the package."""
    return module.split(".")[1] if "." in module else module


def circles(graph: dict[str, frozenset[str]]) -> set[str]:
    """Nodes on a cycle, or between two cycles: those left after repeatedly removing leaves and roots."""
    left = set(graph)
    while True:
        imported_by = {target for node in left for target in graph[node]}
        ends = {node for node in left if not graph[node] & left or node not in imported_by}
        if not ends:
            return left
        left -= ends
