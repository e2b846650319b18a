"""Where a benchmark's rows come from: files published by its repository or the hub, or the hub itself."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from extract.datasets.reading.fence import Fence
from extract.datasets.reading.hub import hub_rows
from extract.datasets.reading.images import report_missing
from extract.datasets.reading.rows import Row, read_samples
from extract.datasets.reading.shards import refuse_partial, report_single, tables_below
from extract.datasets.reading.tables import read_object, read_table
from extract.datasets.reading.values import shown, text_of
from extract.sample import Sample
from extract.spec import DatasetSpec
from extract.text import shortened
from relope_jax.errors import ReLopeError

# Parquet as in a clone of a hub repository or as the hub converts it; then single tables with the same fields.
ANYWHERE = ("**/{split}-*.parquet", "**/{split}/*.parquet", "{split}.parquet", "{split}.jsonl", "{split}.json")


@dataclasses.dataclass(frozen=True)
class Published:
    """How a benchmark is published.

    Attributes:
      name: of the dataset.
      hub: name of the repository on the hub.
      split: the default split.
      tables: where the benchmark's own repository has the tables of `{split}`, as patterns below a folder.
      index: name of a file next to a table of several splits that lists the ids in each split.
      one_folder: whether the tables of one split are in one folder.
      needs_image: whether every question needs an image. A row without an image is then left out.
      neighbours: folders of images, relative to the folder of the tables, that may be outside of the folder that the
        user named. A link in place of such a folder is not followed.
    """

    name: str
    hub: str
    split: str
    tables: tuple[str, ...] = ()
    index: str = ""
    one_folder: bool = True
    needs_image: bool = False
    neighbours: tuple[str, ...] = ()

    def split_of(self, spec: DatasetSpec) -> str:
        """The split to read, under its published name."""
        return spec.benchmark_split or self.split

    def load(self, spec: DatasetSpec, parse: Callable[[Row], Sample]) -> list[Sample]:
        """Read every row of the split as a sample.

        Raises:
          ReLopeError: there are no rows, a row is bad, or two rows have the same id.
        """
        samples = [self._with_image(sample) for sample in read_samples(self.rows(spec), parse)]
        if not samples:
            raise ReLopeError(
                f"no rows of the split '{self.split_of(spec)}' of {self.name} in {spec.path or self.hub}: "
                "choose another with --config.dataset.benchmark_split=..."
            )
        report_missing(samples)
        return samples

    def _with_image(self, sample: Sample) -> Sample:
        lacks = self.needs_image and not sample.images and not sample.missing
        return dataclasses.replace(sample, missing="its row has no image") if lacks else sample

    def rows(self, spec: DatasetSpec) -> Iterator[Row]:
        """The rows of the split, one at a time, with embedded images unpacked."""
        split = self.split_of(spec)
        cache = Path(spec.image_cache) / self.name
        fence = functools.cache(functools.partial(self._fence, spec))
        found = self._in_files(spec) if spec.path else hub_rows(self.name, self.hub, spec.revision, spellings(split))
        for number, (where, file, fields) in enumerate(found):
            yield Row(where, fields, file.parent, cache, number, split, file.stem, fence(file))

    def _fence(self, spec: DatasetSpec, file: Path) -> Fence:
        """The folders in which a row of `file` may refer to files."""
        named = bool(spec.path) and Path(spec.path).is_dir()
        folder = Path(os.path.realpath(file.parent))
        neighbours = [Path(os.path.normpath(folder / path)) for path in self.neighbours]
        own = [path for path in neighbours if os.path.realpath(path) == str(path)]
        return Fence.around(Path(spec.path) if named else file.parent, *own, outside=spec.outside)

    def _in_files(self, spec: DatasetSpec) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        files = self.files(spec)
        for file in files:
            chosen = self._chosen(file, self.split_of(spec))
            seen, rows = set(), 0
            for where, fields in read_table(file):
                rows += 1
                sample_id = text_of(fields.get("id"))
                if chosen is None or sample_id in chosen:
                    seen.add(sample_id)
                    yield where, file, fields
            if rows == 0 and len(files) > 1:
                raise ReLopeError(f"{file} has no rows: download it again, or remove it")
            if chosen and (absent := sorted(chosen - seen)):
                count = f"{len(absent)} of the {len(chosen)} questions"
                raise ReLopeError(f"{file} lacks {count} that {self.index} lists, such as '{shortened(absent[0], 60)}'")

    def files(self, spec: DatasetSpec) -> list[Path]:
        """The tables of the split at `spec.path`, a file or a folder.

        Raises:
          ReLopeError: the file or folder does not exist, or it holds no table of the split or only some of them.
        """
        if found := self._found(spec):
            self._require_inside(spec, found)
            if found == [Path(spec.path)]:
                report_single(found[0])
            else:
                refuse_partial(found, self.one_folder)
            return found
        if not Path(spec.path).is_dir():
            raise ReLopeError(
                f"no such file or folder '{spec.path}': docs/guide/datasets.md says how to get {self.name}"
            )
        looked_for = ", ".join(pattern.format(split=self.split_of(spec)) for pattern in (*self.tables, *ANYWHERE))
        raise ReLopeError(
            f"no table of the split '{self.split_of(spec)}' of {self.name} in {spec.path} (looked for {looked_for}): "
            "docs/guide/datasets.md says what the folder looks like"
        )

    def sources(self, spec: DatasetSpec) -> list[Path]:
        """Every file that determines the rows, for a digest; empty when they are on the hub or no longer there."""
        files = [file for file in self._found(spec) if file.is_file()]
        return [*files, *sorted({index for file in files if (index := self._index(file))})]

    def _require_inside(self, spec: DatasetSpec, files: list[Path]) -> None:
        """Raise ReLopeError when a table below the folder that the user named, or its index, leads out of it."""
        fence = _tables_fence(spec)
        indices = filter(None, map(self._index, files))
        for file in (*(file for file in files if file != Path(spec.path)), *indices):
            fence.require(file)

    def _found(self, spec: DatasetSpec) -> list[Path]:
        if not spec.path:
            return []
        path = Path(spec.path)
        if path.is_file():
            return [path]
        for split in spellings(self.split_of(spec)):
            patterns = [pattern.format(split=split) for pattern in (*self.tables, *ANYWHERE)]
            if found := tables_below(path, patterns, split, _tables_fence(spec)):
                return found
        return []

    def _index(self, file: Path) -> Path | None:
        """The file next to one of the repository's own tables that assigns rows to splits.

        Raises:
          ReLopeError: the path exists but is not a file.
        """
        index = file.with_name(self.index) if self.index and any(map(file.match, self.tables)) else None
        if index is None or not os.path.lexists(index):
            return None
        refuse_partial([index], one_folder=False)
        return index

    def _chosen(self, file: Path, split: str) -> set[str] | None:
        """Ids of the rows in the split; None when all rows belong to it."""
        index = self._index(file)
        if index is None:
            return None
        ids = read_object(index)
        listed = [ids.get(spelling, []) for spelling in spellings(split)]
        if not all(isinstance(names, list) for names in listed):
            raise ReLopeError(f"{index} is not an object of ids by split: '{split}' is {shown(listed[0])}")
        return {text_of(name) or "" for names in listed for name in names}


def _tables_fence(spec: DatasetSpec) -> Fence:
    """Where tables and the indices next to them may be."""
    path = Path(spec.path)
    return Fence.around(path if path.is_dir() else path.parent, outside=spec.outside)


def spellings(split: str) -> tuple[str, ...]:
    """The spellings of a split's name that benchmarks use."""
    return ("validation", "val") if split in ("validation", "val") else (split,)
