"""Train and compare routers: python -m experiments.run --config=relope_qwen.py

Extracts the store if there is none yet, verifies the frozen block by replay, trains every method with all seeds at
once, evaluates, and writes runs/<name>/ with a report. A restart skips finished methods and continues an interrupted
method from its last snapshot.

With a study's config (paper.py, table1.py to table4.py, figure2.py, figure3.py) the command makes the study's runs,
then its tables and figures.

On several hosts that share a disk, give each the same command with --coordinator=HOST0:PORT --processes=N --process=I.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's C++ log is not useful to users

import jax
from absl import app, flags

from experiments.pipeline import run
from experiments.runs.plan import plan_run
from experiments.studies.execute import run as run_study
from experiments.studies.plan import plan_study
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import ReLopeError, exit_on_error, line_of, one_line

_CONFIG = define_config_flag()
_COORDINATOR = flags.DEFINE_string("coordinator", "", "host:port of process 0, for training on several hosts")
_PROCESSES = flags.DEFINE_integer("processes", 1, "number of processes", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", 0, "index of this process", lower_bound=0)


@exit_on_error
def main(_: list[str]) -> None:
    if _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    elif _PROCESSES.value > 1:
        raise ReLopeError("several processes need --coordinator=HOST:PORT, the same for all, and a --process=I each")
    try:
        config = _CONFIG.value
        run_study(plan_study(config)) if "study" in config else run(plan_run(config))
    except Exception as error:
        if jax.process_count() > 1 and (line := line_of(error)):  # at once: the others would wait forever
            print(f"error: {one_line(line)}", file=sys.stderr, flush=True)
            os._exit(1)
        raise


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
