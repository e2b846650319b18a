"""Settings of what baselines read besides the hidden states. No torch here."""

from __future__ import annotations

import dataclasses

from extract.spec import ModelSpec, require_server_url
from relope_jax.errors import ReLopeError, require_range
from relope_jax.io.paths import expand_fields


@dataclasses.dataclass(frozen=True)
class LargeSpec(ModelSpec):
    """The large model: `ModelSpec`'s fields for one in process, or a name on a server.

    `config.answers` sets how it is asked (max_tokens, concurrency, key_env, prices, cache, ...).

    Attributes:
      name: empty: no large model is asked, and the store's answers "large" are read when there are any.
      base_url: an OpenAI-compatible server that knows `name`; empty runs the model in process.
    """

    name: str = ""
    base_url: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_url and not self.name:
            raise ReLopeError("large.base_url is set: name the model on that server with --config.large.name=...")
        if self.base_url:
            require_server_url("large.base_url", self.base_url)

    def paths(self) -> tuple[str, ...]:
        """A model's name on a server is not a path, whatever it begins with."""
        return () if self.base_url else super().paths()

    @property
    def model(self) -> ModelSpec:
        """The model in process."""
        return ModelSpec(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ModelSpec)})


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What a run makes for its baselines: text embeddings, sampled answers, stated confidence.

    Attributes:
      encoder: sentence encoder, a folder or a hub name; empty takes all-MiniLM-L6-v2 from its PyPI package.
      encoder_revision: branch, tag or commit of an encoder on the hub.
      samples: k, sampled answers of the small model under each of the two prompts.
      temperature, top_p, max_tokens: of these.
      batch: prompts, or texts, at a time.
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
