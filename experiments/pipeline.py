"""The main job, top to bottom: store -> replay -> train -> evaluate -> report."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from experiments.report import write
from experiments.runs.results import evaluate_run
from experiments.runs.rundir import open_run, run_folder
from experiments.say import say
from extract.job.inputs import make_inputs
from extract.job.open import open_or_extract
from extract.plan import plan_from_config
from relope_jax.baselines.inputs import Inputs, require_inputs
from relope_jax.data import RouterData, load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.io.files import explaining, require_writable
from relope_jax.io.place import open_place
from relope_jax.machine.engine import EngineSpec
from relope_jax.machine.mesh import agreed, barrier, is_primary
from relope_jax.methods import TrainedMethod, get_method, needs_of
from relope_jax.metrics.routing.cost import CostSpec
from relope_jax.models.replay import replay_block
from relope_jax.run import Run
from relope_jax.states.joined import JoinedStore
from relope_jax.states.manifest import MANIFEST
from relope_jax.states.store import Store
from relope_jax.states.view import ReadableStore
from relope_jax.training.checkpoints import save_router, spec_from_dict
from relope_jax.training.feeds.buckets import shuffled_batches
from relope_jax.training.feeds.feed import Feed, open_feed
from relope_jax.training.fit import fit
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec
from relope_jax.training.view import seen_by


class Stopwatch:
    """Times the stages of a run for its closing line."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def __str__(self) -> str:
        parts = [f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items()]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
        return f"{', '.join(parts)}; in all {sum(self.seconds.values()):.0f} s; peak memory {peak:.1f} GB"


def run(config: ConfigDict) -> Run:
    """Carry out `config` and return the finished run."""
    watch = Stopwatch()
    methods = [get_method(name) for name in config.methods]
    trained = [method for method in methods if isinstance(method, TrainedMethod)]
    train, engine = TrainSpec(**config.train), EngineSpec(**config.engine)
    CostSpec(**config.costs)  # bad prices are refused before anything is trained
    require_distinct("methods", config.methods)
    require_distinct("seeds", config.seeds)
    specs = {method.name: spec_from_dict(method, config[method.name].to_dict()) for method in trained}
    folder = run_folder(config)
    if is_primary():
        require_writable(folder)  # not after hours of extraction
    with watch.stage("store"):
        store = open_store(config)
    with watch.stage("inputs"):
        inputs = open_inputs(config, store, needs_of(methods))
    with watch.stage("replay"):
        data = load_router_data(store, engine)
        describe(store, data)
        replay = replay_block(store.block, data.states, store.identity.model_dtype)
        say(
            f"frozen block l={store.layer} replayed on {replay.n_samples} samples: "
            f"relative error {replay.median:.1e}, at most {replay.largest:.1e} (allowed {replay.tolerance:.0e})"
        )
    with explaining(folder), open_run(config, store) as writer:
        feed = open_feed(data, engine)
        say(f"{feed.description}; {padding(feed, data, train)}")
        for method in trained:
            if agreed(writer.has_method(method.name)):
                writer.finish_method(method.name)
                say(f"{method.name}: already trained, skipped")
                continue
            members = [Member(specs[method.name], train, seed) for seed in config.seeds]
            training = writer.training(method.name)
            with watch.stage(method.name), writer.progress(method, train, config.seeds) as log:
                seen, seen_feed = seen_by(method, data, feed, inputs)
                fitted = fit(method, members, seen, seen_feed, log, training, engine.checkpoint_seconds)
                save_router(writer.checkpoint(method.name), method, members, fitted)
            writer.finish_method(method.name)
        with watch.stage("evaluate"):
            evaluate_run(writer, data, feed, inputs, methods, config.seeds)
    barrier(f"{writer.path}: evaluated")
    finished = Run(writer.path)
    with watch.stage("report"):
        page = write.write_report(finished, store)
    say(write.terminal_table(finished))
    say(f"\ntime: {watch}")
    say(f"report: {page}")
    return finished


def require_distinct(field: str, values: tuple) -> None:
    """Raise ReLopeError when a list of methods or seeds is empty or repeats itself."""
    if not values or len(set(values)) < len(values):
        raise ReLopeError(f"config.{field} is {values!r}; it needs at least one value, and none twice")


def open_store(config: ConfigDict) -> ReadableStore:
    """The config's store, or with `train_on` that and those it is trained on; each is extracted first when there is
    none yet, by a process that is alone."""
    target = open_one(config)
    if not config.train_on:
        return target
    sources = []
    for text in config.train_on:
        other = config.copy_and_resolve_references()
        other.dataset.name, _, other.dataset.path = text.partition("=")
        other.store = ""
        sources.append(open_one(other))
    joined = JoinedStore(target, sources)
    if joined.left_out:
        counts = ", ".join(f"{n} {split}" for split, n in joined.left_out.items())
        say(f"left out of the stores trained on, since a later split holds their image or question: {counts} prompts")
    return joined


def open_one(config: ConfigDict) -> Store:
    """One store."""
    plan = plan_from_config(config)
    if jax.process_count() > 1 and not open_place(plan.store).exists(MANIFEST):
        raise ReLopeError(f"there is no finished store {plan.store}: make it with `python -m extract.run --config=...`")
    return open_or_extract(plan)


def open_inputs(config: ConfigDict, store: ReadableStore, needs: tuple[str, ...]) -> Inputs:
    """What the methods read beside the hidden states; what is missing is made first where the config says how.

    Raises:
      ReLopeError: an input is missing and cannot be made here.
    """
    make_inputs(config, store, needs)
    inputs = Inputs(store)
    require_inputs(inputs, needs)
    return inputs


def describe(store: ReadableStore, data: RouterData) -> None:
    """One line about what is being learned from."""
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.rows.items())
    say(
        f"{store.path}: {len(data.labels)} prompts ({sizes}), small-model accuracy {data.labels.mean():.3f}, "
        f"{data.states.lengths.sum()} tokens"
    )


def padding(feed: Feed, data: RouterData, train: TrainSpec) -> str:
    """How much of an epoch's tokens is padding."""
    batches = shuffled_batches(
        data.rows["train"], feed.lengths, train.batch_size, (train.order_seed, 1), feed.mesh.size
    )
    widths = ", ".join(map(str, batches.widths))
    return f"batches padded to {widths} tokens, {batches.waste(feed.lengths):.1%} padding"
