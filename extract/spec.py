"""Settings of an extraction. No torch here: configs and tests import these without loading a model."""

from __future__ import annotations

import dataclasses

from relope_jax.errors import require_choice, require_range

TOY_MLLM = "toy-mllm"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """The small MLLM.

    Attributes:
      name: hub name, local folder, or "toy-mllm" (built from pretrained parts in PyPI packages).
      revision: branch, tag or commit on the hub.
      dtype: "float32", "bfloat16" or "float16".
      device: "cpu", "cuda", ..., or "auto" (an accelerator when there is one).
      attention: transformers attention implementation.
      trust_remote_code: run code from the model's repository; leave it off unless you read that code.
      adapter: PEFT adapter to load and switch on: a local folder, or a subfolder of the model such as
        Phi-4-multimodal's "vision-lora"; needs the peft package.
    """

    name: str = TOY_MLLM
    revision: str = "main"
    dtype: str = "float32"
    device: str = "auto"
    attention: str = "sdpa"
    trust_remote_code: bool = False
    adapter: str = ""

    def __post_init__(self) -> None:
        require_choice("model.dtype", self.dtype, ("float32", "bfloat16", "float16"))


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Labelled queries and how to split them.

    Attributes:
      name: a registered dataset: "easy_vqa" or "jsonl".
      path: file of a "jsonl" dataset.
      max_questions: draw so many at random; 0 takes all.
      validation, test: shares of the groups (images); the rest is for training.
      seed: of the draw and of the split.
    """

    name: str = "easy_vqa"
    path: str = ""
    max_questions: int = 0
    validation: float = 0.2
    test: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("dataset.max_questions", self.max_questions, 0)
        require_range("dataset.validation", self.validation, 0, 1)
        require_range("dataset.test", self.test, 0, 1)


@dataclasses.dataclass(frozen=True)
class ExtractSpec:
    """What is captured and how.

    Attributes:
      layer: l, 1-based: Z^(l-1) of every prompt token and z_n^(l) are stored.
      state_dtype: "bfloat16" or "float32" for Z^(l-1); z_n^(l) is always float32.
      max_new_tokens: bound on the greedy answer.
      batch_size: prompts a forward pass.
      part_size: prompts a part; a restart recomputes at most one part.
    """

    layer: int = 24
    state_dtype: str = "bfloat16"
    max_new_tokens: int = 8
    batch_size: int = 32
    part_size: int = 256

    def __post_init__(self) -> None:
        require_choice("extract.state_dtype", self.state_dtype, ("bfloat16", "float32"))
        for field in ("layer", "max_new_tokens", "batch_size", "part_size"):
            require_range(f"extract.{field}", getattr(self, field), 1)
