"""Regrade a store's responses with the current graders: python -m extract.regrade --config=quickstart.py

Nothing is generated: the responses are in the store and the reference answers in the config's dataset. Labels, final
answers and checksums are replaced in place; the states do not change. After a kill, the same command finishes the work.
"""

from __future__ import annotations

from absl import app

from extract.job.regrade import regrade
from extract.plan import plan_from_config
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error


@exit_on_error
def main(_: list[str]) -> None:
    print(regrade(plan_from_config(config_flag.value)))


if __name__ == "__main__":
    config_flag = define_config_flag()  # only here: flags are global, and other commands define it too
    app.run(main, flags_parser=parse_flags)
