"""The toy MLLM on easy-VQA: the whole line on any machine.

python -m experiments.run --config=quickstart.py
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config() -> ConfigDict:
    """4,000 questions, three methods, three seeds."""
    config = base.get_config()
    config.name = "quickstart"
    config.dataset.max_questions = 4000
    return config
