"""One labelled query."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Sample:
    """One labelled query. Samples of one `group` share an image and stay in the same split.

    Attributes:
      question: may contain `<image k>` (k from 1) as the place of image k; images without a place come first.
      answer: the reference; with `choices` a letter (A, B, ...) or the text of a choice.
      accepted: further right answers to an open question.
      images: files; empty for a question without an image.
      missing: what the sample lacks, such as its image, as the reason to leave it out; empty when it can be asked.
    """

    sample_id: str
    group: str
    question: str
    answer: str
    images: tuple[Path, ...] = ()
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    missing: str = ""
