"""The configs of the runs that studies are made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Job
from extract.datasets import get_dataset
from relope_jax.config import find_config, load_defaults

PROBES = ("relope", "attention_probe", "probe")
STUDY_FIELDS = (
    "study", "datasets", "backbones", "choice_dataset", "ablation_dataset", "perturbations", "layers", "ranks", "betas",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A small model of a study: the study's own, or that of another config."""

    label: str
    config: ConfigDict

    @property
    def prefix(self) -> str:
        """Of the names of its runs; empty for the study's own model."""
        return f"{self.label}-" if self.label else ""

    @property
    def title(self) -> str:
        return self.config.model.name


def backbones(config: ConfigDict) -> list[Backbone]:
    """The study's own small model, or those of the configs that `config.backbones` names."""
    if not config.backbones:
        return [Backbone("", config)]
    found = []
    for name in config.backbones:
        other, mine = load_defaults(str(find_config(name))), config.copy_and_resolve_references()
        mine.model, mine.extract.layer = other.model, other.extract.layer
        found.append(Backbone(Path(name).stem, mine))
    return found


def split_dataset(text: str) -> tuple[str, str]:
    """(name, path) of "chartqa=data/chartqa", or of a name alone.

    Raises:
      ReLopeError: there is no such dataset.
    """
    name, _, path = text.partition("=")
    return get_dataset(name).name, path


def names(config: ConfigDict) -> list[str]:
    """Names of the study's datasets."""
    return [split_dataset(text)[0] for text in config.datasets]


def run_job(backbone: Backbone, name: str, dataset: str, fields: dict[str, Any]) -> Job:
    """A run called `name` on one of the study's datasets, with these fields (`{"dataset.variant": ...}`) changed."""
    given = dict(split_dataset(text) for text in backbone.config.datasets)
    config = backbone.config.copy_and_resolve_references()
    config.unlock()
    for field in STUDY_FIELDS:
        del config[field]
    config.lock()
    config.runs = str(Path(backbone.config.runs) / backbone.config.name / "runs")
    config.name = f"{backbone.prefix}{name}"
    config.dataset.name, config.dataset.path = dataset, given.get(dataset, "")
    config.update_from_flattened_dict(fields)
    return Job(config)


def main_run(backbone: Backbone, dataset: str) -> Job:
    """All methods on one dataset: what tables 2 to 4 and figure 2 are made of."""
    return run_job(backbone, dataset, dataset, {})


def main_runs(config: ConfigDict) -> list[Job]:
    """All methods on every dataset, for every backbone."""
    return [main_run(backbone, dataset) for backbone in backbones(config) for dataset in names(config)]
