"""The torch baselines that train on the same cached states: the three routers as plain modules, ReLope with a
transformers decoder layer adapted by PEFT.

They are optimised as a careful user would: states in memory as float32, standardised in advance if the router reads
nothing else; batches of similar lengths, so that there is almost no padding; no mask without padding, and none for a
causal block, whose prompts are padded on the right; fused AdamW (the fastest on this CPU); no gradient below the LoRA;
no synchronisation before the epoch ends. Not compiled (torch.compile). Initial values are torch's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from experiments.benchmarks import torch_block
from extract.backbone.families.llama import LLAMA
from relope_jax.block.spec import Block, LoRASpec
from relope_jax.metrics.auc import delong
from relope_jax.models.spec import ProbeSpec, ReLopeSpec
from relope_jax.states.ragged import TokenStates
from relope_jax.states.statistics import Moments, TokenStatistics
from relope_jax.training.spec import TrainSpec

SCORED = 128  # prompts per evaluation batch, as in ours


class Batch(NamedTuple):
    """Prompts padded on the right. `mask` is None if there is no padding. The Probe reads no tokens."""

    last_hidden: torch.Tensor
    labels: torch.Tensor
    lengths: torch.Tensor
    hidden: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    mask: torch.Tensor | None = None


class CachedStates:
    """States of all prompts in memory, flat. Batches are gathered from them."""

    def __init__(self, states: TokenStates, labels: np.ndarray):
        self.hidden = torch.from_numpy(states.hidden.astype(np.float32))
        self.positions = torch.from_numpy(states.positions[:, 0].astype(np.int64))
        self.starts, self.lengths = torch.from_numpy(states.offsets[:-1]), torch.from_numpy(states.lengths)
        self.last_hidden = torch.from_numpy(states.last_hidden)
        self.labels = torch.from_numpy(labels.astype(np.float32))

    def standardized(self, statistics: TokenStatistics) -> CachedStates:
        """The same states, standardised in advance."""
        copy = object.__new__(CachedStates)
        vars(copy).update(vars(self))
        copy.hidden = Standardize(statistics.hidden)(self.hidden)
        copy.last_hidden = Standardize(statistics.last_hidden)(self.last_hidden)
        return copy

    def batch(self, rows: torch.Tensor, tokens: bool) -> Batch:
        batch = Batch(self.last_hidden[rows], self.labels[rows], self.lengths[rows])
        return self._with_tokens(batch, self.starts[rows]) if tokens else batch

    def _with_tokens(self, batch: Batch, starts: torch.Tensor) -> Batch:
        shortest, longest = batch.lengths.aminmax()
        place = torch.arange(longest)
        tokens, mask = starts[:, None] + place, None
        if shortest < longest:
            mask = place < batch.lengths[:, None]
            tokens = tokens.where(mask, 0)
        hidden = self.hidden.index_select(0, tokens.reshape(-1)).view(*tokens.shape, -1)
        return batch._replace(hidden=hidden, positions=self.positions[tokens], mask=mask)

    def epoch(self, rows: torch.Tensor, size: int, tokens: bool) -> Iterator[Batch]:
        """Shuffled batches of similar lengths."""
        shuffled = rows[torch.randperm(len(rows))]
        batches = shuffled[self.lengths[shuffled].argsort(stable=True)].split(size)
        for i in torch.randperm(len(batches)):
            yield self.batch(batches[i], tokens)


class Standardize(nn.Module):
    def __init__(self, moments: Moments):
        super().__init__()
        self.register_buffer("offset", torch.from_numpy(moments.mean))
        self.register_buffer("inv_std", torch.from_numpy(moments.inverse_std()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.offset) * self.inv_std


class MLP(nn.Module):
    def __init__(self, fan_in: int, spec: ProbeSpec):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise((fan_in, *spec.widths, 1)))
        self.gelu, self.dropout = nn.GELU(approximate="tanh"), nn.Dropout(spec.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = self.dropout(self.gelu(layer(x)))
        return self.layers[-1](x)[:, 0]


class Probe(nn.Module):
    """On standardised states, like the Attention Probe."""

    reads_tokens = False

    def __init__(self, spec: ProbeSpec, d: int):
        super().__init__()
        self.mlp = MLP(d, spec)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        return (self.mlp(batch.last_hidden),)


class AttentionProbe(nn.Module):
    reads_tokens = True

    def __init__(self, spec: ProbeSpec, d: int):
        super().__init__()
        self.query = nn.Parameter(torch.randn(d) * d**-0.5)
        self.mlp = MLP(d, spec)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        scores = batch.hidden @ self.query / math.sqrt(len(self.query))
        if batch.mask is not None:
            scores = scores.masked_fill(~batch.mask, -torch.inf)
        return (self.mlp((scores.softmax(-1)[:, None] @ batch.hidden)[:, 0]),)


class Bottleneck(nn.Module):
    """ReLope's part after the block: (logit, mean, log_var) of z."""

    def __init__(self, spec: ReLopeSpec, d: int, statistics: TokenStatistics):
        super().__init__()
        k = spec.bottleneck or d
        self.standardize = Standardize(statistics.last_hidden)
        self.mean, self.log_var, self.mlp = nn.Linear(d, k), nn.Linear(d, k), MLP(k, spec)

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = self.standardize(z)
        mean, log_var = self.mean(z), self.log_var(z)
        latent = mean + (0.5 * log_var).exp() * torch.randn_like(mean) if self.training else mean
        return self.mlp(latent), mean, log_var


