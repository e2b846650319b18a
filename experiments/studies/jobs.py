"""The runs that studies need."""

from __future__ import annotations

from typing import Any

from experiments.studies.plan import StudyBackbone, StudyDataset, StudyPlan
from experiments.studies.study import Job
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


def run_job(plan: StudyPlan, backbone: StudyBackbone, name: str, dataset: StudyDataset, fields: dict[str, Any]) -> Job:
    """A run with the name `name` on a dataset, with these fields (`{"dataset.variant": ...}`) changed."""
    config = backbone.template.copy_and_resolve_references()
    config.unlock()
    for field in STUDY_FIELDS:
        del config[field]
    config.lock()
    config.runs = str(plan.runs)
    config.name = f"{backbone.prefix}{name}"
    config.dataset.name, config.dataset.path = dataset.name, dataset.path
    config.update_from_flattened_dict(fields)
    return Job(config)


def main_run(plan: StudyPlan, backbone: StudyBackbone, dataset: StudyDataset) -> Job:
    """All methods on one dataset, for tables 2 to 4 and figure 2."""
    return run_job(plan, backbone, dataset.title, dataset, {})


def main_runs(plan: StudyPlan) -> list[Job]:
    """All methods on every dataset, for every backbone."""
    return [main_run(plan, backbone, dataset) for backbone in plan.backbones for dataset in plan.datasets.values()]


def probed_runs(plan: StudyPlan) -> list[Job]:
    """The main runs, for a study that tests their probes on other prompts.

    Raises:
      ReLopeError: `plan.probes` has a method that is not a probe, or that the main runs do not train.
    """
    for name in plan.probes:
        if not isinstance(get_method(name), TrainedMethod) or name not in plan.methods:
            raise ReLopeError(
                f"config.probes has '{name}', which is not among the probes of config.methods "
                f"({', '.join(plan.methods)}): set --config.probes=..."
            )
    return main_runs(plan)
