"""The plan of a study: its config as typed values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from experiments.runs.plan import run_folder
from extract.datasets import get_dataset
from extract.datasets.jsonl import JSONL
from extract.spec import DatasetSpec, ModelSpec
from relope_jax.config import find_config, load_defaults
from relope_jax.errors import ReLopeError
from relope_jax.training.spec import TrainSpec


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


@dataclasses.dataclass(frozen=True)
class StudyBackbone:
    """A small model of a study: from the study's config or from another config.

    `label` is empty for the study's own model. The configs of its runs are made from `template`.
    """

    label: str
    template: ConfigDict

    @property
    def model(self) -> ModelSpec:
        return ModelSpec(**self.template.model)

    @property
    def prefix(self) -> str:
        """Prefix of its run names; empty for the study's own model."""
        return f"{self.label}-" if self.label else ""

    @property
    def title(self) -> str:
        return self.model.name

    def says(self, finding: str) -> str:
        """A finding about this model, with its name if there are several."""
        return f"{self.title}: {finding}" if self.label else finding


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """A study's settings, as in experiments/configs/paper.py.

    Attributes:
      study: its name in the registry, or "paper" for all.
      folder: of its pages.
      runs: the folder of its runs and sweeps.
      datasets: by title.
      questions: the settings that all datasets share.
    """

    study: str
    folder: Path
    runs: Path
    methods: tuple[str, ...]
    probes: tuple[str, ...]
    seeds: tuple[int, ...]
    train: TrainSpec
    datasets: dict[str, StudyDataset]
    questions: DatasetSpec
    backbones: tuple[StudyBackbone, ...]
    choice_dataset: StudyDataset
    ablation_dataset: StudyDataset
    perturbations: tuple[str, ...]
    layers: tuple[int, ...]
    ranks: tuple[int, ...]
    betas: tuple[float, ...]

    def chosen_dataset(self, field: str) -> StudyDataset:
        """The `choice_dataset` or the `ablation_dataset`, or the only dataset if there is one.

        Raises:
          ReLopeError: it is not among the study's datasets.
        """
        wanted: StudyDataset = getattr(self, field)
        if len(self.datasets) == 1:
            return next(iter(self.datasets.values()))
        if wanted.title not in self.datasets:
            raise ReLopeError(
                f"config.{field} is '{wanted.text}', which is not among config.datasets: "
                f"set --config.{field} to one of {', '.join(self.datasets)}"
            )
        return self.datasets[wanted.title]


def plan_study(config: ConfigDict) -> StudyPlan:
    """The plan of `config`. The configs of its runs are checked when the runs are planned.

    Raises:
      ReLopeError: a dataset is unknown, two have the same title, or the config names a store.
    """
    if config.store:
        raise ReLopeError(
            "a study has one store per dataset, named by its contents: "
            "leave config.store empty, and set their folder with --config.stores=..."
        )
    return StudyPlan(
        study=config.study,
        folder=run_folder(config.runs, config.name),
        runs=Path(config.runs) / config.name / "runs",
        methods=tuple(config.methods),
        probes=tuple(config.probes),
        seeds=tuple(config.seeds),
        train=TrainSpec(**config.train),
        datasets=_datasets(config),
        questions=DatasetSpec(**config.dataset),
        backbones=tuple(_backbones(config)),
        choice_dataset=StudyDataset(config.choice_dataset),
        ablation_dataset=StudyDataset(config.ablation_dataset),
        perturbations=tuple(config.perturbations),
        layers=tuple(config.layers),
        ranks=tuple(config.ranks),
        betas=tuple(config.betas),
    )


def _datasets(config: ConfigDict) -> dict[str, StudyDataset]:
    found = {chosen.title: chosen for chosen in map(StudyDataset, config.datasets)}
    if len(found) < len(config.datasets):
        raise ReLopeError(f"config.datasets is {config.datasets!r}: two of them have the same name")
    return found


def _backbones(config: ConfigDict) -> list[StudyBackbone]:
    """The study's own small model, or those of the configs in `config.backbones`."""
    if not config.backbones:
        return [StudyBackbone("", config)]
    found = []
    for name in config.backbones:
        other, mine = load_defaults(find_config(name)), config.copy_and_resolve_references()
        mine.model, mine.extract = other.model, other.extract
        found.append(StudyBackbone(Path(name).stem, mine))
    return found
