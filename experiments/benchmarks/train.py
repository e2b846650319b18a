"""Training on the quickstart's store, against torch: ReLope with PEFT on the whole small model and on cached states,
the probes as plain modules, and ensembles against the same members trained one by one.

Every comparison is made twice: as seconds of a whole training with the quickstart's number of epochs (ours includes the
time before the first epoch, mainly compilation; the baselines' does not), and as milliseconds of a training step of all
members. Epochs include the evaluation on the validation split.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from tqdm import tqdm

from experiments.benchmarks import torch_train, torch_whole
from experiments.benchmarks.measure import PAUSE, Ceilings, Program, Record, keep_memory, measure
from experiments.configs import quickstart
from experiments.runs.plan import plan_run
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.prompts import build_inputs
from extract.datasets import get_dataset
from extract.imaging.images import read_image
from extract.job.open import open_or_extract
from extract.job.splits import draw
from extract.spec import DatasetSpec
from relope_jax.block.batch import gather
from relope_jax.block.operations import step_work
from relope_jax.data import RouterData, load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import get_method
from relope_jax.models.spec import ProbeSpec, ReLopeSpec
from relope_jax.training.assembly import build
from relope_jax.training.feeds.feed import Feed, open_feed
from relope_jax.training.fit import fit
from relope_jax.training.losses import objective
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec

ROUNDS = 3
AGREEMENT = 1e-3  # relative; both must compute the same values before timing
RESIDENT = EngineSpec(states="resident")


@dataclasses.dataclass(frozen=True)
class Case:
    """A training job.

    Attributes:
      epochs: number of epochs in the reported whole trainings.
      measured: number of our epochs run to measure this; the first does not count.
    """

    data: RouterData
    specs: dict[str, ProbeSpec]
    train: TrainSpec
    epochs: int
    measured: int = 3
    seeds: int = 8
    members: int = 32

    @functools.cached_property
    def feed(self) -> Feed:
        return open_feed(self.data, RESIDENT)

    @property
    def steps(self) -> int:
        return -(-len(self.data.rows["train"]) // self.train.batch_size)


class Timing(NamedTuple):
    """Seconds before the first epoch, in a new process (`start`) and later (`restart`); of an epoch with its
    evaluation; of a step."""

    start: float
    restart: float
    epoch: float
    step: float

    def whole(self, epochs: int) -> float:
        return self.start + epochs * self.epoch

    def one_by_one(self, epochs: int, members: int) -> float:
        """The same training with `members` seeds, one after the other in one process."""
        return self.whole(epochs) + (members - 1) * (self.restart + epochs * self.epoch)


def run() -> Iterator[Record]:
    """Records for the quickstart's store, which is extracted first if it is missing."""
    if jax.default_backend() != "cpu":
        raise ReLopeError("this benchmark compares with torch on the CPU: set JAX_PLATFORMS=cpu")
    keep_memory()
    plan = plan_run(quickstart.get_config())
    data = load_router_data(open_or_extract(plan.target), RESIDENT)
    case = Case(data, plan.specs, plan.train, plan.train.epochs)
    yield from run_case(case, load_backbone(plan.target.model), plan.target.dataset)


def run_case(case: Case, backbone: Backbone, dataset: DatasetSpec) -> Iterator[Record]:
    """All records. Adds a LoRA to the backbone's model."""
    whole, ceilings = time_whole_model(case, backbone, dataset)
    yield from ceilings.records("train")
    yield from run_relope(case, whole, ceilings)
    yield from run_probe(case, "probe", torch_train.Probe)
    yield from run_probe(case, "attention_probe", torch_train.AttentionProbe)


def time_whole_model(case: Case, backbone: Backbone, dataset: DatasetSpec) -> tuple[dict[str, Timing], Ceilings]:
    """Training and evaluation without cached states, extrapolated from a few steps on a batch of median length."""
    rows = median_rows(case)
    inputs = model_inputs(backbone, dataset, [case.data.sample_ids[row] for row in rows])
    labels = torch.from_numpy(case.data.labels[rows].astype(np.float32))
    spec, block = case.specs["relope"], case.data.block
    torch_whole.adapt(backbone, block.modules, spec.lora)
    programs: dict[str, Program] = {}
    for name, until_layer in (("whole_model", False), ("until_layer_l", True)):
        head = torch_train.Bottleneck(spec, block.spec.hidden_size, case.data.statistics)
        model = torch_whole.WholeModel(backbone, block.spec.layer, head, until_layer)
        with torch.inference_mode():
            require_same(f"z_n^(l) of the {name}", model.last_hidden(inputs), case.data.states.last_hidden[rows])
        trainer = torch_train.Trainer(model, spec, case.train)
        programs[name] = Program(functools.partial(whole_step, trainer, inputs, labels))
        programs[f"score_{name}"] = Program(functools.partial(whole_score, model, inputs))
    seconds, ceilings = measure(programs, ROUNDS)
    scored = len(case.data.rows["validation"]) / len(rows)  # batches per evaluation
    return {
        name: Timing(0, 0, case.steps * seconds[name] + scored * seconds[f"score_{name}"], seconds[name])
        for name in ("whole_model", "until_layer_l")
    }, ceilings


