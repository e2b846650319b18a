"""What a dataset provides: labelled queries, a prompt, and a grader."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from extract.spec import DatasetSpec


@dataclasses.dataclass(frozen=True)
class Sample:
    """One labelled query. Samples of one `group` share an image and stay on one side of a split."""

    sample_id: str
    group: str
    question: str
    answer: str
    image: Path | None = None
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A registered dataset.

    Attributes:
      load: reads all samples, in a fixed order.
      prompt: the user turn's text, without the image.
      grade: whether a response is right.
      prompt_template: what identifies `prompt` in the store's manifest.
    """

    name: str
    load: Callable[[DatasetSpec], list[Sample]]
    prompt: Callable[[Sample], str]
    grade: Callable[[Sample, str], bool]
    prompt_template: str
