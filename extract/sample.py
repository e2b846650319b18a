"""One labelled query."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Sample:
    """One labelled query. Samples of one `group` share an image and stay on one side of a split.

    Attributes:
      question: may say where image k belongs with `<image k>` (k from 1); images without a place come first.
      answer: the reference; with `choices` a letter (A, B, ...) or the text of a choice.
      accepted: further right answers of an open question.
      images: files; empty for a question about no image.
      missing: what it lacks, such as its image, as the reason for leaving it out; empty when it can be asked.
    """

    sample_id: str
    group: str
    question: str
    answer: str
    images: tuple[Path, ...] = ()
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    missing: str = ""
