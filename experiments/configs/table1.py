"""Table 1: text-only, multimodal and captioned questions.

python -m experiments.run --config=table1.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "table1"
    return config
