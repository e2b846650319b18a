"""Benchmarks through the `datasets` package, in a separate process because it reads its settings at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from extract.datasets import get_dataset
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests import ROOT

# For `datasets`, a folder is equivalent to a repository on the hub: MMMU's, with one configuration per subject.
LOCAL = """
import dataclasses, io, json, sys
from pathlib import Path
import datasets
from PIL import Image
from extract.datasets import mmmu
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

hub = Path(sys.argv[1])
image = Image.new("RGB", (4, 3), (9, 0, 0))
for subject in ("Art", "Math"):
    row = {"id": f"validation_{subject}_1", "question": "q", "options": "['a', 'b']", "answer": "B",
           "question_type": "multiple-choice", "image_1": image, "image_2": None}
    features = {name: datasets.Value("string") for name in row}
    features |= {"image_1": datasets.Image(), "image_2": datasets.Image()}
    table = datasets.Dataset.from_list([row], features=datasets.Features(features))
    (hub / subject).mkdir(parents=True)
    table.to_parquet(hub / subject / "validation-00000-of-00001.parquet")
configs = [{"config_name": s, "data_files": [{"split": "validation", "path": f"{s}/validation-*"}]}
           for s in ("Art", "Math")]
(hub / "README.md").write_text("---\\n" + json.dumps({"configs": configs}) + "\\n---\\n")

def load(**more):
    spec = DatasetSpec(name="mmmu", image_cache=str(hub / "cache"), **more)
    samples = dataclasses.replace(mmmu.PUBLISHED, hub=str(hub)).load(spec, mmmu.parse)
    return [[s.sample_id, s.answer, [Image.open(i).size for i in s.images]] for s in samples]

loaded = load()
try:
    load(benchmark_split="train")
except ReLopeError as error:
    print(json.dumps([loaded, str(error), "torch" in sys.modules]))
"""

OFFLINE = """
from extract.datasets import get_dataset
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
try:
    get_dataset("aokvqa").load(DatasetSpec(name="aokvqa"))
except ReLopeError as error:
    print(error)
"""


def in_own_process(code: str, tmp_path: Path, *arguments: str) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "huggingface")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_repository_with_a_configuration_a_subject(tmp_path):
    output = in_own_process(LOCAL, tmp_path, str(tmp_path / "MMMU"))
    loaded, error, has_torch = json.loads(output)
    assert loaded == [["validation_Art_1", "B", [[4, 3]]], ["validation_Math_1", "B", [[4, 3]]]]
    assert "it has no split 'train', only validation" in error
    assert not has_torch


def test_a_hub_out_of_reach_is_one_line(tmp_path):
    error = in_own_process(OFFLINE, tmp_path)
    assert error.startswith("cannot load aokvqa from the hub as HuggingFaceM4/A-OKVQA: ")
    assert "--config.dataset.path=" in error
    assert error.count("\n") == 1


def test_a_missing_datasets_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ReLopeError, match=r"needs the datasets package: pip install datasets, or .*dataset\.path"):
        get_dataset("aokvqa").load(DatasetSpec(name="aokvqa"))
