"""Ask a store's questions: python -m extract.answer --config=quickstart.py --config.answers.name=large
--config.answers.base_url=http://localhost:8000/v1 --config.answers.model=Qwen/Qwen2.5-VL-72B-Instruct

Writes a table and its sidecar NAME.json into STORE/answers/. Whatever was answered once is in the cache: the same
command continues where it stopped. Without a base_url the config's small model answers in process.
See docs/guide/answers.md.
"""

from __future__ import annotations

from absl import app

from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error


@exit_on_error
def main(_: list[str]) -> None:
    from extract.answers.job import answer_from_config

    answer_from_config(config_flag.value)


if __name__ == "__main__":
    config_flag = define_config_flag()  # only here: flags are global, and other commands define this one too
    app.run(main, flags_parser=parse_flags)
