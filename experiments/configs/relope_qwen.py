"""Qwen2.5-VL-7B-Instruct at the paper's layer l = 24 of 28.

    python -m experiments.run --config=relope_qwen.py

on easy-VQA. On a benchmark, add for example `--config.dataset.name=chartqa` (docs/guide/datasets.md); on your own
labelled questions, `--config.dataset.name=jsonl --config.dataset.path=data.jsonl`. Needs the model (about 17 GB,
bfloat16) in the local cache or in a folder set with `--config.model.name=`, and an accelerator with enough memory.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config() -> ConfigDict:
    """The paper's main backbone."""
    config = base.get_config()
    config.name = "relope_qwen"
    config.model.name = "Qwen/Qwen2.5-VL-7B-Instruct"
    config.model.dtype = "bfloat16"
    config.extract.layer = 24
    config.extract.max_new_tokens = 32
    config.extract.token_budget = 16384
    return config
