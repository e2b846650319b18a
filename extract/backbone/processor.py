"""Loads a processor, also without torchvision."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoTokenizer,
    ProcessorMixin,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from relope_jax.errors import ReLopeError

QWEN_PROCESSORS = {"qwen2_vl": Qwen2VLProcessor, "qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}


def load_processor(auto: Any, source: str | Path, options: dict[str, Any]) -> Any:
    """The model's processor, padding on the left so that the last prompt token is in the last column.

    A few processors require torchvision although they have PIL image processors. Without torchvision these are
    assembled here.

    Raises:
      ReLopeError: the processor requires torchvision.
    """
    processor = None
    if importlib.util.find_spec("torchvision") is None:
        processor = _without_torchvision(source, options)
    if processor is None:
        processor = auto.from_pretrained(source, **options)
    processor.tokenizer.padding_side = "left"
    return processor


def _without_torchvision(source: str | Path, options: dict[str, Any]) -> Any:
    """The processor of a model type whose own loader imports torchvision; None for all others."""
    config = AutoConfig.from_pretrained(source, **options)
    if config.model_type in QWEN_PROCESSORS:
        return _compose_qwen_vl(QWEN_PROCESSORS[config.model_type], source, options)
    if getattr(getattr(config, "vision_config", None), "model_type", "") == "pixtral":  # Mistral 3, and Pixtral's LLaVA
        return PixtralProcessorPil.from_pretrained(source, **options)
    if config.model_type == "phi4_multimodal":  # no PIL image processor exists
        raise ReLopeError("Phi-4-multimodal's processor needs torchvision: pip install torchvision")
    return None


class _ImagesOnly:
    """Mixin for a Qwen processor without its video processor, whose class requires torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and argument is None:
            return None
        processor: Any = super()  # the processor class
        return processor.check_argument_for_proper_class(argument_name, argument)


def _compose_qwen_vl(processor_class: Any, source: str | Path, options: dict[str, Any]) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(source, **options)
    # The template with image placeholders belongs to the processor; the tokenizer's template is for text only.
    saved, _ = processor_class.get_processor_dict(source, **options)
    template = saved.get("chat_template") or tokenizer.chat_template
    images_only = type(f"ImagesOnly{processor_class.__name__}", (_ImagesOnly, processor_class), {})
    return images_only(image_processor=image_processor, tokenizer=tokenizer, chat_template=template)


class PixtralProcessorPil(ProcessorMixin):
    """Pixtral's processor (whose module imports torchvision) with its PIL image processor. An image becomes rows of
    image tokens; each row ends with a break token, the last one with an end token."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int = 16,
        spatial_merge_size: int = 1,
        chat_template: str | None = None,
        image_token: str = "[IMG]",
        image_break_token: str = "[IMG_BREAK]",
        image_end_token: str = "[IMG_END]",
        **kwargs: Any,
    ):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
        self.image_token, self.image_break_token, self.image_end_token = image_token, image_break_token, image_end_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)

    def _process_images(self, images: Any, **kwargs: Any) -> Any:
        return super()._process_images(images, **kwargs | {"patch_size": self.patch_size * self.spatial_merge_size})

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        merged = self.patch_size * self.spatial_merge_size
        height, width = (int(side) // merged for side in image_inputs["image_sizes"][image_idx])
        row = self.image_token * width
        return self.image_break_token.join([row] * height) + self.image_end_token

    @property
    def model_input_names(self) -> list[str]:
        return [*super().model_input_names, "image_sizes"]
