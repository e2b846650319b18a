"""The console script: every command under one name, behaving like `python -m`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cli import COMMANDS
from tests import ROOT

ONLY_IN_A_CHECKOUT = {"extract.toy.training.train", "extract.toy.build"}  # these write into the package
HEAVY = {"jax", "torch", "transformers", "matplotlib", "numpy", "absl"}

# A command like ours without JAX: flags, errors of all kinds, and a class defined only in `__main__`.
COMMAND = '''"""Do it: python -m mine.job FOLDER"""
import os, pickle, signal, sys
from absl import app, flags
from relope_jax.errors import ReLopeError, exit_on_error

_DO = flags.DEFINE_enum("do", "show", ["show", "refuse", "interrupt", "bug", "import", "exit"], "what to do")


class Kept:
    pass


@exit_on_error
def main(argv):
    match _DO.value:
        case "show":
            print(argv[1:], __name__, __package__, __spec__.name, type(pickle.loads(pickle.dumps(Kept()))) is Kept)
        case "refuse":
            raise ReLopeError("the store is damaged")
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "import":
            import relope_jax.nowhere
        case "exit":
            sys.exit(7)


if __name__ == "__main__":
    app.run(main)
'''


def relope(*arguments: str, code: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `relope ARGUMENTS` after `code` has modified `cli`."""
    code = f"import sys; from experiments import cli\n{code}\ncli.main(sys.argv)"
    return python("-c", code, *arguments, folder=folder)


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"PYTHONPATH": f"{ROOT}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60)


def test_every_command_of_the_packages_is_in_the_table():
    commands = set()
    for package in ("experiments", "extract"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name == "__main__.py" or "\nif __name__ == " in path.read_text(encoding="utf-8"):
                commands.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    assert {module for module, _ in COMMANDS.values()} == commands - ONLY_IN_A_CHECKOUT - {"experiments.cli"}


def test_help_lists_every_command_and_imports_nothing_heavy():
    done = relope("--help", code=f"import atexit; atexit.register(lambda: print({HEAVY} & sys.modules.keys()))")
    assert done.returncode == 0, done.stderr
    for name, (_, description) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(description)}$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\nset()\n")


def test_help_takes_less_than_a_second():
    def seconds() -> float:
        started = time.perf_counter()
        assert relope("--help").returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1.0  # 0.05 on an idle machine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"error: name a command: relope \{run,sweep,.*\}; `relope --help` describes them"),
        (["nonsense"], "error: there is no command 'nonsense'; `relope --help` lists the commands"),
        (["extrct"], r"error: there is no command 'extrct' \(did you mean 'extract'\?\); `relope --help` .*"),
        (["--config=base.py"], "error: there is no command '--config=base.py'.*"),
    ],
)
def test_a_command_that_is_not_there_is_one_line(arguments, message):
    done = relope(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(message + "\n", done.stderr)


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [["a", "b"], ["--help"], ["--do=refuse"], ["--do=exit"], ["--do=interrupt"], ["--do=nonsense"], ["--nonsense"]],
)
def test_a_command_behaves_as_with_python_m(tmp_path, arguments, package):
    """Same output, messages and exit status, except for the program's name."""
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "job" / "__main__.py" if package else tmp_path / "mine" / "job.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(COMMAND, encoding="utf-8")
    if package:
        (file.parent / "__init__.py").touch()
    ours = relope("job", *arguments, code="cli.COMMANDS['job'] = ('mine.job', '')", folder=tmp_path)
    theirs = python("-m", "mine.job", *arguments, folder=tmp_path)
    assert ours.returncode == theirs.returncode
    assert ours.stderr == theirs.stderr
    assert ours.stdout == theirs.stdout.replace(str(file), "relope job").replace("python -m mine.job ", "relope job ")
    assert ours.stdout or ours.returncode
    if arguments == ["a", "b"]:
        assert ours.stdout.startswith("['a', 'b'] __main__ mine")
    if arguments == ["--help"]:
        assert ours.stdout.startswith("Do it: relope job FOLDER\n")
        assert "relope job:\n  --do: " in ours.stdout


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["--do=bug"], "ZeroDivisionError: a bug"),
        (["--do=import"], "ModuleNotFoundError: No module named 'relope_jax.n"),
    ],
)
def test_a_bug_keeps_its_traceback(tmp_path, arguments, last):
    (tmp_path / "job.py").write_text(COMMAND, encoding="utf-8")
    done = relope("job", *arguments, code="cli.COMMANDS['job'] = ('job', '')", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(last)


def test_a_package_that_is_not_installed_is_named(tmp_path):
    (tmp_path / "job.py").write_text("import torch.nn", encoding="utf-8")
    done = relope("job", code="cli.COMMANDS['job'] = ('job', ''); sys.modules['torch'] = None", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: `relope job` needs the Python package torch, which is not installed; pip install "
        r"'relope-jax\[extract\]' installs .*\n",
        done.stderr,
    )
