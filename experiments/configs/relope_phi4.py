"""Phi-4-multimodal-instruct at the paper's layer l = 24 of 32.

    python -m experiments.run --config=relope_phi4.py

Needs the model (about 12 GB, bfloat16) in the local cache or in a folder set with `--config.model.name=`, torchvision
for its processor and peft for its vision adapter.
"""

from ml_collections import ConfigDict

from experiments.configs import relope_qwen


def get_config() -> ConfigDict:
    """The backbone with a vision adapter, which is merged into the frozen block."""
    config = relope_qwen.get_config()
    config.name = "relope_phi4"
    config.model.name = "microsoft/Phi-4-multimodal-instruct"
    config.model.revision = "refs/pr/70"  # uses transformers' own classes; main runs code from the repository
    config.model.adapter = "vision-lora"
    # With sdpa, its vision tower attends causally or not, depending on the other images in the batch.
    config.model.attention = "eager"
    config.extract.layer = 24
    return config
