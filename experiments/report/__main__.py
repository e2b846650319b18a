"""Write a run's report again: python -m experiments.report runs/quickstart [--store=PATH_OR_URL]

`--store` gives the path of the run's store if it moved, for example into a bucket.
"""

from __future__ import annotations

import sys

from experiments.report.write import terminal_table, write_report
from experiments.say import say
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.run import Run


@exit_on_error
def main(argv: list[str]) -> None:
    if {"--help", "-h", "-help", "--helpfull"} & set(argv[1:]):
        print(__doc__)
        return
    folders = [argument for argument in argv[1:] if not argument.startswith("--store=")]
    stores = [argument.partition("=")[2] for argument in argv[1:] if argument.startswith("--store=")]
    if len(folders) != 1 or len(stores) > 1 or folders[0].startswith("-"):
        raise ReLopeError("usage: relope report RUN_FOLDER [--store=PATH_OR_URL]")
    run = Run(folders[0], store="".join(stores))
    say(write_report(run, run.store))
    say(terminal_table(run))


if __name__ == "__main__":
    main(sys.argv)
