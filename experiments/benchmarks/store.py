"""The store of hidden states: random ragged batches against TensorStore's own sequential read of the same bytes,
writing against the disk, and the memory for reading."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import tensorstore as ts

from experiments.benchmarks.measure import Program, Record, measure, peak_memory
from relope_jax.block.spec import Block, BlockSpec, weight_shapes
from relope_jax.states.arrays import open_array
from relope_jax.states.manifest import Identity
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter, part_name

LAYER = 2
BATCH = 32  # prompts
PIECE = 2**24  # bytes; larger ones are slower
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class StoreShape:
    """A store of random bfloat16 states: prompts of n/2 to 3n/2 tokens."""

    name: str
    d: int
    n: int
    prompts: int  # per part
    parts: int = 4


SHAPES = (
    StoreShape("quickstart", 576, 32, prompts=256, parts=16),  # 0.15 GB
    StoreShape("d896", 896, 256, prompts=256),  # 0.47 GB
    StoreShape("d3584", 3584, 400, prompts=64),  # 0.73 GB
)
GROWING = StoreShape("memory", 896, 64, prompts=1024)  # read with one part and with all parts


def run() -> Iterator[Record]:
    """Records for every shape. The stores are on the disk of the current directory and in the page cache."""
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder:
            yield from run_shape(shape, Path(folder))
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as folder:
        yield run_memory(Path(folder))


def run_shape(shape: StoreShape, folder: Path) -> Iterator[Record]:
    """Reads of a whole store and writes of one part, interleaved."""
    store = Store(write_store(shape, folder / "store"))
    with StoreWriter(folder / "written", identity(shape.d)) as writer:
        part = make_part(shape, np.random.default_rng(0))
        programs = read_programs(store, shape) | write_programs(writer, part, folder / "plain")
        seconds, ceilings = measure({name: Program(call) for name, call in programs.items()}, ROUNDS)
    read, written = stored_bytes(store.states()) / 1e9, stored_bytes(part) / 1e9
    name, random, copy = f"store/{shape.name}", read / seconds["random"], ceilings.bytes_per_second / 2e9
    yield from ceilings.records(name)
    yield Record.of_rate(f"{name}/random_batches_vs_sequential", random, "GB/s", read / seconds["sequential"], copy)
    in_place = read / seconds["sequential_in_place"]
    yield Record.of_rate(f"{name}/random_batches_vs_sequential_in_place", random, "GB/s", in_place, copy)
    write, disk = written / seconds["write_part"], written / seconds["plain_write"]
    yield Record.of_rate(f"{name}/write_part_vs_plain_file", write, "GB/s", disk)


def read_programs(store: Store, shape: StoreShape) -> dict[str, Callable[[], None]]:
    """Reads every byte of the store's states: in random batches through `Store.states`, and sequentially by TensorStore
    alone, either each array with one `read` or in pieces of `PIECE` bytes into preallocated memory."""
    rng = np.random.default_rng(0)
    arrays = [open_array(store.place.kvstore(name)).result() for name in array_names(shape.parts)]
    ready = np.ones(PIECE, np.uint8)

    def random() -> None:
        rows = rng.permutation(shape.parts * shape.prompts)
        for start in range(0, len(rows), BATCH):
            store.states(rows[start : start + BATCH])

    def sequential() -> None:
        for array in arrays:
            array.read().result()

    def sequential_in_place() -> None:
        for array in arrays:
            row = array.shape[1] * array.dtype.numpy_dtype.itemsize
            for start in range(0, array.shape[0], PIECE // row):
                rows = array[start : min(start + PIECE // row, array.shape[0])].translate_to[0, 0]
                target = ready[: rows.shape[0] * row].view(array.dtype.numpy_dtype).reshape(rows.shape)
                ts.array(target).write(rows).result()

    return {"random": random, "sequential": sequential, "sequential_in_place": sequential_in_place}


def write_programs(writer: StoreWriter, part: TokenStates, plain: Path) -> dict[str, Callable[[], None]]:
    """Writes one part with the writer, and the same bytes as one plain file; both are flushed to disk."""
    rows = sample_rows(0, part)
    arrays = part.hidden, part.positions, part.last_hidden

    def write_part() -> None:
        writer.discard_parts()
        writer.write_part(0, {LAYER: part}, rows, [])

    def plain_write() -> None:
        plain.unlink(missing_ok=True)
        with open(plain, "wb") as file:
            for array in arrays:
                file.write(array.view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())

    return {"write_part": write_part, "plain_write": plain_write}


def run_memory(folder: Path) -> Record:
    """Peak memory of a process that reads a store in random batches: four parts against one."""
    few = write_store(dataclasses.replace(GROWING, parts=1), folder / "few")
    less = peak_memory(read_in_batches, str(few))
    shutil.rmtree(few)
    more = peak_memory(read_in_batches, str(write_store(GROWING, folder / "many")))
    return Record.of_memory(f"store/memory/reading_{GROWING.parts}x_prompts", more, less)


def read_in_batches(path: str) -> None:
    """Every prompt of a store once, in random order."""
    store = Store(path)
    rows = np.random.default_rng(0).permutation(len(store.samples))
    for start in range(0, len(rows), BATCH):
        store.states(rows[start : start + BATCH])


def write_store(shape: StoreShape, path: Path) -> Path:
    """A store written like an extraction writes it."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, identity(shape.d)) as writer:
        for index in range(shape.parts):
            part = make_part(shape, rng)
            writer.write_part(index, {LAYER: part}, sample_rows(index, part), [])
        writer.finish(shape.parts, {LAYER: tiny_block()})
    return path


