"""Table 3: noise, JPEG artefacts and blur.

python -m experiments.run --config=table3.py
"""

from ml_collections import ConfigDict

from experiments.configs import paper


def get_config() -> ConfigDict:
    """As in paper.py, whose runs it shares."""
    config = paper.get_config()
    config.study = "table3"
    return config
