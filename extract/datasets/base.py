"""What a dataset provides: labelled queries, a prompt, and a grader."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from extract.datasets.published import Published
from extract.sample import Sample
from extract.spec import DatasetSpec


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A registered dataset.

    Attributes:
      load: reads all samples, in a fixed order. Groups become final in `extract.job.splits.draw`.
      prompt: the text of the user turn; `<image k>` marks the place of image k.
      grade: whether a response is right.
      final_answer: the answer that a response gives, normalised so that equal answers compare equal; "" when none.
      prompt_template: identifies `prompt` in the store's manifest.
      published: where a benchmark's tables are found; None for a dataset that is a single file or a package.
    """

    name: str
    load: Callable[[DatasetSpec], list[Sample]]
    prompt: Callable[[Sample], str]
    grade: Callable[[Sample, str], bool]
    final_answer: Callable[[Sample, str], str]
    prompt_template: str
    published: Published | None = None


def lettered(choices: Sequence[str], form: str = "{letter}. {choice}") -> str:
    """The choices, one per line, with their letters."""
    return "\n".join(form.format(letter=chr(ord("A") + i), choice=choice) for i, choice in enumerate(choices))
