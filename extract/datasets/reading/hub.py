"""Rows from the hub through the `datasets` package, which downloads them once and keeps its own cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.datasets.reading.rows import plain_fields
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line


def hub_rows(name: str, hub: str, revision: str, splits: tuple[str, ...]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """`(where, file, fields)` of every row in all configurations: plain values, images as `{"bytes", "path"}`.

    Args:
      splits: spellings of the split's name; the first one that the repository has is read.

    Raises:
      ReLopeError: the `datasets` package is missing, or the hub cannot be reached or lacks the data.
    """
    try:
        tables = _tables(hub, revision, splits)
    except ImportError as error:
        raise ReLopeError(
            f"reading {name} from the hub needs the datasets package: pip install datasets, "
            "or point to downloaded files with --config.dataset.path=... (docs/guide/datasets.md)"
        ) from error
    except Exception as error:  # the package and the libraries below it raise many kinds
        raise ReLopeError(
            f"cannot load {name} from the hub as {hub}: {shortened(first_line(error), 200)}; "
            "point to downloaded files with --config.dataset.path=... (docs/guide/datasets.md)"
        ) from error
    for config, table in tables.items():
        for number, fields in enumerate(table, start=1):
            where = f"{hub} {config}, row {number}"
            yield where, Path(hub), plain_fields(where, fields)


def _tables(hub: str, revision: str, splits: tuple[str, ...]) -> dict[str, Any]:
    """The table of each configuration, memory-mapped by the package. No code from the repository runs."""
    import datasets

    from extract.model_files.hub import dataset_commit  # imported here: its dependencies are large

    revision = dataset_commit(hub, revision) or revision  # read everything from one commit
    configs = datasets.get_dataset_config_names(hub, revision=revision)
    known = datasets.get_dataset_split_names(hub, configs[0], revision=revision)
    split = next((split for split in splits if split in known), None)
    if split is None:
        raise ValueError(f"it has no split '{splits[0]}', only {', '.join(known)}")
    tables = {config: datasets.load_dataset(hub, config, split=split, revision=revision) for config in configs}
    return {config: _undecoded(table) for config, table in tables.items()}


def _undecoded(table: Any) -> Any:
    import datasets

    images = [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]
    for name in images:
        table = table.cast_column(name, datasets.Image(decode=False))
    return table
