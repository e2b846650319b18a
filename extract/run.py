"""Make a token-state store: python -m extract.run --config=quickstart.py"""

from __future__ import annotations

from absl import app

from extract.settings import open_or_extract, plan_from_config
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error

_CONFIG = define_config_flag()


@exit_on_error
def main(_: list[str]) -> None:
    store = open_or_extract(plan_from_config(_CONFIG.value))
    accuracy = store.column("label").mean()
    tokens = sum(part.n_tokens for part in store.manifest.parts)
    print(f"{store.path}: {len(store.samples)} prompts, {tokens} tokens, small-model accuracy {accuracy:.3f}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
