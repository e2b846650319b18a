"""The structure of the code: which module may import which."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import ROOT
from tests.house import PACKAGES, circles, imported, modules, room

FORBIDDEN = {"relope_jax": {"torch", "transformers", "extract", "experiments"}, "extract": {"experiments"}}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


# The rooms of every package, lowest first: a room imports from its own line and from the lines above it here.
FLOORS = {
    "relope_jax": (
        "machine_errors precision", "errors", "io", "config", "block", "states", "models", "metrics", "machine", "data",
        "baselines", "methods", "run_schema", "training", "run", "relope_jax",
    ),
    "extract": (
        "text sample", "spec", "input_spec imaging model_files", "grading", "datasets", "toy", "source", "backbone",
        "queries", "plan", "answers", "job", "run answer cluster embed inspect regrade verify extract",
    ),
    "experiments": (
        "experiments", "configs say", "runs", "report", "pipeline", "calibration", "sweeps", "sweep", "studies",
        "benchmarks", "run calibrate export_peft bench cli",
    ),
}  # fmt: skip
MOST_MODULES = 15  # loose in one folder


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    floors = {name: height for height, rooms in enumerate(FLOORS[package]) for name in rooms.split()}
    own = {module for module in modules() if module.split(".")[0] == package}
    assert {room(module) for module in own} == floors.keys()
    upward = [
        f"{module} imports {target}"
        for module in sorted(own)
        for target in sorted(imported(module) & own)
        if room(target) != room(module) and floors[room(target)] >= floors[room(module)]
    ]
    assert not upward


def test_no_module_imports_itself_by_way_of_others():
    assert not circles({module: imported(module) for module in modules()})


@pytest.mark.parametrize(
    ("graph", "found"), [({"a": "b", "b": "c", "c": ""}, ""), ({"a": "b", "b": "c", "c": "b", "d": "a"}, "bc")]
)
def test_circles_are_found(graph, found):
    assert circles({node: frozenset(targets) for node, targets in graph.items()}) == set(found)


def test_no_folder_has_many_loose_modules():
    folders = [path.parent for path in modules().values() if path.name != "__init__.py"]
    crowded = {str(folder.relative_to(ROOT)): folders.count(folder) for folder in folders}
    assert not {folder: n for folder, n in crowded.items() if n > MOST_MODULES}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & FORBIDDEN[package], path


def test_the_library_loads_without_torch():
    import subprocess

    code = (
        "import sys; from relope_jax import *; "  # names are loaded on first use; this loads all of them
        "sys.exit('jax' not in sys.modules or 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


TWINS = ("relope_jax.models.probes", "experiments.benchmarks.torch_train")  # the probes in JAX and in PyTorch


def classes(path: Path) -> set[str]:
    return {
        node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)
    }


def test_every_class_has_a_name_of_its_own():
    """Only the PyTorch probes that benchmarks compare ours with have the names of ours."""
    named = {module: classes(path) for module, path in modules().items()}
    ours, twin = (named[module] for module in TWINS)
    assert ours & twin
    named[TWINS[1]] = twin - ours
    count = Counter(name for names in named.values() for name in names)
    assert not {name: [module for module in named if name in named[module]] for name, n in count.items() if n > 1}


NO_TEXT = {"Image", "ts", "KvStore", "os"}  # `open` of these does not open a text file


def opens_text_unnamed(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the locale's encoding."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and _is_text(keywords.get("mode"), call.args[1:2])
    name = getattr(call.func, "attr", "")
    owner = getattr(call.func.value, "id", getattr(call.func.value, "attr", "")) if name else ""
    if owner == "subprocess" and {"text", "universal_newlines"} & keywords.keys():
        return True
    if name == "fdopen":
        return _is_text(keywords.get("mode"), call.args[1:2])
    if name == "open" and owner not in NO_TEXT:
        return _is_text(keywords.get("mode"), call.args[:1])  # Path.open(mode)
    return name in ("read_text", "TextIOWrapper") or (name == "write_text" and owner != "files")


def _is_text(mode: ast.expr | None, positional: list[ast.expr]) -> bool:
    given = mode or next(iter(positional), None)
    return not (isinstance(given, ast.Constant) and "b" in str(given.value))


@pytest.mark.parametrize("package", ["relope_jax", "extract", "experiments"])
def test_text_files_name_their_encoding(package):
    """C41: otherwise the locale would decide how a file is read."""
    unnamed = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text_unnamed(node)
    ]
    assert not unnamed


@pytest.mark.parametrize(
    ("code", "unnamed"),
    [
        ("open(p)", True), ("open(p, 'w')", True), ("open(p, 'rb')", False), ("open(p, mode='xb')", False),
        ("open(p, encoding='utf-8')", False), ("p.open()", True), ("p.open('wb')", False), ("p.open('a')", True),
        ("p.read_text()", True), ("p.write_text(x)", True), ("p.write_text(x, encoding='utf-8')", False),
        ("subprocess.run(c, text=True)", True), ("Image.open(p)", False), ("ts.open(s)", False),
        ("ts.KvStore.open(s)", False), ("os.fdopen(d, 'w')", True), ("write_text(p, x)", False),
        ("self._open(n)", False), ("prompt(text=x)", False),
    ],
)  # fmt: skip
def test_unnamed_encodings_are_found(code, unnamed):
    assert opens_text_unnamed(ast.parse(code).body[0].value) == unnamed


def test_no_figure_needs_a_backend():
    """C40: pyplot would load one. matplotlib is imported in one place, without the backend that MPLBACKEND names."""
    for path in (ROOT / "experiments").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"import .*pyplot|matplotlib\.use\(", text), path