def whole_step(trainer: torch_train.Trainer, inputs: Any, labels: torch.Tensor) -> None:
    trainer.model.train()
    trainer.step(trainer.model(inputs), labels)


@torch.inference_mode()
def whole_score(model: torch_whole.WholeModel, inputs: Any) -> None:
    model.eval()
    model(inputs)


def median_rows(case: Case) -> np.ndarray:
    """A training batch of prompts with median length."""
    rows = case.data.rows["train"]
    begin = max(0, len(rows) - case.train.batch_size) // 2
    return rows[np.argsort(case.data.states.lengths[rows], kind="stable")][begin : begin + case.train.batch_size]


def model_inputs(backbone: Backbone, spec: DatasetSpec, sample_ids: list[str]) -> Any:
    """Tokens and preprocessed images of the samples with these ids."""
    dataset = get_dataset(spec.name)
    samples = {sample.sample_id: sample for sample in draw(dataset.load(spec), spec)}
    chosen = [samples[name] for name in sample_ids]
    return build_inputs(backbone, [(dataset.prompt(s), [read_image(path) for path in s.images]) for s in chosen])


def run_relope(case: Case, rivals: dict[str, Timing], ceilings: Ceilings) -> Iterator[Record]:
    """One ReLope router against torch's, and many against the same number of single ones."""
    data, spec = case.data, case.specs["relope"]
    states = torch_train.CachedStates(data.states, data.labels)
    programs = {"single": time_ours(case, "relope", 1), "together": time_ours(case, "relope", case.members)}
    for name, read in (
        ("torch_peft_block", torch_train.full_block),
        ("torch_peft_last_token", torch_train.last_token_block),
    ):
        model = torch_relope(data, spec, read)
        require_agreement(case, "relope", model, states)
        programs[name] = time_torch(case, spec, model, states, all_cores())
    timings = take_turns(programs)
    single, together = timings.pop("single"), timings.pop("together")

    n = float(data.states.lengths[data.rows["train"]].mean())
    work = step_work(data.block.spec, spec.lora.rank, case.train.batch_size, n, data.states.hidden.itemsize)
    floor = 1e3 * work.seconds(ceilings.flops_per_second, ceilings.bytes_per_second)
    yield Record("train/relope/before_first_epoch", single.start, "s")
    for name, timing in ({f"{name}_extrapolated": timing for name, timing in rivals.items()} | timings).items():
        yield from compare(f"train/relope/vs_{name}", case, single, timing, floor=floor)
    yield from compare_ensemble("train/relope", case, together, single)


def torch_relope(data: RouterData, spec: ReLopeSpec, read: Callable) -> torch_train.ReLope:
    """Torch's router with a nonzero LoRA; `read` is one of its two ways to compute z_n^(l)."""
    layer = torch_train.adapted_layer(data.block, spec.lora)
    head = torch_train.Bottleneck(spec, data.block.spec.hidden_size, data.statistics)
    return torch_train.ReLope(layer, head, read)


def run_probe(case: Case, name: str, rival: type[torch.nn.Module]) -> Iterator[Record]:
    """Several seeds of a probe against as many runs of torch's, and many against as many single ones."""
    data, spec = case.data, case.specs[name]
    model = rival(spec, data.block.spec.hidden_size)
    states = torch_train.CachedStates(data.states, data.labels).standardized(data.statistics)
    require_agreement(case, name, model, states)
    sizes = {"single": 1, "seeds": case.seeds, "together": case.members}
    programs = {size: time_ours(case, name, count) for size, count in sizes.items()}
    for threads in {1, all_cores()}:  # for such small steps one core may be faster
        programs[f"torch_{threads}"] = time_torch(case, spec, model, states, threads)
    timings = take_turns(programs)
    best = min((timings[key] for key in timings if key.startswith("torch")), key=lambda timing: timing.epoch)
    yield Record(f"train/{name}/before_first_epoch", timings["seeds"].start, "s")
    runs = f"train/{name}/{case.seeds}_seeds_vs_{case.seeds}_torch_runs"
    yield from compare(runs, case, timings["seeds"], best, members=case.seeds)
    yield from compare_ensemble(f"train/{name}", case, timings["together"], timings["single"])


def compare_ensemble(name: str, case: Case, together: Timing, single: Timing) -> Iterator[Record]:
    runs = f"{name}/{case.members}_members_vs_{case.members}_single"
    yield from compare(runs, case, together, single, members=case.members)


def compare(
    name: str, case: Case, ours: Timing, theirs: Timing, members: int = 1, floor: float | None = None
) -> Iterator[Record]:
    """Ours against `members` consecutive runs of theirs."""
    baseline = theirs.one_by_one(case.epochs, members)
    yield Record.of_time(name, ours.whole(case.epochs), baseline, unit="s")
    yield Record.of_time(f"{name}/step", 1e3 * ours.step, members * 1e3 * theirs.step, floor)