class ReLope(nn.Module):
    """`read(layer, batch)` computes z_n^(l) of an adapted layer."""

    reads_tokens = True

    def __init__(
        self, layer: torch_block.Layer, head: Bottleneck, read: Callable[[torch_block.Layer, Batch], torch.Tensor]
    ):
        super().__init__()
        self.layer, self.head, self.read = layer, head, read

    def forward(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        return self.head(self.read(self.layer, batch))


def adapted_layer(block: Block, spec: LoRASpec) -> torch_block.Layer:
    """The stored block as a transformers layer with PEFT's LoRA (A and B not zero)."""
    layer = torch_block.make_layer(block.spec)
    modules = LLAMA.norms | LLAMA.modules
    with torch.no_grad():
        for name, module in modules.items():
            weight = block.weights[name if name in LLAMA.norms else f"{name}.weight"]
            layer.layer.get_submodule(module).weight.copy_(torch.from_numpy(weight))
        layer.rotary.inv_freq.copy_(torch.from_numpy(block.weights["frequencies"][0]))
    return torch_block.adapt(layer, spec.rank, spec.alpha)


def full_block(layer: torch_block.Layer, batch: Batch) -> torch.Tensor:
    """As PEFT trains: every token goes through the whole layer."""
    cos_sin = layer.rotary(batch.hidden, batch.positions)
    z = layer.layer(batch.hidden, position_embeddings=cos_sin, attention_mask=None)
    return z[torch.arange(len(z)), batch.lengths - 1]


def last_token_block(layer: torch_block.Layer, batch: Batch) -> torch.Tensor:
    """With less work: keys and values of all tokens, everything else for the last one."""
    block, attention, dim = layer.layer, layer.layer.self_attn, layer.config.head_dim
    size, n, _ = batch.hidden.shape
    every, last = torch.arange(size), batch.lengths - 1
    normed = block.input_layernorm(batch.hidden)
    q = attention.q_proj(normed[every, last]).view(size, -1, 1, dim)
    k = attention.k_proj(normed).view(size, n, -1, dim).transpose(1, 2)
    v = attention.v_proj(normed).view(size, n, -1, dim).transpose(1, 2)
    cos, sin = layer.rotary(batch.hidden, batch.positions)
    q, _ = apply_rotary_pos_emb(q, q, cos[every, last, None], sin[every, last, None])
    _, k = apply_rotary_pos_emb(k, k, cos, sin)
    mask = None if batch.mask is None else batch.mask[:, None, None]
    context = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    z = batch.hidden[every, last] + attention.o_proj(context.reshape(size, -1))
    return z + block.mlp(block.post_attention_layernorm(z))


def by_our_names(
    model: nn.Module, read: Callable[[nn.Parameter], torch.Tensor] = torch.Tensor.detach
) -> dict[str, np.ndarray]:
    """The result of `read` for every trained parameter, under our names and in our layout."""
    values = {
        name.removeprefix("head.").replace("weight", "kernel"): read(parameter).numpy().T
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "lora_" not in name
    }
    if isinstance(model, ReLope):
        for projection, matrices in torch_block.lora_matrices(model.layer).items():
            values |= {f"lora.{ab}.{projection}": read(m).numpy() for ab, m in zip("ab", matrices, strict=True)}
    return values


def objective(output: tuple[torch.Tensor, ...], labels: torch.Tensor, beta: float) -> torch.Tensor:
    """BCE; for ReLope's output plus beta times the mean KL."""
    logit, *posterior = output
    loss = nn.functional.binary_cross_entropy_with_logits(logit, labels)
    if posterior:
        mean, log_var = posterior
        loss = loss + beta * 0.5 * (mean * mean + log_var.exp() - 1 - log_var).mean()
    return loss


class Trainer:
    """A model with AdamW after gradient clipping, like ours."""

    def __init__(self, model: nn.Module, spec: ProbeSpec, train: TrainSpec):
        self.model, self.train = model, train
        self.beta = spec.beta if isinstance(spec, ReLopeSpec) else 0.0  # the cost of its schedule is negligible
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=spec.learning_rate, weight_decay=train.weight_decay, fused=True
        )

    def step(self, output: tuple[torch.Tensor, ...], labels: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = objective(output, labels, self.beta)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, self.train.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def epoch(self, states: CachedStates, rows: torch.Tensor) -> float:
        """Mean loss of one epoch."""
        self.model.train()
        batches = states.epoch(rows, self.train.batch_size, self.model.reads_tokens)
        return float(torch.stack([self.step(self.model(batch), batch.labels) for batch in batches]).mean())

    @torch.inference_mode()
    def auc(self, states: CachedStates, rows: torch.Tensor) -> float:
        """Evaluation, without keeping the best parameters."""
        self.model.eval()
        rows = rows[states.lengths[rows].argsort()]
        batches = (states.batch(some, self.model.reads_tokens) for some in rows.split(SCORED))
        logits = torch.cat([self.model(batch)[0] for batch in batches])
        return float(delong(logits.double().numpy()[None], states.labels[rows].numpy().astype(np.int64)).auc[0])
