"""Where a benchmark's rows come from: files as its repository or the hub publishes them, or the hub itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from extract.datasets.hub import hub_rows
from extract.datasets.images import unpack
from extract.datasets.tables import Row, read_table
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

# Parquet as a clone of a hub repository has it, or as the hub converts it; then single tables of the same fields.
ANYWHERE = ("**/{split}-*.parquet", "**/{split}/*.parquet", "{split}.parquet", "{split}.jsonl", "{split}.json")


@dataclasses.dataclass(frozen=True)
class Published:
    """How a benchmark is published.

    Attributes:
      name: of the dataset.
      hub: name of its repository on the hub.
      split: the split that is read when none is asked for.
      tables: where its own repository has the tables of `{split}`, as patterns below a folder.
      index: name of a file beside a table of several splits that lists the ids of each split.
    """

    name: str
    hub: str
    split: str
    tables: tuple[str, ...] = ()
    index: str = ""

    def split_of(self, spec: DatasetSpec) -> str:
        """The published split to read."""
        return spec.benchmark_split or self.split

    def load(self, spec: DatasetSpec, parse: Callable[[Row], Sample]) -> list[Sample]:
        """Every row of the split as a sample.

        Raises:
          ReLopeError: there are no rows, one of them is bad, or two have the same id.
        """
        samples: dict[str, Sample] = {}
        for row in self.rows(spec):
            sample = parse(row)
            if sample.sample_id in samples:
                raise row.bad(f"the id '{sample.sample_id}' appears more than once: ids must be unique")
            samples[sample.sample_id] = sample
        if not samples:
            raise ReLopeError(
                f"no rows of the split '{self.split_of(spec)}' of {self.name} in {spec.path or self.hub}: "
                "choose another with --config.dataset.benchmark_split=..."
            )
        return list(samples.values())

    def rows(self, spec: DatasetSpec) -> Iterator[Row]:
        """The rows of the split, embedded images unpacked, one at a time."""
        split = self.split_of(spec)
        cache = Path(spec.image_cache) / self.name
        found = self._in_files(spec) if spec.path else hub_rows(self.name, self.hub, spec.revision, spellings(split))
        for number, (where, file, fields) in enumerate(found):
            yield Row(where, number, split, file.parent, file.stem, unpack(fields, cache))

    def _in_files(self, spec: DatasetSpec) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        for file in self.files(spec):
            chosen = self._chosen(file, self.split_of(spec))
            for where, fields in read_table(file):
                if chosen is None or fields.get("id") in chosen:
                    yield where, file, fields

    def files(self, spec: DatasetSpec) -> list[Path]:
        """The tables of the split at `spec.path`, a file or a folder.

        Raises:
          ReLopeError: there is no such file or folder, or no table of the split in it.
        """
        if found := self._found(spec):
            return found
        if not Path(spec.path).is_dir():
            raise ReLopeError(f"no such file or folder '{spec.path}': docs/datasets.md says how to get {self.name}")
        looked_for = ", ".join(pattern.format(split=self.split_of(spec)) for pattern in (*self.tables, *ANYWHERE))
        raise ReLopeError(
            f"no table of the split '{self.split_of(spec)}' of {self.name} in {spec.path} (looked for {looked_for}): "
            "docs/datasets.md says what the folder looks like"
        )

    def sources(self, spec: DatasetSpec) -> list[Path]:
        """Every file that says what the rows are, for a digest; none when they are on the hub, or gone."""
        files = self._found(spec)
        return [*files, *sorted({index for file in files if (index := self._index(file))})]

    def _found(self, spec: DatasetSpec) -> list[Path]:
        if not spec.path:
            return []
        path = Path(spec.path)
        if path.is_file():
            return [path]
        for split in spellings(self.split_of(spec)):
            for pattern in (*self.tables, *ANYWHERE):
                if found := sorted(file for file in path.glob(pattern.format(split=split)) if file.is_file()):
                    return found
        return []

    def _index(self, file: Path) -> Path | None:
        """The file beside one of the repository's own tables that says which rows belong to which split."""
        index = file.with_name(self.index) if self.index and any(map(file.match, self.tables)) else None
        return index if index and index.is_file() else None

    def _chosen(self, file: Path, split: str) -> set[str] | None:
        """Ids of the rows that belong to the split; None when all do."""
        index = self._index(file)
        if index is None:
            return None
        try:
            ids = json.loads(index.read_text(encoding="utf-8"))
            return {str(sample_id) for spelling in spellings(split) for sample_id in ids.get(spelling, ())}
        except (ValueError, AttributeError, TypeError) as error:
            raise ReLopeError(f"{index} is no object of ids by split: {error}") from error


def spellings(split: str) -> tuple[str, ...]:
    """The ways in which benchmarks write a split's name."""
    return ("validation", "val") if split in ("validation", "val") else (split,)
