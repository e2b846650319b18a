"""The registry of datasets. To add one, add a file here and an entry below."""

from __future__ import annotations

from extract.datasets.aokvqa import AOKVQA
from extract.datasets.base import Dataset
from extract.datasets.chartqa import CHARTQA
from extract.datasets.easy_vqa import EASY_VQA
from extract.datasets.jsonl import JSONL
from extract.datasets.mathvision import MATHVISION
from extract.datasets.mmmu import MMMU
from extract.datasets.scienceqa import SCIENCEQA
from extract.datasets.suite.charts import VEGA_CHARTS
from extract.datasets.suite.digits import DIGIT_SUMS
from extract.datasets.suite.places import US_PLACES
from extract.datasets.suite.plots import VEGA_PLOTS
from relope_jax.errors import ReLopeError, nearest

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        EASY_VQA,
        JSONL,
        MMMU,
        AOKVQA,
        SCIENCEQA,
        CHARTQA,
        MATHVISION,
        VEGA_CHARTS,
        DIGIT_SUMS,
        US_PLACES,
        VEGA_PLOTS,
    )
}


def get_dataset(name: str) -> Dataset:
    """The dataset registered under `name`; raises ReLopeError, which lists the known ones, if there is none."""
    if name not in DATASETS:
        raise ReLopeError(f"unknown dataset '{name}'{nearest(name, DATASETS)}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


__all__ = ["DATASETS", "Dataset", "get_dataset"]
