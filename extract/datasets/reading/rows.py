"""One row of a table with fields checked by type. Every error names the row."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from extract.datasets.reading.fence import Fence
from extract.datasets.reading.images import embedded_or_path, save_embedded
from extract.datasets.reading.names import find_file
from extract.datasets.reading.values import plain, shown, text_of
from extract.sample import Sample
from extract.text import shortened
from relope_jax.errors import ReLopeError
from relope_jax.io.limits import Limit

MAX_CHOICES = 26  # letters
SAMPLES = Limit("RELOPE_MAX_SAMPLES_MB", 1024)  # the questions of one dataset, all held in memory
SAMPLE = 1000  # bytes of a sample in addition to its texts


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a user's or a benchmark's table.

    Attributes:
      where: identifies the row in messages.
      fields: the columns, as `plain_fields` gives them; null and NaN are None.
      folder: the folder that paths in the row are relative to.
      cache: where embedded images are written.
      number: its position in the whole split, from 0.
      split: the published split that is being read.
      table: name of the file, without its suffix.
      fence: the folders in which the row may refer to files.
    """

    where: str
    fields: Mapping[str, Any]
    folder: Path = Path()
    cache: Path = Path()
    number: int = 0
    split: str = ""
    table: str = ""
    fence: Fence = dataclasses.field(default_factory=Fence)  # an empty fence allows no file

    def bad(self, problem: str) -> ReLopeError:
        """An error that names the row and the problem."""
        return ReLopeError(f"{self.where}: {problem}")

    def unanswered(self, labelled: str) -> ReLopeError:
        """The error for a row of a split without published answers."""
        return self.bad(f"the answers of this split are not published: --config.dataset.benchmark_split={labelled}")

    def has(self, name: str) -> bool:
        """Whether the row has a value in this field."""
        return self.fields.get(name) is not None

    def get(self, *names: str) -> Any:
        """The value of the first of the fields `names` that the row has; None when it is null."""
        return self.fields[self.named(*names)]

    def named(self, *names: str) -> str:
        """The first of the fields `names` that the row has."""
        if found := next((name for name in names if name in self.fields), None):
            return found
        raise self.bad(f"no field '{names[0]}'; it has {shortened(', '.join(map(str, self.fields)), 150)}")

    def text(self, *names: str) -> str:
        """A field that must hold text. Numbers become text as written, whole numbers without a decimal point."""
        value = self.get(*names)
        text = text_of(value)
        if text is None:
            raise self.bad(f"'{self.named(*names)}' is {shown(value)}, not text")
        if not text.strip():
            raise self.bad(f"'{self.named(*names)}' is empty")
        return text

    def optional_text(self, name: str) -> str:
        """A text as returned by `text`; "" when the field is absent, null or empty."""
        value = self.fields.get(name)
        empty = value is None or (isinstance(value, str) and not value.strip())
        return "" if empty else self.text(name)

    def texts(self, *names: str) -> tuple[str, ...]:
        """A field that must hold a list of texts or numbers."""
        value = self.get(*names)
        texts = [text_of(item) for item in value] if isinstance(value, list) else [None]
        if None in texts:
            raise self.bad(f"'{self.named(*names)}' is {shown(value)}, not a list of texts")
        return tuple(text for text in texts if text is not None)

    def choices(self, name: str) -> tuple[str, ...]:
        """A list of choices, none empty and none repeated; () when the field is absent or null."""
        choices = self.texts(name) if self.has(name) else ()
        if not all(choice.strip() for choice in choices):
            raise self.bad(f"'{name}' is {shown(self.get(name))}: a choice is empty")
        if choices and not 2 <= len({choice.strip() for choice in choices}) == len(choices) <= MAX_CHOICES:
            raise self.bad(f"'{name}' is {shown(self.get(name))}: it must be 2 to {MAX_CHOICES} different choices")
        return choices

    def answers(self, *names: str) -> tuple[str, ...]:
        """A field that holds one right answer or a list of them; duplicates are removed."""
        if not isinstance(self.get(*names), list):
            return (self.text(*names),)
        answers = tuple(dict.fromkeys(self.texts(*names)))
        if not answers or not all(answer.strip() for answer in answers):
            raise self.bad(
                "it has no answer" if not answers else f"one of its answers in '{self.named(*names)}' is empty"
            )
        return answers

    def integer(self, name: str, meaning: str) -> int:
        """A field that must hold a whole number; `meaning` describes it in the error."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(f"'{name}' is {shown(value)}, not {meaning}")
        return value

    def letter(self, name: str, choices: tuple[str, ...]) -> str:
        """The letter of the choice whose index (from 0) the field holds."""
        index = self.get(name)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
            raise self.bad(f"'{name}' is {shown(index)}, not the index of one of the {len(choices)} choices")
        return chr(ord("A") + index)

    def image(self, name: str, *roots: str) -> tuple[Path, ...]:
        """The image in a field: embedded, or a path below the first existing folder of `roots`; () for none."""
        found = self._image(name)
        if isinstance(found, bytes):
            return (save_embedded(found, self.cache),)
        return (self.find(found, *roots, field=name),) if found else ()

    def image_path(self, name: str) -> str:
        """The path in an image field as written; "" for an embedded image or none."""
        found = self._image(name)
        return found if isinstance(found, str) else ""

    def _image(self, name: str) -> bytes | str | None:
        try:
            return embedded_or_path(self.fields.get(name))
        except ValueError as error:
            raise self.bad(f"'{name}' is {error}") from error

    def images(self, name: str) -> tuple[Path, ...]:
        """The images in a field that holds one image, a list of images, or none."""
        value = self.fields.get(name)
        if not isinstance(value, list):
            return self.image(name)
        listed = [item if isinstance(item, str | bytes | dict) else None for item in value]
        each = [dataclasses.replace(self, fields={name: item}).image(name) for item in listed]
        if not all(each):
            raise self.bad(f"'{name}' is {shown(value)}: one element is not an image")
        return tuple(path for image in each for path in image)

    def root(self, *roots: str) -> Path | None:
        """The first existing folder of `roots`, relative to the table."""
        return next((folder for folder in (self.folder / root for root in roots) if os.path.isdir(folder)), None)

    def find(self, name: str, *roots: str, field: str = "image") -> Path:
        """The path of a file below `root(*roots)`, or in the table's folder. The file need not exist.

        Raises:
          ReLopeError: it is not a path, or it is outside of the dataset's folder.
        """
        root = self.root(*roots) if roots else self.folder
        if root is None:
            looked_for = shortened(" or ".join(str(self.folder / root) for root in roots), 200)
            raise self.bad(f"no folder of images {looked_for}: put the benchmark's images there")
        try:
            return find_file(root, name, self.fence)
        except ValueError as error:
            raise self.bad(f"'{field}' is {error}") from error


def plain_fields(where: str, fields: Any) -> dict[str, Any]:
    """The fields of a row as plain values (`values.py`); raises ReLopeError, which names the row."""
    if not isinstance(fields, dict):
        raise ReLopeError(f"{where} is not a row of named fields but {shown(fields)}")
    found = {}
    for name, value in fields.items():
        try:
            found[plain(name)] = plain(value)
        except (ValueError, RecursionError) as error:
            problem = error if isinstance(error, ValueError) else "it is nested too deeply"
            raise ReLopeError(f"{where}: in the field '{shortened(name, 60)}' {problem}") from error
    return found


def read_samples(rows: Iterable[Row], parse: Callable[[Row], Sample]) -> list[Sample]:
    """Every row as a sample. Raises ReLopeError that names the first row that is bad, has a repeated id, or with which
    the samples take more memory than `SAMPLES`."""
    samples: dict[str, Sample] = {}
    held = 0
    for row in rows:
        sample = parse(row)
        held += _size(sample)
        SAMPLES.require(held, f"the table up to {row.where}")
        if sample.sample_id in samples:
            name = shortened(sample.sample_id, 60)
            raise row.bad(f"the id '{name}' appears more than once: ids must be unique")
        samples[sample.sample_id] = sample
    return list(samples.values())


def _size(sample: Sample) -> int:
    """The approximate bytes of a sample in memory."""
    texts = (sample.sample_id, sample.group, sample.question, sample.answer, *sample.choices, *sample.accepted)
    return SAMPLE * (1 + len(sample.images)) + sum(map(sys.getsizeof, texts))
