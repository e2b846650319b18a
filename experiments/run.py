"""Train and compare routers: python -m experiments.run --config=relope_qwen.py

Extracts the store when there is none yet, proves the frozen block by replay, trains every method with all
seeds at once, evaluates, and writes runs/<name>/ with a report. Finished methods are skipped on a restart.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's C++ log lines say nothing a user needs

from absl import app

from experiments.pipeline import run
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error

_CONFIG = define_config_flag()


@exit_on_error
def main(_: list[str]) -> None:
    run(_CONFIG.value)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
