"""Ask a store's questions: python -m extract.answer --config=quickstart.py --config.answers.name=large
--config.answers.base_url=http://localhost:8000/v1 --config.answers.model=Qwen/Qwen2.5-VL-72B-Instruct

Writes a table and its sidecar NAME.json to STORE/answers/. Every answer is cached, so the same command continues an
interrupted run. Without a base_url, the config's small model answers in this process.
See docs/guide/answers.md.
"""

from __future__ import annotations

from absl import app

from extract.plan import plan_from_config
from extract.spec import AnswerSpec
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error


@exit_on_error
def main(_: list[str]) -> None:
    from extract.answers.job import answer, require_model
    from extract.job.open import open_or_extract

    plan, spec = plan_from_config(config_flag.value), AnswerSpec(**config_flag.value.answers)
    require_model(spec)  # before a store is extracted
    answer(plan, spec, open_or_extract(plan))


if __name__ == "__main__":
    config_flag = define_config_flag()  # only here: flags are global, and other commands define it too
    app.run(main, flags_parser=parse_flags)
