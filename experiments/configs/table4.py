"""Table 4: train on all datasets but one, test on that one.

python -m experiments.run --config=table4.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "table4"
    return config
