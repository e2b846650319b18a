"""The frozen block with LoRA, forward and backward, on the same cached states and with the same loss: torch + PEFT over
the full block, torch + PEFT for the last token only, and the absorbed block."""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
import torch
from jaxtyping import Array

from experiments.benchmarks import torch_block
from experiments.benchmarks.measure import Program, Record, keep_memory, measure
from relope_jax.block.absorbed import last_token_block
from relope_jax.block.batch import TokenBatch
from relope_jax.block.file import device_weights
from relope_jax.block.key_cache import KeyCache, frozen_keys
from relope_jax.block.operations import step_work
from relope_jax.block.spec import Block, BlockSpec
from relope_jax.errors import ReLopeError

SCALE = 2.0  # alpha / r
STEPS = 4  # our steps per dispatch
AGREEMENT = 1e-3  # relative; torch and JAX must compute the same gradients before timing


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """A block, a batch and a LoRA rank."""

    name: str
    spec: BlockSpec
    batch: int
    n: int
    rank: int = 128
    rounds: int = 7
    state_dtypes: tuple[str, ...] = ("float32", "bfloat16")

    @property
    def gigabytes(self) -> float:
        """Memory of all programs together: three copies of the layer, and PEFT's activations."""
        d, m = self.spec.hidden_size, self.spec.intermediate_size
        return (4 * 3 * (3 * d * m + 4 * d * d) + 4 * self.batch * self.n * (6 * m + 20 * d)) / 1e9


def llama(d: int, heads: int, kv: int, dim: int, m: int) -> BlockSpec:
    return BlockSpec("llama", 1, d, heads, kv, dim, m, 1e-6, "silu", dim**-0.5, rope_dim=dim)


SHAPES = (
    BlockShape("quickstart", llama(576, 9, 3, 64, 1536), batch=64, n=32),  # SmolLM2-135M
    BlockShape("d896", llama(896, 14, 2, 64, 4864), batch=16, n=256),  # Qwen2-0.5B
    # Qwen2.5-7B:
    BlockShape("d3584", llama(3584, 28, 4, 128, 18944), batch=4, n=512, rounds=2, state_dtypes=("bfloat16",)),
)


def run() -> Iterator[Record]:
    """Records for every shape that fits into memory."""
    if jax.default_backend() != "cpu":
        raise ReLopeError("this benchmark compares with torch on the CPU: set JAX_PLATFORMS=cpu")
    keep_memory()
    for shape in SHAPES:
        free = psutil.virtual_memory().available / 1e9
        if shape.gigabytes > free:
            reason = f"it needs {shape.gigabytes:.0f} GB of memory and {free:.0f} are free"
            print(f"block/{shape.name}: left out, {reason}", file=sys.stderr)
            continue
        for state_dtype in shape.state_dtypes:
            yield from run_shape(shape, state_dtype)


def run_shape(shape: BlockShape, state_dtype: str) -> Iterator[Record]:
    """All programs on one batch of states."""
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(shape.batch, shape.n, shape.spec.hidden_size)).astype(np.float32))
    states = states.to(getattr(torch, state_dtype))
    head = rng.normal(size=shape.spec.hidden_size).astype(np.float32) * shape.spec.hidden_size**-0.5
    labels = rng.integers(0, 2, shape.batch).astype(np.float32)

    layer = torch_block.make_layer(shape.spec)
    block = torch_block.dump(layer)
    layer = torch_block.adapt(layer, shape.rank, SCALE * shape.rank)
    matrices = torch_block.lora_matrices(layer)
    programs = absorbed_programs(block, matrices, states, head, labels)
    fixed = torch.from_numpy(head), torch.from_numpy(labels)
    for dtype, module in (("float32", layer), ("bfloat16", copy.deepcopy(layer).to(torch.bfloat16))):
        for rival, z in (("full", torch_block.full_block), ("last_token", torch_block.last_token_block)):
            programs[f"{rival}_peft_{dtype}"] = Program(torch_block.step(z, module, states, *fixed))
    for rival in ("full_peft_float32", "last_token_peft_float32"):
        programs[rival].call()  # leaves its gradients in `matrices`
        for form in ("absorbed", "without_key_cache"):
            require_agreement(programs[form].call(), matrices)
    seconds, ceilings = measure(programs, shape.rounds)

    name, ours = f"block/{shape.name}/{state_dtype}_states", 1e3 * seconds.pop("absorbed")
    work = step_work(block.spec, shape.rank, shape.batch, shape.n, states.element_size())
    floor = 1e3 * work.seconds(ceilings.flops_per_second, ceilings.bytes_per_second)
    yield from ceilings.records(name)
    for other, theirs in seconds.items():
        yield Record.of_time(f"{name}/absorbed_vs_{other}", ours, 1e3 * theirs, floor)


def absorbed_programs(
    block: Block, matrices: dict[str, tuple], states: torch.Tensor, head: np.ndarray, labels: np.ndarray
) -> dict[str, Program]:
    """The absorbed block with and without its key cache: scanned steps, as in training, that return the gradients
    of the last one."""
    weights = device_weights(block)
    params = {name: tuple(jnp.asarray(m.detach().numpy()) for m in pair) for name, pair in matrices.items()}
    hidden = jnp.asarray(states.float().numpy()).astype(str(states.dtype).removeprefix("torch."))
    size, n, _ = hidden.shape
    positions = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[None, :, None], (size, n, 1))
    mask = jnp.ones((size, n), bool)

    def loss(params: dict, weights: dict, hidden: Array, cache: KeyCache | None, labels: Array) -> Array:
        hidden = hidden.astype(jnp.float32)
        adapters = {name: (a, SCALE * b) for name, (a, b) in params.items()}
        batch = TokenBatch(hidden, positions, mask, hidden[:, -1], cache)
        z = last_token_block(block.spec, weights, adapters, batch)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(z @ head, labels))

    @jax.jit
    def steps(params: dict, weights: dict, hidden: Array, cache: KeyCache | None, labels: Array) -> dict:
        def step(_: dict, labels: Array) -> tuple[dict, None]:
            # In training all of this changes every step. Without the barrier some work would leave the loop.
            fresh = jax.lax.optimization_barrier((params, weights, hidden, cache, labels))
            return jax.grad(loss)(*fresh), None

        return jax.lax.scan(step, params, labels)[0]

    def program(cache: KeyCache | None) -> Program:
        def call() -> dict:
            with jax.default_matmul_precision("highest"):
                return steps(params, weights, hidden, cache, jnp.tile(labels, (STEPS, 1)))

        return Program(call, STEPS)

    with jax.default_matmul_precision("highest"):
        cache = jax.jit(functools.partial(frozen_keys, block.spec))(weights, hidden.astype(jnp.float32), positions)
    return {"absorbed": program(cache), "without_key_cache": program(None)}


def require_agreement(ours: dict, matrices: dict[str, tuple]) -> None:
    """Raise ReLopeError unless torch, whose gradients are in `matrices`, computed the same ones."""
    for name, pair in matrices.items():
        for mine, matrix in zip(ours[name], pair, strict=True):
            theirs = matrix.grad.numpy()
            error = float(np.abs(np.asarray(mine) - theirs).max() / np.abs(theirs).max())
            if not error <= AGREEMENT:
                raise ReLopeError(f"the LoRA gradients of '{name}' differ from PEFT's by {error:.1e}: nothing is timed")
