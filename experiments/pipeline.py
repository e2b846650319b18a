"""The main pipeline: store -> replay -> train -> evaluate -> report."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator, Sequence

import jax

from experiments.report import write
from experiments.runs.plan import RunPlan
from experiments.runs.results import evaluate_run
from experiments.runs.rundir import open_run
from experiments.say import say
from extract.job.inputs import InputPlan, make_inputs
from extract.job.open import open_or_extract
from extract.plan import Extraction
from relope_jax.baselines.inputs import Inputs, require_inputs
from relope_jax.data import RouterData, load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.io.files import explaining, require_writable
from relope_jax.io.place import open_place
from relope_jax.machine.mesh import agreed, barrier, is_primary
from relope_jax.methods import needs_of
from relope_jax.models.replay import replay_block
from relope_jax.run import Run
from relope_jax.states.joined import JoinedStore
from relope_jax.states.manifest import MANIFEST
from relope_jax.states.store import Store
from relope_jax.states.view import ReadableStore
from relope_jax.training.checkpoints import save_router
from relope_jax.training.feeds.buckets import shuffled_batches
from relope_jax.training.feeds.feed import Feed, open_feed, seen_by
from relope_jax.training.fit import fit
from relope_jax.training.spec import TrainSpec


class Stopwatch:
    """Times the stages of a run for its last line of output."""

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
        return f"{', '.join(parts)}; {sum(self.seconds.values()):.0f} s in total; peak memory {peak:.1f} GB"


def run(plan: RunPlan) -> Run:
    """Run `plan` and return the finished run."""
    watch, engine = Stopwatch(), plan.engine
    if is_primary():
        require_writable(plan.folder)  # fail before hours of extraction
    with watch.stage("store"):
        store = open_store(plan.target, plan.sources)
    with watch.stage("inputs"):
        inputs = open_inputs(plan.inputs, store, needs_of(list(plan.methods)))
    with watch.stage("replay"):
        data = load_router_data(store, engine)
        describe(store, data)
        replay = replay_block(store.block, data.states, store.identity.model_dtype)
        say(
            f"frozen block l={store.layer} replayed on {replay.n_samples} samples: "
            f"relative error {replay.median:.1e}, at most {replay.largest:.1e} (allowed {replay.tolerance:.0e})"
        )
    with explaining(plan.folder), open_run(plan, store) as writer:
        feed = open_feed(data, engine)
        say(f"{feed.description}; {padding(feed, data, plan.train)}")
        for method in plan.trained:
            if agreed(writer.has_method(method.name)):
                writer.finish_method(method.name)
                say(f"{method.name}: already trained, skipped")
                continue
            members, training = plan.members(method), writer.training(method.name)
            with watch.stage(method.name), writer.progress(method, plan.train, plan.seeds) as log:
                seen, seen_feed = seen_by(method, data, feed, inputs)
                fitted = fit(method, members, seen, seen_feed, log, training, engine.checkpoint_seconds)
                save_router(writer.checkpoint(method.name), method, members, fitted)
            writer.finish_method(method.name)
        with watch.stage("evaluate"):
            evaluate_run(writer, data, feed, inputs, plan.methods, plan.seeds)
    barrier(f"{writer.path}: evaluated")
    finished = Run(writer.path)
    with watch.stage("report"):
        page = write.write_report(finished, store)
    say(write.terminal_table(finished))
    say(f"\ntime: {watch}")
    say(f"report: {page}")
    return finished


def open_store(target: Extraction, sources: Sequence[Extraction]) -> ReadableStore:
    """The target's store, or with `sources` this store joined with the training stores. A missing store is extracted
    first, if there is only one process."""
    store = open_one(target)
    if not sources:
        return store
    joined = JoinedStore(store, [open_one(source) for source in sources])
    if joined.left_out:
        counts = ", ".join(f"{n} {split}" for split, n in joined.left_out.items())
        say(f"left out of the training stores, because a later split has their image or question: {counts} prompts")
    return joined


def open_one(plan: Extraction) -> Store:
    """Open one store, and extract it first if it is missing."""
    if jax.process_count() > 1 and not open_place(plan.store).exists(MANIFEST):
        raise ReLopeError(f"there is no finished store {plan.store}: make it with `python -m extract.run --config=...`")
    return open_or_extract(plan)


def open_inputs(plan: InputPlan, store: ReadableStore, needs: tuple[str, ...]) -> Inputs:
    """The inputs of the methods other than hidden states. Missing inputs are made first if the plan has settings for
    them.

    Raises:
      ReLopeError: an input is missing and cannot be made here.
    """
    make_inputs(plan, store, needs)
    inputs = Inputs(store)
    require_inputs(inputs, needs)
    return inputs


def describe(store: ReadableStore, data: RouterData) -> None:
    """Print one line about the training data."""
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.rows.items())
    say(
        f"{store.path}: {len(data.labels)} prompts ({sizes}), small-model accuracy {data.labels.mean():.3f}, "
        f"{data.states.lengths.sum()} tokens"
    )


def padding(feed: Feed, data: RouterData, train: TrainSpec) -> str:
    """One line on the share of padding among an epoch's tokens."""
    batches = shuffled_batches(
        data.rows["train"], feed.lengths, train.batch_size, (train.order_seed, 1), feed.mesh.size
    )
    widths = ", ".join(map(str, batches.widths))
    return f"batches padded to {widths} tokens, {batches.waste(feed.lengths):.1%} padding"
