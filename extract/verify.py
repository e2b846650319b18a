"""Check a store: every file against its checksum, and the frozen blocks against the model's own outputs.

    python -m extract.verify stores/NAME [--drop_damaged]

A folder, or an s3:// or gs:// URL. Prints one line per problem and exits with status 1 if there is any.
"""

from __future__ import annotations

import numpy as np
from absl import app, flags, logging
from tqdm import tqdm

from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.models.replay import replay_block
from relope_jax.states.store import Damage, Store

REPLAYED = 64  # samples, spread over the store


def find_damages(store: Store) -> list[Damage]:
    """Everything with a wrong checksum, with a progress bar."""
    units = len(store.manifest.blocks) + len(store.manifest.parts)
    with tqdm(total=units, desc="checking", unit="part", leave=False) as bar:
        return list(store.damages(bar.update))


def replay_layers(url: str) -> list[str]:
    """One line per layer of the store: how closely its frozen block reproduces PyTorch's results.

    Raises:
      ReLopeError: a block does not belong to the states.
    """
    lines = []
    for layer in Store(url).identity.layers:
        store = Store(url, layer)
        rows = np.linspace(0, len(store.samples) - 1, min(REPLAYED, len(store.samples))).astype(int)
        replay = replay_block(store.block, store.states(rows), store.identity.model_dtype)
        lines.append(
            f"frozen block l={layer} replayed on {replay.n_samples} samples: relative error {replay.median:.1e}, "
            f"at most {replay.largest:.1e} (allowed {replay.tolerance:.0e})"
        )
    return lines


def verify(url: str, *, drop_damaged: bool = False) -> None:
    """Check everything and print the outcome; raises ReLopeError after printing every problem."""
    store = Store(url)
    damages = find_damages(store)
    for damage in damages:
        print(f"damaged: {damage.message}")
    if damages and drop_damaged:
        store.drop(damages)
        raise ReLopeError(f"removed {len(damages)} damaged pieces of {url}: extract again to restore them")
    if damages:
        raise ReLopeError(f"{url}: {len(damages)} of its pieces are damaged")
    print(f"{url}: all checksums of {len(store.manifest.parts)} parts and {len(store.manifest.blocks)} blocks match")
    print("\n".join(replay_layers(url)))


if __name__ == "__main__":
    _DROP = flags.DEFINE_bool("drop_damaged", False, "remove damaged files, so that the extraction makes them again")

    @exit_on_error
    def main(argv: list[str]) -> None:
        if len(argv) != 2:
            raise ReLopeError("usage: relope verify STORE [--drop_damaged]")
        logging.set_verbosity(logging.WARNING)  # hides jax's list of missing backends
        verify(argv[1], drop_damaged=_DROP.value)

    app.run(main)
