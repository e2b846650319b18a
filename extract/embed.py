"""Embed a store's texts with a sentence encoder: python -m extract.embed --config=quickstart.py

Writes STORE/embeddings/question.safetensors (the prompt's text) and question_answer.safetensors (the prompt's text with
the small model's answer). `experiments.run` does this when a method needs it. --config.inputs.encoder sets the encoder.
"""

from __future__ import annotations

from absl import app

from extract.input_spec import InputSpec
from extract.job.embeddings import embed_store
from extract.job.open import open_or_extract
from extract.plan import plan_from_config
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error


@exit_on_error
def main(_: list[str]) -> None:
    config = config_flag.value
    inputs = InputSpec(**config.inputs)
    embed_store(open_or_extract(plan_from_config(config)), inputs.encoder, inputs.batch, inputs.encoder_revision)


if __name__ == "__main__":
    config_flag = define_config_flag()
    app.run(main, flags_parser=parse_flags)
