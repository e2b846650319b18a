"""The configs of the runs that studies use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Job
from extract.datasets import get_dataset
from extract.datasets.jsonl import JSONL
from relope_jax.config import find_config, load_defaults
from relope_jax.errors import ReLopeError
from relope_jax.methods import TrainedMethod, get_method

STUDY_FIELDS = (
    "study",
    "datasets",
    "backbones",
    "choice_dataset",
    "ablation_dataset",
    "perturbations",
    "layers",
    "ranks",
    "betas",
    "probes",
)
NO_LARGE = {"large.name": "", "large.base_url": ""}  # for jobs that need no large model, to avoid its cost


@dataclasses.dataclass(frozen=True)
class StudyBackbone:
    """A small model of a study: from the study's config or from another config."""

    label: str
    config: ConfigDict

    @property
    def prefix(self) -> str:
        """Prefix of its run names; empty for the study's own model."""
        return f"{self.label}-" if self.label else ""

    @property
    def title(self) -> str:
        return self.config.model.name

    def says(self, finding: str) -> str:
        """A finding about this model, with its name if there are several."""
        return f"{self.title}: {finding}" if self.label else finding


def backbones(config: ConfigDict) -> list[StudyBackbone]:
    """The study's own small model, or those of the configs in `config.backbones`."""
    if not config.backbones:
        return [StudyBackbone("", config)]
    found = []
    for name in config.backbones:
        other, mine = load_defaults(find_config(name)), config.copy_and_resolve_references()
        mine.model, mine.extract = other.model, other.extract
        found.append(StudyBackbone(Path(name).stem, mine))
    return found


@dataclasses.dataclass(frozen=True)
class StudyDataset:
    """A dataset of a study: "chartqa=data/chartqa", or only a name. For "jsonl" the title is the file's name."""

    text: str

    @property
    def name(self) -> str:
        """The registered dataset; raises ReLopeError if there is none with that name."""
        return get_dataset(self.text.partition("=")[0]).name

    @property
    def path(self) -> str:
        return self.text.partition("=")[2]

    @property
    def title(self) -> str:
        return Path(self.path).stem if self.name == JSONL.name else self.name


def datasets(config: ConfigDict) -> dict[str, StudyDataset]:
    """The study's datasets by title.

    Raises:
      ReLopeError: one is unknown, or two have the same title.
    """
    found = {chosen.title: chosen for chosen in map(StudyDataset, config.datasets)}
    if len(found) < len(config.datasets):
        raise ReLopeError(f"config.datasets is {config.datasets!r}: two of them have the same name")
    return found


def chosen_dataset(config: ConfigDict, field: str) -> StudyDataset:
    """The dataset in `config.choice_dataset` or `config.ablation_dataset`, or the only dataset if there is one.

    Raises:
      ReLopeError: it is not among the study's datasets.
    """
    every, wanted = datasets(config), StudyDataset(config[field])
    if len(every) > 1 and wanted.title not in every:
        raise ReLopeError(
            f"config.{field} is '{config[field]}', which is not among config.datasets: "
            f"set --config.{field} to one of {', '.join(every)}"
        )
    return every[wanted.title] if len(every) > 1 else next(iter(every.values()))


def run_job(backbone: StudyBackbone, name: str, dataset: StudyDataset, fields: dict[str, Any]) -> Job:
    """A run with the name `name` on a dataset, with these fields (`{"dataset.variant": ...}`) changed."""
    if backbone.config.store:
        raise ReLopeError(
            "a study has one store per dataset, named by its contents: "
            "leave config.store empty, and set their folder with --config.stores=..."
        )
    config = backbone.config.copy_and_resolve_references()
    config.unlock()
    for field in STUDY_FIELDS:
        del config[field]
    config.lock()
    config.runs = str(Path(backbone.config.runs) / backbone.config.name / "runs")
    config.name = f"{backbone.prefix}{name}"
    config.dataset.name, config.dataset.path = dataset.name, dataset.path
    config.update_from_flattened_dict(fields)
    return Job(config)


def main_run(backbone: StudyBackbone, dataset: StudyDataset) -> Job:
    """All methods on one dataset, for tables 2 to 4 and figure 2."""
    return run_job(backbone, dataset.title, dataset, {})


def main_runs(config: ConfigDict) -> list[Job]:
    """All methods on every dataset, for every backbone."""
    return [main_run(backbone, dataset) for backbone in backbones(config) for dataset in datasets(config).values()]


def probed_runs(config: ConfigDict) -> list[Job]:
    """The main runs, for a study that tests their probes on other prompts.

    Raises:
      ReLopeError: `config.probes` has a method that is not a probe, or that the main runs do not train.
    """
    for name in config.probes:
        if not isinstance(get_method(name), TrainedMethod) or name not in config.methods:
            raise ReLopeError(
                f"config.probes has '{name}', which is not among the probes of config.methods "
                f"({', '.join(config.methods)}): set --config.probes=..."
            )
    return main_runs(config)
