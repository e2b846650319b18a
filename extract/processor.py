"""Load a processor, also where torchvision is absent."""

from __future__ import annotations

import importlib.util
from typing import Any

from transformers import AutoTokenizer, Qwen2_5_VLProcessor


def load_processor(auto: Any, source: str, options: dict[str, Any]) -> Any:
    """The model's processor, padding on the left so that the last prompt token is the last column.

    Qwen2.5-VL's own loader imports a video processor, which needs torchvision; without it the processor is
    composed from its PIL image processor and its tokenizer.
    """
    if importlib.util.find_spec("torchvision") is None and _is_qwen_vl(source, options):
        processor = _compose_qwen_vl(source, options)
    else:
        processor = auto.from_pretrained(source, **options)
    processor.tokenizer.padding_side = "left"
    return processor


def _is_qwen_vl(source: str, options: dict[str, Any]) -> bool:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source, **options).model_type == "qwen2_5_vl"


class ImagesOnlyQwenProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without a video processor, whose class needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)


def _compose_qwen_vl(source: str, options: dict[str, Any]) -> Any:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(source, **options)
    # The template with image placeholders belongs to the processor; the tokenizer's own is for text.
    saved, _ = Qwen2_5_VLProcessor.get_processor_dict(source, **options)
    template = saved.get("chat_template") or tokenizer.chat_template
    return ImagesOnlyQwenProcessor(image_processor=image_processor, tokenizer=tokenizer, chat_template=template)
