"""Figure 3: rank of the LoRA, layer and beta.

python -m experiments.run --config=figure3.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "figure3"
    return config
