"""Which module of ours imports which: read from the source, imports inside functions included."""

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
    """The modules of ours that this one imports."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {owner_of(node.module, alias.name) for alias in node.names}
    return frozenset(found & modules().keys() - {module})


def owner_of(module: str, name: str) -> str:
    """What `from module import name` loads: the submodule `name`, or the module that defines it."""
    return f"{module}.{name}" if f"{module}.{name}" in modules() else module


def room(module: str) -> str:
    """The subpackage or file right below the package."""
    return module.split(".")[1] if "." in module else module


def circles(graph: dict[str, frozenset[str]]) -> set[str]:
    """Nodes that lie on a circle, or between two of them: what is left when leaves and roots are taken away."""
    left = set(graph)
    while True:
        imported_by = {target for node in left for target in graph[node]}
        ends = {node for node in left if not graph[node] & left or node not in imported_by}
        if not ends:
            return left
        left -= ends
