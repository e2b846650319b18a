"""Export the LoRA of a run's ReLope router as a PEFT checkpoint, to use with the small model in other software.

python -m experiments.export_peft runs/quickstart --out=adapter
"""

from __future__ import annotations

import os
from pathlib import Path

from absl import app, flags, logging

from experiments.say import show
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.io.files import require_writable
from relope_jax.io.paths import local_path
from relope_jax.run import Run

_OUT = flags.DEFINE_string("out", None, "folder for the checkpoint; it must not exist yet")
_SEED = flags.DEFINE_integer("seed", 0, "which of the run's seeds")


@exit_on_error
def main(argv: list[str]) -> None:
    if len(argv) != 2 or not _OUT.value:
        raise ReLopeError("usage: relope export-peft RUN_FOLDER --out=FOLDER [--seed=0]")
    logging.set_verbosity(logging.WARNING)  # orbax logs every file it touches
    run, out = Run(argv[1]), local_path(_OUT.value)
    require_free(out)
    run.restore("relope", _SEED.value).export_peft(out)
    show(f"{out}: load it with peft.PeftModel.from_pretrained(model, '{out}'), where model is {describe(run)}")


def require_free(out: Path) -> None:
    """Raise ReLopeError if the checkpoint cannot be written to `out`. Call it before restoring the router."""
    if os.path.lexists(out):
        raise ReLopeError(f"{out} already exists: choose another folder, or delete it")
    require_writable(out)


def describe(run: Run) -> str:
    """The model that the adapter belongs to, with the adapter used during extraction, if any."""
    model = run.config["model"]
    return model["name"] + (f" with its adapter '{model['adapter']}' merged" if model["adapter"] else "")


if __name__ == "__main__":
    app.run(main)
