"""easy-VQA from its PyPI package: 9,673 questions about 1,000 images of coloured shapes.

Only the package's test images are used: the toy MLLM's projector was trained on the others.
"""

from __future__ import annotations

from pathlib import Path

from extract.datasets.base import Dataset
from extract.grading import exact
from extract.sample import Sample
from extract.spec import DatasetSpec


def load(spec: DatasetSpec) -> list[Sample]:
    """All test questions, in the package's order."""
    import easy_vqa  # here: a run on an existing store imports the registry but no dataset

    del spec
    paths = easy_vqa.get_test_image_paths()
    rows = zip(*easy_vqa.get_test_questions(), strict=True)
    return [
        Sample(f"easy-vqa-{i:05d}", f"image-{image_id:04d}", question, answer, (Path(paths[image_id]),))
        for i, (question, answer, image_id) in enumerate(rows)
    ]


EASY_VQA = Dataset(
    name="easy_vqa",
    load=load,
    prompt=lambda sample: sample.question,
    grade=exact.grade,
    final_answer=exact.final_answer,
    prompt_template="{question}",
)
