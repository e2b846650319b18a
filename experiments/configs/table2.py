"""Table 2: every method on every dataset, for one or several small models.

python -m experiments.run --config=table2.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "table2"
    return config
