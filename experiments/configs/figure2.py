"""Figure 2: accuracy of the system against the share routed.

python -m experiments.run --config=figure2.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "figure2"
    return config