def make_part(shape: StoreShape, rng: np.random.Generator) -> TokenStates:
    """Random states. Their values do not matter because nothing is compressed."""
    lengths = rng.integers(shape.n // 2, shape.n + shape.n // 2 + 1, shape.prompts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    hidden = np.empty((offsets[-1], shape.d), ml_dtypes.bfloat16)
    for start, end in itertools.pairwise(offsets):
        hidden[start:end] = rng.standard_normal((end - start, shape.d), dtype=np.float32)
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])[:, None]
    return TokenStates(hidden, positions, offsets, rng.standard_normal((shape.prompts, shape.d), dtype=np.float32))


def sample_rows(part: int, states: TokenStates) -> list[dict]:
    return [
        {"sample_id": f"{part}-{i}", "group": f"{part}-{i}", "split": "train", "n_tokens": int(n)}
        for i, n in enumerate(states.lengths)
    ]


def stored_bytes(states: TokenStates) -> int:
    return states.hidden.nbytes + states.positions.nbytes + states.last_hidden.nbytes


def array_names(parts: int) -> list[str]:
    """Folders of all arrays read by `Store.states`."""
    names = "positions", f"layer-{LAYER}/hidden", f"layer-{LAYER}/last_hidden"
    return [f"{part_name(index)}/{name}" for index in range(parts) for name in names]


def tiny_block() -> Block:
    """The frozen block that a store needs; it is not used here."""
    spec = BlockSpec("llama", LAYER, 8, 1, 1, 8, 8, 1e-6, "silu", 1.0, rope_dim=8)
    return Block(spec, {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(spec).items()})


def identity(d: int, layer: int = LAYER) -> Identity:
    """The identity of a store that is only for benchmarks."""
    return Identity(
        model="random", source="", commit="", adapter="", layers=[layer], hidden_size=d, model_dtype="float32",
        state_dtype="bfloat16", attention="", device="cpu", device_map="", prompt_hash="", graders=0,
        dataset={"name": "random", "path": ""}, questions="", samples="",
        labels_from="", max_new_tokens=0, part_size=0, token_budget=0, versions={},
    )  # fmt: skip
