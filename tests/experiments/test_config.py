"""The command line's config: found by path or name, with every override checked and one line per mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configs import base, paper, quickstart
from experiments.studies import STUDIES
from relope_jax.config import check_override, config_names, find_config, load_defaults, spell_out
from relope_jax.errors import ReLopeError
from tests import ROOT


def test_configs_are_found_by_name_and_path(tmp_path):
    assert find_config("quickstart") == find_config("quickstart.py")
    copy = tmp_path / "mine.py"
    copy.write_text(Path(find_config("quickstart")).read_text())
    assert load_defaults(find_config(str(copy))).to_dict() == quickstart.get_config().to_dict()
    assert {"quickstart.py", "relope_qwen.py"} <= set(config_names())


def test_one_file_has_a_config_for_every_study():
    for study in STUDIES:
        found = [load_defaults(find_config(name)).to_dict() for name in (study, f"{study}.py")]
        assert found == [paper.get_config().to_dict() | {"study": study}] * 2
        assert f"{study}.py" in config_names()


def test_unknown_config_lists_the_known_ones():
    with pytest.raises(ReLopeError, match=r"did you mean 'quickstart.py'.*figure2.py.*relope_qwen.py, table1.py"):
        find_config("quikstart.py")


@pytest.mark.parametrize(
    "argument",
    [
        "--config.train.epochs=3",
        "--config.probe.learning_rate=1",
        "--config.seeds=(4, 5)",
        "--config.store=/x",
        "--config.model.trust_remote_code=True",
        "--config.relope.lora.targets=('q',)",
        "--other=1",
    ],
)
def test_good_overrides(argument):
    check_override(base.get_config(), argument)


@pytest.mark.parametrize(
    ("short", "spelled_out"),
    [
        ("--config.model=m", "--config.model.name=m"),
        ("--config.methods=probe,relope", "--config.methods=('probe', 'relope')"),
        ("--config.methods=('probe',)", "--config.methods=('probe',)"),
        ("--config.seeds=(4, 5)", "--config.seeds=(4, 5)"),
        ("--config.extract.layers=12,18", "--config.extract.layers=12,18"),  # already a tuple of numbers
        ("--config.train=3", "--config.train=3"),  # a group without a name
        ("--config.zzzz=3", "--config.zzzz=3"),
    ],
)
def test_short_forms_are_spelled_out(short, spelled_out):
    assert spell_out(base.get_config(), short) == spelled_out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.epoch=3", "did you mean 'train.epochs'"),
        ("--config.tarin.epochs=3", "did you mean 'train.epochs'"),
        ("--config.relope.lora.rnak=3", "did you mean 'relope.lora.rank'"),
        ("--config.train.epochs=many", "config.train.epochs takes a whole number like 40, not 'many'"),
        ("--config.train.epochs=1.5", "takes a whole number"),
        ("--config.probe.learning_rate=True", "takes a number"),
        ("--config.model.trust_remote_code=1", "takes true or false"),
        ("--config.seeds=0", "takes a tuple"),
        ("--config.seeds=('a',)", "takes a tuple"),
        ("--config.train=3", "is a group; set one of its fields: batch_size"),
        ("--config.zzzz=3", "fields at the top: .*name"),
    ],
)
def test_bad_overrides_are_one_line(argument, message):
    with pytest.raises(ReLopeError, match=message) as caught:
        check_override(base.get_config(), argument)
    assert "\n" not in str(caught.value)


WRONG = [  # each in a separate process, which takes seconds
    (["--config=zzzzz.py"], "no config 'zzzzz.py'; there are: base.py"),
    (["--config", "quickstart", "--config.methods=('probe', 'relop')"], "did you mean 'relope'"),
    (["--config=quickstart", "--config.train.epoch=3"], "did you mean 'train.epochs'"),
    (["--config=quickstart", "--cofnig.train.epochs=3"], "Unknown command line flag 'cofnig.train.epochs'"),
    ([], "name a config with --config="),
    (["--config=quickstart", "--config.relope.kl_reduction=max"], "it can be mean, sum"),
    (["--config=quickstart", "--config.model.dtype=fp32"], "it can be float32, bfloat16"),
    (["--config=quickstart", "--config.train.epochs=0"], "train.epochs is 0; it must be at least 1"),
    (["--config=quickstart", "--config.seeds=(1, 1)"], "config.seeds has 1 twice"),
    (["--config=quickstart", "--config.dataset.name=vqa"], "unknown dataset 'vqa'"),
    (["--config=quickstart", "--config.dataset=vqa", "--config.model=m"], "unknown dataset 'vqa'"),
    (["--config", "quickstart", "--config.methods=probe,relop"], "did you mean 'relope'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG[:2])
def test_commands_end_with_one_line_and_a_non_zero_status(arguments, message, tmp_path):
    require_one_line(arguments, message, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "message"), WRONG[2:])
def test_other_mistakes_end_with_one_line_too(arguments, message, tmp_path):
    require_one_line(arguments, message, tmp_path)


def require_one_line(arguments, message, tmp_path):
    command = [sys.executable, "-m", "experiments.run", *arguments, f"--config.runs={tmp_path}"]
    command = [c for c in command if arguments or not c.startswith("--config.runs")]
    check_one_line(subprocess.run(command, cwd=ROOT, capture_output=True, text=True), message)


def test_model_that_cannot_be_had_is_one_line(tmp_path):
    """The main command on a machine without the 7B model, its cache or a network."""
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "experiments.run", "--config=relope_qwen.py", f"--config.store={tmp_path / 's'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=offline)
    check_one_line(done, "hf download Qwen/Qwen2.5-VL-7B-Instruct")


def check_one_line(done: subprocess.CompletedProcess, message: str) -> None:
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
