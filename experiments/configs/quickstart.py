"""The toy MLLM on easy-VQA: the whole pipeline on any machine.

python -m experiments.run --config=quickstart.py
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config() -> ConfigDict:
    """4,000 questions, three methods, three seeds."""
    config = base.get_config()
    config.name = "quickstart"
    config.dataset.max_questions = 4000
    # Chosen on the validation split, within ten minutes for the whole pipeline; see docs/results/quickstart.md.
    config.relope.learning_rate = 3e-4
    config.attention_probe.learning_rate = 1e-3
    config.probe.learning_rate = 3e-4
    config.train.epochs = 40
    return config
