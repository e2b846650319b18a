"""Write a store of hidden states: python -m extract.run --config=quickstart.py [--shard=0/4]

With --shard=i/N this process extracts every N-th part, under any scheduler that runs the N processes. All of them write
to the same store, and the last one to finish completes it. See docs/guide/scaling.md.
"""

from __future__ import annotations

from absl import app, flags

from extract.job.open import closing_line, open_or_extract
from extract.plan import plan_from_config
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error
from relope_jax.io.place import open_place
from relope_jax.states.manifest import MANIFEST
from relope_jax.states.writer import Shard


@exit_on_error
def main(_: list[str]) -> None:
    from extract.job.extraction import extract_store

    plan, shard = plan_from_config(_CONFIG.value), Shard.parse(_SHARD.value)
    if not open_place(plan.store).exists(MANIFEST) and not extract_store(plan, shard):
        print(f"shard {shard} of {plan.store} is done; other shards are not finished yet")
        return
    print(closing_line(open_or_extract(plan)))


if __name__ == "__main__":  # only here: flags are global, and other commands define these too
    _CONFIG = define_config_flag()
    _SHARD = flags.DEFINE_string("shard", "0/1", "which share of the parts to extract: i/N with i from 0 to N-1")
    app.run(main, flags_parser=parse_flags)
