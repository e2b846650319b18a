"""Settings of the LoRA and the three probes."""

from __future__ import annotations

import dataclasses

from relope_jax.block.spec import WIDEST, LoRASpec
from relope_jax.errors import require_choice, require_range

TOKEN_DTYPES = ("float32", "bfloat16")
DEEPEST = 64  # layers of the MLP: more is a typo or an attack


@dataclasses.dataclass(frozen=True)
class ProbeSpec:
    """Probe on z_n^(l): a 5-layer MLP, i.e. four hidden widths and the logit (paper section 3)."""

    widths: tuple[int, ...] = (256, 128, 64, 32)
    dropout: float = 0.1
    learning_rate: float = 1e-4  # the paper's

    def __post_init__(self) -> None:
        require_range("widths", min(self.widths, default=0), 1)
        require_range("widths", max(self.widths), 1, WIDEST)
        require_range("the number of widths", len(self.widths), 1, DEEPEST)
        require_range("dropout", self.dropout, 0, 0.99)
        require_range("learning_rate", self.learning_rate, 1e-12)


@dataclasses.dataclass(frozen=True)
class AttentionProbeSpec(ProbeSpec):
    """Attention Probe on Z^(l-1): one learned query q pools the tokens, then the MLP (paper section 4.1).

    Attributes:
      token_dtype: dtype of factors in products with the states of all tokens, "float32" or "bfloat16"; sums are
        float32.
    """

    token_dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("attention_probe.token_dtype", self.token_dtype, TOKEN_DTYPES)


@dataclasses.dataclass(frozen=True)
class ReLopeSpec(ProbeSpec):
    """ReLope: block l with LoRA, a Gaussian bottleneck, then the MLP (paper section 4.2).

    Attributes:
      lora: the adapter.
      bottleneck: width of mu and sigma; 0 means the hidden size d.
      classifier_input: "sample" feeds the MLP z' (the paper's text), "hidden" feeds it z (Algorithm 1).
      beta: weight of the KL term at the end of its schedule.
      beta_schedule: "constant", or "linear" from 0 to beta over a share `beta_warmup` of training.
      kl_reduction: "mean" or "sum" of the KL over the bottleneck's dimensions.
      token_dtype: dtype of factors in products with the states of all tokens, "float32" or "bfloat16"; sums are
        float32.
    """

    lora: LoRASpec = dataclasses.field(default_factory=LoRASpec)
    bottleneck: int = 0
    classifier_input: str = "sample"
    beta: float = 1.0
    beta_schedule: str = "linear"
    beta_warmup: float = 0.5
    kl_reduction: str = "mean"
    token_dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("relope.classifier_input", self.classifier_input, ("sample", "hidden"))
        require_choice("relope.beta_schedule", self.beta_schedule, ("constant", "linear"))
        require_choice("relope.kl_reduction", self.kl_reduction, ("mean", "sum"))
        require_choice("relope.token_dtype", self.token_dtype, TOKEN_DTYPES)
        require_range("relope.beta", self.beta, 0)
        require_range("relope.beta_warmup", self.beta_warmup, 1e-6, 1)
        require_range("relope.bottleneck", self.bottleneck, 0, WIDEST)
