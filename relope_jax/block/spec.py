"""Typed description of a frozen decoder block: shapes, arithmetic and required weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from relope_jax.errors import ReLopeError, require_choice, require_range
from relope_jax.io.inside import is_plain_name, shown_name, shown_text
from relope_jax.io.typed import record_of, require_between

ACTIVATION_NAMES = ("silu", "gelu", "gelu_pytorch_tanh")
WIDEST = 2**20  # any trained layer: wider is a typo or an attack
LARGEST_SIZE = 2**31 - 1  # any dimension
AnyArray = Array | np.ndarray  # numpy after reading, JAX on the device
Weights = Mapping[str, Float[AnyArray, "..."]]  # float32, by name
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One pre-norm decoder block with RMSNorm, grouped-query attention, RoPE and a gated MLP.

    Attributes:
      family: model family whose mapping produced the weights, for messages.
      layer: l, 1-based; the block maps Z^(l-1) to Z^(l).
      hidden_size: d.
      biases: projections that have a bias.
      qk_norm: RMSNorm on every head's query and key before RoPE.
      output_norms: RMSNorm on attention and MLP outputs before the residual (Gemma).
      rope_axes: position ids per token (1; 3 for multimodal RoPE; 2 for longrope's short and long prompts).
      rope_dim: number of leading dimensions of a head that are rotated; the rest are unchanged (partial rotary).
      rope_scaling: factor on cos and sin (YaRN, longrope), 1 otherwise.
      softcap: attention scores become `softcap * tanh(score / softcap)`; None for none.
      window: number of tokens that a token attends to, including itself (sliding window); None for all.
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
    rope_dim: int
    rope_axes: int = 1
    rope_scaling: float = 1.0
    biases: tuple[str, ...] = ()
    qk_norm: bool = False
    output_norms: bool = False
    softcap: float | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        require_choice(f"the activation of a {self.family} layer", self.activation, ACTIVATION_NAMES)
        for name in self.biases:
            require_choice("a projection with a bias", name, PROJECTIONS)

    @staticmethod
    def parse(record: Any) -> BlockSpec:
        """Parse the spec in a file.

        Raises:
          ValueError: a field is missing, unknown, or has a wrong type or an impossible value.
        """
        if not isinstance(record, dict) or not is_plain_name(record.get("family")):
            raise ValueError("its family is not a valid name")
        if record.get("activation") not in ACTIVATION_NAMES:
            raise ValueError(f"its activation is {shown_name(record.get('activation'))}")
        biases = record.get("biases")
        if not isinstance(biases, list) or not all(name in PROJECTIONS for name in biases):
            raise ValueError(f"its biases are {shown_name(biases)}")
        spec = record_of(BlockSpec, record, "spec")
        sizes = ("layer", "hidden_size", "n_heads", "n_kv_heads", "head_dim", "intermediate_size", "rope_axes")
        require_between(spec, 1, LARGEST_SIZE, *sizes)
        require_between(spec, 0, spec.head_dim, "rope_dim")
        if spec.n_heads % spec.n_kv_heads or spec.rope_dim % 2:
            raise ValueError("its heads do not divide into groups, or its rotated dimensions do not form pairs")
        require_between(spec, 0.0, 1.0, "norm_eps")
        positive = (spec.rope_scaling, spec.attention_scale, spec.softcap or 1.0, spec.window or 1)
        if min(positive) <= 0 or 0 in (spec.softcap, spec.window) or not all(map(math.isfinite, positive)):
            raise ValueError("its scaling, softcap or window is not above 0")
        if len(set(spec.biases)) < len(spec.biases):
            raise ValueError("it has a duplicate bias")
        return spec

    @property
    def group(self) -> int:
        """Number of query heads per key and value head."""
        return self.n_heads // self.n_kv_heads


def projection_shape(spec: BlockSpec, name: str) -> tuple[int, int]:
    """(fan_out, fan_in) of a projection of the block."""
    d, m = spec.hidden_size, spec.intermediate_size
    q, kv = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
    return {
        "q": (q, d),
        "k": (kv, d),
        "v": (kv, d),
        "o": (d, q),
        "gate": (m, d),
        "up": (m, d),
        "down": (d, m),
    }[name]


def weight_shapes(spec: BlockSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of exactly the weights of a block with this spec.

    `{projection}.weight` `[out, in]` and `.bias` `[out]`; norm gains as applied (1 + w where a family
    writes it so); `frequencies` `[rope_axes, rope_dim / 2]`: RoPE turns pair j of a token by
    `sum_axis position[axis] * frequencies[axis, j]`.
    """
    d = spec.hidden_size
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": projection_shape(spec, name) for name in PROJECTIONS}
    shapes |= {f"{name}.bias": projection_shape(spec, name)[:1] for name in spec.biases}
    shapes |= {"input_norm": (d,), "mlp_norm": (d,), "frequencies": (spec.rope_axes, spec.rope_dim // 2)}
    if spec.qk_norm:
        shapes |= {"q_norm": (spec.head_dim,), "k_norm": (spec.head_dim,)}
    if spec.output_norms:
        shapes |= {"attention_output_norm": (d,), "mlp_output_norm": (d,)}
    return shapes


@dataclasses.dataclass(frozen=True)
class Block:
    """A frozen block: spec, weights (see `weight_shapes`), and module names of its projections.

    Attributes:
      modules: `{projection: full name of its module in the model}`, for PEFT checkpoints; fused projections share a
        name.

    Raises:
      ReLopeError: the weights do not match the spec exactly.
    """

    spec: BlockSpec
    weights: Weights
    modules: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_shapes(self.spec, {name: tuple(weight.shape) for name, weight in self.weights.items()})


def require_shapes(spec: BlockSpec, found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ReLopeError if these shapes do not match the spec exactly."""
    expected = weight_shapes(spec)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ReLopeError(
                f"weight {shown_name(name)} of a {shown_text(spec.family)} block is {_shape(found.get(name))}, "
                f"but its spec requires {_shape(expected.get(name))}"
            )


def by_module(modules: dict[str, str]) -> dict[str, list[str]]:
    """`{module: projections}`; a fused module has several, in row order."""
    groups: dict[str, list[str]] = {}
    for name, module in modules.items():
        groups.setdefault(module, []).append(name)
    return groups


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape))


@dataclasses.dataclass(frozen=True)
class LoRASpec:
    """Low-rank adapter on the block (PEFT's conventions: scale alpha/r, or alpha/sqrt(r) if rslora).

    `alpha` 0 means 2r, which keeps the scale constant over a sweep of ranks.
    """

    rank: int = 128
    alpha: float = 256.0
    targets: tuple[str, ...] = PROJECTIONS
    rslora: bool = False

    def __post_init__(self) -> None:
        for target in self.targets:
            require_choice("lora.targets", target, PROJECTIONS)
        require_range("lora.rank", self.rank, 1, WIDEST)
        require_range("lora.alpha", self.alpha, 0, 1e9)

    @property
    def lora_alpha(self) -> float:
        """alpha as PEFT stores it."""
        return self.alpha or 2.0 * self.rank

    @property
    def scale(self) -> float:
        return self.lora_alpha / (self.rank**0.5 if self.rslora else self.rank)
