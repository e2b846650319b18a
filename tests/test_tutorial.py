"""The tutorial notebook runs from its first cell to its last."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "guide" / "tutorial.ipynb"
QUESTIONS = "--config.dataset.max_questions=600"


def execute(folder: Path, questions: int) -> nbformat.NotebookNode:
    """Execute the notebook as if `folder` were the checkout; a cell that fails raises CellExecutionError."""
    notebook = nbformat.read(TUTORIAL, as_version=4)
    (training,) = (cell for cell in notebook.cells if QUESTIONS in cell.source)
    training.source = training.source.replace(QUESTIONS, f"--config.dataset.max_questions={questions}")
    guide = folder / "docs" / "guide"
    guide.mkdir(parents=True)
    (ROOT / "models").mkdir(exist_ok=True)
    (folder / "models").symlink_to(ROOT / "models")  # toys are assembled once for all tests
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(guide)}}).execute()
    return notebook


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder, with the command `relope` on the path as pip makes it; it need not be installed."""
    script = tmp_path / "bin" / "relope"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom experiments.cli import script\nscript()\n", encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def printed(notebook: nbformat.NotebookNode) -> str:
    """All text that the cells printed."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return sum("image/png" in output.get("data", {}) for output in outputs)


def check(notebook: nbformat.NotebookNode) -> None:
    """What a reader should see: the ten answers, the table, both pictures and ten decisions."""
    text = printed(notebook)
    assert "stores/tutorial-ten: 10 prompts" in text
    assert "\nProbe " in text
    assert "guaranteed: less than 0.5 of new queries are deferred" in text
    assert text.count("(the small model is ") == 10
    assert pictures(notebook) == 2


def test_the_tutorial_runs_with_fewer_questions(folder):
    check(execute(folder, questions=150))


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is(folder):
    check(execute(folder, questions=600))


def test_the_committed_outputs_are_whole_and_small():
    notebook = nbformat.read(TUTORIAL, as_version=4)
    check(notebook)
    assert "Traceback" not in printed(notebook)
    assert "/" + "home/" not in printed(notebook)
    assert TUTORIAL.stat().st_size < 300_000
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
