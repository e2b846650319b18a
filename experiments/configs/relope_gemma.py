"""Gemma3-12B-it at the paper's layer l = 40 of 48.

    python -m experiments.run --config=relope_gemma.py

Needs the model (about 25 GB, bfloat16; gated: log in to the hub once) in the local cache or in a folder set with
`--config.model.name=`, and an accelerator with enough memory, or several with `--config.model.device_map=auto`.
"""

from ml_collections import ConfigDict

from experiments.configs import relope_qwen


def get_config() -> ConfigDict:
    """The paper's largest backbone."""
    config = relope_qwen.get_config()
    config.name = "relope_gemma"
    config.model.name = "google/gemma-3-12b-it"
    config.extract.layer = 40
    return config
