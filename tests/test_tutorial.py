"""The tutorial notebook runs from its first cell to its last.

python -m tests.test_tutorial     # execute it and rewrite its outputs after a cell was changed
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "guide" / "tutorial.ipynb"
QUESTIONS = "--config.dataset.max_questions=600"


def execute(folder: Path, questions: int) -> nbformat.NotebookNode:
    """Execute the notebook as if `folder` were the checkout. A failing cell raises CellExecutionError."""
    notebook = nbformat.read(TUTORIAL, as_version=4)
    (training,) = (cell for cell in notebook.cells if QUESTIONS in cell.source)
    source = training.source
    training.source = source.replace(QUESTIONS, f"--config.dataset.max_questions={questions}")
    guide = folder / "docs" / "guide"
    guide.mkdir(parents=True)
    (ROOT / "models").mkdir(exist_ok=True)
    (folder / "models").symlink_to(ROOT / "models")  # the toys are assembled once for all tests
    resources = {"metadata": {"path": str(guide)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    training.source = source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Chunks of one stream as one output, because `%%bash` splits anywhere."""
    result: list[nbformat.NotebookNode] = []
    for output in outputs:
        if result and output.get("name", "") == result[-1].get("name", "-"):
            result[-1].text += output.text
        else:
            result.append(output)
    return result


def environment(folder: Path) -> dict[str, str]:
    """The environment of a kernel that finds the command `relope` in `folder`, made as pip makes it."""
    script = folder / "bin" / "relope"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom experiments.cli import script\nscript()\n", encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def printed(notebook: nbformat.NotebookNode) -> str:
    """All text printed by the cells."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return sum("image/png" in output.get("data", {}) for output in outputs)


def check(notebook: nbformat.NotebookNode) -> None:
    """Check what a reader should see: the ten answers, the table, both pictures and ten decisions."""
    text = printed(notebook)
    assert "error:" not in text
    assert "stores/tutorial-ten: 10 prompts" in text
    assert "\nProbe " in text
    assert "guaranteed: less than 0.5 of new queries are deferred" in text
    assert text.count("(the small model is ") == 10
    assert pictures(notebook) == 2


@pytest.mark.slow
def test_the_tutorial_runs_with_fewer_questions(folder):
    check(execute(folder, questions=150))


def test_the_committed_outputs_are_whole_and_small():
    notebook = nbformat.read(TUTORIAL, as_version=4)
    check(notebook)
    assert "Traceback" not in printed(notebook)
    assert "/" + "home/" not in printed(notebook)
    assert TUTORIAL.stat().st_size < 300_000
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def rewrite() -> None:
    """Execute the notebook and write its outputs into it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder)))
        notebook = execute(Path(folder), questions=600)
    check(notebook)
    notebook.metadata["language_info"] = {"name": "python"}  # not the version of this machine
    nbformat.write(notebook, TUTORIAL)


if __name__ == "__main__":
    rewrite()
