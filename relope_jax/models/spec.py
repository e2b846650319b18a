"""Typed description of a frozen decoder block and of everything trained on top of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from relope_jax.errors import require_choice, require_range

ACTIVATIONS = ("silu", "gelu_pytorch_tanh")
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """Shape and arithmetic of one pre-norm decoder block with GQA, RoPE and a gated MLP.

    Attributes:
      family: model family that mapped the weights, for messages.
      layer: l, 1-based; the block turns Z^(l-1) into Z^(l).
      hidden_size: d.
      rope_sections: frequencies per position axis (multimodal RoPE), or None for one axis.
      rope_scaling: factor on cos and sin (YaRN and relatives), 1 otherwise.
    """

    family: str
    layer: int
    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float
    activation: str
    attention_scale: float
    rope_scaling: float = 1.0
    rope_sections: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        require_choice(f"the activation of a {self.family} layer", self.activation, ACTIVATIONS)


@dataclasses.dataclass(frozen=True)
class Block:
    """A frozen block: its spec and its weights.

    Weight names: `{q,k,v,o,gate,up,down}.weight` `[out, in]`, optional `.bias` `[out]`,
    `input_norm`, `post_attention_norm` `[d]` and `inv_freq` `[head_dim / 2]`.
    """

    spec: BlockSpec
    weights: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LoRASpec:
    """Low-rank adapter on the block (PEFT's conventions: scale alpha/r, or alpha/sqrt(r) if rslora)."""

    rank: int = 128
    alpha: float = 256.0
    targets: tuple[str, ...] = PROJECTIONS
    rslora: bool = False

    def __post_init__(self) -> None:
        for target in self.targets:
            require_choice("lora.targets", target, PROJECTIONS)
        require_range("lora.rank", self.rank, 1)

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclasses.dataclass(frozen=True)
class ProbeSpec:
    """Probe on z_n^(l): a 5-layer MLP, i.e. four hidden widths and the logit (paper section 3)."""

    widths: tuple[int, ...] = (256, 128, 64, 32)
    dropout: float = 0.1
    learning_rate: float = 1e-4  # the paper's

    def __post_init__(self) -> None:
        require_range("widths", min(self.widths, default=0), 1)
        require_range("dropout", self.dropout, 0, 0.99)
        require_range("learning_rate", self.learning_rate, 1e-12)


@dataclasses.dataclass(frozen=True)
class AttentionProbeSpec(ProbeSpec):
    """Attention Probe on Z^(l-1): one learned query q pools the tokens, then the MLP (paper section 4.1)."""


@dataclasses.dataclass(frozen=True)
class ReLopeSpec(ProbeSpec):
    """ReLope: block l with LoRA, a Gaussian bottleneck, then the MLP (paper section 4.2).

    Attributes:
      lora: the adapter.
      bottleneck: width of mu and sigma; 0 means the hidden size d.
      classifier_input: "sample" feeds the MLP z' (the paper's text), "hidden" feeds it z (Algorithm 1).
      beta: weight of the KL term at the end of its schedule.
      beta_schedule: "constant", or "linear" from 0 to beta over `beta_warmup` of training.
      kl_reduction: "mean" or "sum" of the KL over the bottleneck's dimensions.
    """

    lora: LoRASpec = LoRASpec()
    bottleneck: int = 0
    classifier_input: str = "sample"
    beta: float = 1.0
    beta_schedule: str = "linear"
    beta_warmup: float = 0.5
    kl_reduction: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("relope.classifier_input", self.classifier_input, ("sample", "hidden"))
        require_choice("relope.beta_schedule", self.beta_schedule, ("constant", "linear"))
        require_choice("relope.kl_reduction", self.kl_reduction, ("mean", "sum"))
        require_range("relope.beta", self.beta, 0)
        require_range("relope.beta_warmup", self.beta_warmup, 1e-6, 1)
        require_range("relope.bottleneck", self.bottleneck, 0)