def time_ours(case: Case, method: str, members: int) -> Callable[[], Timing]:
    """A training with `members` members, timed between the log records of its epochs. Patience never ends it."""
    train = dataclasses.replace(case.train, epochs=case.measured, patience=case.measured)
    ensemble = [Member(case.specs[method], train, seed) for seed in range(members)]
    feed = case.feed

    def run() -> Timing:
        ends, rates = {0: time.perf_counter()}, {}

        def log(record: dict[str, Any]) -> None:
            ends[record["epoch"]], rates[record["epoch"]] = time.perf_counter(), record["samples_per_second"]

        fit(get_method(method), ensemble, case.data, feed, log)
        first, *later = np.diff([ends[epoch] for epoch in range(case.measured + 1)])
        rate = np.median([rates[epoch] for epoch in range(2, case.measured + 1)])
        step = len(case.data.rows["train"]) * members / rate / case.steps
        before = first - np.median(later)
        return Timing(float(before), float(before), float(np.median(later)), float(step))

    return run


def time_torch(
    case: Case, spec: ProbeSpec, model: torch.nn.Module, states: torch_train.CachedStates, threads: int
) -> Callable[[], Timing]:
    """The time of an epoch in torch."""
    trainer = torch_train.Trainer(model, spec, case.train)
    train, validation = (torch.from_numpy(case.data.rows[split]) for split in ("train", "validation"))

    def run() -> Timing:
        torch.set_num_threads(threads)
        try:
            started = time.perf_counter()
            trainer.epoch(states, train)
            trained = time.perf_counter()
            trainer.auc(states, validation)
            return Timing(0, 0, time.perf_counter() - started, (trained - started) / case.steps)
        finally:
            torch.set_num_threads(all_cores())

    return run


def all_cores() -> int:
    return len(os.sched_getaffinity(0))


def take_turns(programs: dict[str, Callable[[], Timing]]) -> dict[str, Timing]:
    """Medians over all rounds, except for the time before the first epoch, because only the first round compiles."""
    timings: dict[str, list[Timing]] = {name: [] for name in programs}
    for _ in tqdm(range(ROUNDS), desc="training", leave=False):
        for name, program in programs.items():
            time.sleep(PAUSE)
            timings[name].append(program())
    return {
        name: Timing(
            start=rounds[0].start,
            restart=float(np.median([timing.restart for timing in rounds[1:]])),
            epoch=float(np.median([timing.epoch for timing in rounds])),
            step=float(np.median([timing.step for timing in rounds])),
        )
        for name, rounds in timings.items()
    }


def require_agreement(case: Case, name: str, model: torch.nn.Module, states: torch_train.CachedStates) -> None:
    """Raise ReLopeError unless both compute the same logits, loss and gradients at torch's parameters, on one batch of
    prompts of different lengths, without dropout and noise."""
    rows, spec = case.data.rows["train"][: case.train.batch_size], case.specs[name]
    batch = states.batch(torch.from_numpy(rows), model.reads_tokens)
    output = model.eval()(batch)
    beta = spec.beta if isinstance(spec, ReLopeSpec) else 0.0
    theirs = torch_train.objective(output, batch.labels, beta)
    model.zero_grad()
    theirs.backward()
    loss, logit, gradients = our_gradients(case, name, torch_train.by_our_names(model), rows, beta)
    require_same(f"{name}'s logits", output[0].detach(), logit)
    require_same(f"{name}'s loss", theirs.detach(), loss)
    for parameter, gradient in torch_train.by_our_names(model, lambda p: p.grad).items():
        require_same(f"{name}'s gradient of {parameter}", gradient, gradients[parameter])


def our_gradients(
    case: Case, name: str, values: dict[str, np.ndarray], rows: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(loss, logits, gradients) of our router with these parameters."""
    data, method = case.data, get_method(name)
    feed = case.feed.of(method)
    parts = build(method, case.specs[name], data.block, data.statistics, seed=0)
    params = jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(values[_name(path)]), parts.params)
    batch = gather(feed.states, jnp.asarray(rows, jnp.int32), int(feed.lengths[rows].max()))
    labels = jnp.asarray(data.labels[rows], jnp.float32)

    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params: nnx.State) -> tuple[jax.Array, jax.Array]:
        output = nnx.merge(*parts._replace(params=params))(batch)
        value, _ = objective(output, labels, jnp.ones_like(labels), jnp.float32(beta), jnp.bool_(False))
        return value, output.logit

    with jax.default_matmul_precision("highest"):
        (value, logit), gradients = jax.jit(loss)(params)
    flat, _ = jax.tree_util.tree_flatten_with_path(gradients)
    return np.asarray(value), np.asarray(logit), {_name(path): np.asarray(leaf) for path, leaf in flat}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def require_same(what: str, theirs: Any, ours: Any) -> None:
    error = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max())
    if not error <= AGREEMENT:
        raise ReLopeError(f"{what} differs from torch's by {error:.1e}: nothing is timed")
