"""Settings for the inputs of baselines other than hidden states. No torch here."""

from __future__ import annotations

import dataclasses

from extract.spec import ModelSpec, require_server_url
from relope_jax.errors import ReLopeError, require_range
from relope_jax.io.paths import expand_fields


@dataclasses.dataclass(frozen=True)
class LargeSpec(ModelSpec):
    """The large model: `ModelSpec`'s fields for a model in this process, or a name on a server.

    `config.answers` sets how requests are sent (max_tokens, concurrency, key_env, prices, cache, ...).

    Attributes:
      name: empty means that no large model is called; existing answers "large" in the store are still used.
      base_url: an OpenAI-compatible server that serves `name`; empty runs the model in this process.
    """

    name: str = ""
    base_url: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_url and not self.name:
            raise ReLopeError("large.base_url is set: name a model on that server with --config.large.name=...")
        if self.base_url:
            require_server_url("large.base_url", self.base_url)

    def paths(self) -> tuple[str, ...]:
        """No paths for a model on a server, whatever its name looks like."""
        return () if self.base_url else super().paths()

    @property
    def model(self) -> ModelSpec:
        """The model to run in this process."""
        return ModelSpec(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ModelSpec)})


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The inputs that a run makes for its baselines: text embeddings, sampled answers, stated confidence.

    Attributes:
      encoder: sentence encoder, a folder or a hub name; empty means all-MiniLM-L6-v2 from its PyPI package.
      encoder_revision: branch, tag or commit of an encoder on the hub.
      samples: k, the number of sampled answers of the small model under each of the two prompts.
      temperature, top_p, max_tokens: of the sampled answers.
      batch: prompts, or texts, per batch.
    """

    encoder: str = ""
    encoder_revision: str = "main"
    samples: int = 4
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 128
    batch: int = 64

    def __post_init__(self) -> None:
        expand_fields(self, "encoder")
        for field in ("samples", "max_tokens", "batch"):
            require_range(f"inputs.{field}", getattr(self, field), 1)
        require_range("inputs.temperature", self.temperature, 1e-3, 10)
        require_range("inputs.top_p", self.top_p, 0, 1)
