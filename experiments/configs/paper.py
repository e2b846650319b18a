"""The paper's evaluation: Tables 1 to 4, Figures 2 and 3. By default on the suite, five tasks that run anywhere.

python -m experiments.run --config=paper.py
python -m experiments.run --config=table2.py      # only Table 2, with the same runs; see names.json
python -m experiments.run --config=paper.py --config.backbones=relope_qwen --config.large=gpt-4o \
    --config.large.base_url=https://... --config.datasets=mmmu,aokvqa,scienceqa,chartqa,mathvision \
    --config.choice_dataset=scienceqa --config.ablation_dataset=mmmu --config.dataset.max_questions=0 \
    --config.inputs.max_tokens=512

A backbone is the small model of another config, with that config's extract settings (layer, maximum answer length).
--config.model=NAME keeps the settings of this config, which are for the toy models.

docs/results/paper.md has the suite's results; docs/design/suite.md describes its tasks.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from relope_jax.methods import METHODS, SANITY


def get_config(study: str = "paper") -> ConfigDict:
    """All six studies, or only `study`, with the toy MLLMs on 700 questions of each task of the suite."""
    config = base.get_config()
    config.update(
        {
            "study": study,  # "paper", or one of experiments/studies
            "datasets": ("easy_vqa", "vega_charts", "digit_sums", "us_places", "vega_plots"),  # "name" or "name=path"
            "backbones": (),  # configs whose `model` and `extract` are compared; empty: this config's own
            "choice_dataset": "us_places",  # of Table 1: multiple choice, with questions that have no image
            "ablation_dataset": "vega_plots",  # of Figure 3
            "perturbations": ("noise:40", "jpeg:10", "blur:2"),  # of Table 3
            "layers": (),  # of Figure 3; empty: at 40%, 60%, 80% and 100% of the model's depth
            "ranks": (8, 32, 128),
            "betas": (0.01, 0.1, 1.0),
            "probes": ("relope", "attention_probe", "probe"),  # methods of Tables 1, 3 and 4 and of Figure 3
        }
    )
    config.name = "paper"
    config.model.name = "toy-small"
    config.large.name = "toy-large"
    config.methods = tuple(name for name in METHODS if name not in SANITY)
    config.dataset.max_questions = 700
    config.inputs.max_tokens = 8
    config.relope.learning_rate = 3e-4
    config.attention_probe.learning_rate = 1e-3
    config.probe.learning_rate = 3e-4
    config.train.batch_size = 32
    config.train.epochs = 60
    config.train.patience = 20  # epochs have eleven steps: the default 8 would stop on the first plateau
    return config
