"""The wheel: built offline, installed into an empty folder, and used without a checkout."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.experiments.test_calibrate import write_run
from tests.relope_jax.states.test_store import write_store

ROOT = Path(__file__).parents[1]
PACKAGES = ("relope_jax", "extract", "experiments")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run([*PIP, *build], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder into which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run([*PIP, *install], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory) -> Path:
    """A folder on the path that hides the packages installed only by the extra `extract`."""
    folder = tmp_path_factory.mktemp("hiding")
    for name in ("torch", "transformers", "accelerate", "openai", "easy_vqa", "efficientnet_lite_pytorch"):
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('hidden', name='{name}')", encoding="utf-8")
    return folder


def relope(path: list[Path], folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the installed console script in an empty `folder`, importing from `path` and not from the checkout."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, path[0] / "bin" / "relope", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120)


def tracked(*folders: str) -> set[str]:
    """The files of the checkout that belong in the wheel."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def test_it_holds_the_packages_with_their_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == tracked(*PACKAGES)
    assert {"extract/toy/weights/toy-mllm.safetensors", "experiments/configs/quickstart.py"} <= inside
    licences = {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_its_metadata_names_the_licence_the_extras_and_what_an_analysis_needs(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == {"extract", "dev"}
    always = {re.split(r"[^\w-]", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert {"jax", "numpy", "pyarrow"} <= always
    assert not {"torch", "transformers", "openai", "pytest"} & always


def test_versions_are_declared_in_one_place():
    """requirements*.txt install the project; only versions that metadata cannot express are in them."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert all(line.startswith(("#", "--editable .[")) for line in lines), name


def test_the_licence_is_the_standard_text_and_every_weights_file_has_a_notice():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    weights = [path.name for path in (ROOT / "extract" / "toy" / "weights").glob("*.safetensors")]
    assert weights
    assert all(name in notice for name in weights)


def test_help_from_an_empty_folder(site, tmp_path):
    done = relope([site], tmp_path / "empty", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: relope COMMAND")


def test_a_store_is_inspected_where_torch_is_not_installed(site, without_torch, tmp_path):
    write_store(tmp_path / "store")
    done = relope([site, without_torch], tmp_path / "empty", "inspect", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert "prompt tokens: shortest" in done.stdout


def test_a_threshold_is_chosen_where_torch_is_not_installed(site, without_torch, tmp_path):
    write_run(tmp_path / "run")
    arguments = (tmp_path / "run", "--method=probe", "--target_accuracy=0.8")
    done = relope([site, without_torch], tmp_path / "empty", "calibrate", *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "calibration-probe-0.json").exists()


def test_a_packaged_config_is_found_and_what_is_missing_is_named(site, without_torch, tmp_path):
    """An extraction without the extra `extract` is refused in one line after the config was read."""
    done = relope([site, without_torch], tmp_path / "empty", "run", "--config=quickstart.py")
    assert done.returncode == 1
    assert re.fullmatch(r"error: `relope run` needs the Python package \w+, which is .*\n", done.stderr), done.stderr
