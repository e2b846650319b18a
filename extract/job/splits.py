"""Group splits: all samples of a group (an image) are in the same split."""

from __future__ import annotations

import random
from collections.abc import Sequence

from extract.datasets.reading.grouping import regroup
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError


def draw(samples: Sequence[Sample], spec: DatasetSpec) -> list[Sample]:
    """`spec.max_questions` random samples (all when 0), in the dataset's order and with their final groups.

    Raises:
      ReLopeError: no sample has `spec.modality`.
    """
    if spec.modality:
        samples = [sample for sample in samples if bool(sample.images or sample.missing) == (spec.modality == "image")]
        if not samples:
            kind = "with" if spec.modality == "image" else "without"
            raise ReLopeError(f"{spec.name} has no question {kind} an image: omit --config.dataset.modality")
    if not spec.max_questions or spec.max_questions >= len(samples):
        return regroup(samples)
    chosen = random.Random(f"draw-{spec.seed}").sample(range(len(samples)), spec.max_questions)
    return regroup([samples[i] for i in sorted(chosen)])


def group_split(samples: Sequence[Sample], spec: DatasetSpec) -> dict[str, str]:
    """`{group: split}`. The test and validation shares count groups and get at least one group each.

    Raises:
      ReLopeError: shares that leave nothing to train on, or fewer than three groups.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < 3:
        raise ReLopeError(f"a group split needs at least 3 groups (images), found {len(groups)}")
    random.Random(f"split-{spec.seed}").shuffle(groups)
    n_test = max(1, round(spec.test * len(groups)))
    n_validation = max(1, round(spec.validation * len(groups)))
    if n_test + n_validation >= len(groups):
        raise ReLopeError("dataset.validation + dataset.test leave no group to train on: lower them")
    names = ["test"] * n_test + ["validation"] * n_validation
    names += ["train"] * (len(groups) - len(names))
    return dict(zip(groups, names, strict=True))
