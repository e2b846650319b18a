"""Every field with its default; the other configs change some. The fields are documented where they are defined:
extract/spec.py (model, dataset, extract, answers), extract/input_spec.py (large, inputs), relope_jax/training/spec.py
(train), relope_jax/machine/engine.py (engine), relope_jax/metrics/routing/cost.py (costs) and relope_jax/models/spec.py
(relope, attention_probe, probe, post_hoc_embed)."""

import dataclasses

from ml_collections import ConfigDict

from extract.input_spec import InputSpec, LargeSpec
from extract.spec import AnswerSpec, DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.machine.engine import EngineSpec
from relope_jax.metrics.routing.cost import CostSpec
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.training.spec import TrainSpec


def get_config() -> ConfigDict:
    """The base config."""
    return ConfigDict(
        {
            "name": "base",  # the run is written to runs/<name>
            "runs": "runs",
            "store": "",  # folder or URL of the store; empty: <stores>/<model>-<dataset>-l<layer>
            "stores": "stores",  # folder or URL for stores named after their contents
            "train_on": (),  # datasets ("name" or "name=path") to train on instead of config.dataset
            "methods": ("relope", "attention_probe", "probe"),
            "seeds": (0, 1, 2),
            "model": dataclasses.asdict(ModelSpec()),
            "dataset": dataclasses.asdict(DatasetSpec()),
            "extract": dataclasses.asdict(ExtractSpec()),
            "answers": dataclasses.asdict(AnswerSpec()),
            "large": dataclasses.asdict(LargeSpec()),
            "inputs": dataclasses.asdict(InputSpec()),
            "costs": dataclasses.asdict(CostSpec()),
            "train": dataclasses.asdict(TrainSpec()),
            "engine": dataclasses.asdict(EngineSpec()),
            "relope": dataclasses.asdict(ReLopeSpec()),
            "attention_probe": dataclasses.asdict(AttentionProbeSpec()),
            "probe": dataclasses.asdict(ProbeSpec()),
            "post_hoc_embed": dataclasses.asdict(ProbeSpec()),
        }
    )
