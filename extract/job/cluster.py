"""Runs the shards of one store as actors on a Ray cluster: starts them, watches them, and restarts lost ones."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from extract.datasets import get_dataset
from extract.plan import Extraction
from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.locks import Locked
from relope_jax.io.place import Place, open_place
from relope_jax.states.manifest import MANIFEST, PART
from relope_jax.states.writer import Shard, part_name

CHECKOUT = Path(__file__).resolve().parents[2]
POLL = 5.0  # seconds between checks of the published parts
PATIENCE = 90.0  # seconds to wait for the lock of a killed worker; a lock on a bucket outlives its holder by 60 s
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0 makes the machine a cluster on 127.0.0.1 only
OBJECT_STORE = 100_000_000  # bytes; only settings are sent, and Ray's default is a third of the memory


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the shards run.

    Attributes:
      address: of a running Ray cluster: "auto" for the one this machine belongs to, or "ray://host:10001". Empty starts
        one on this machine for the duration of the command.
      gpus_per_shard: may be a fraction, for shards that share a GPU; None means 1 if the cluster has GPUs, else 0.
      cpus_per_shard: also the number of PyTorch threads, unless OMP_NUM_THREADS is set.
      retries: how often a shard is restarted after its process or node was lost.
    """

    address: str = ""
    gpus_per_shard: float | None = None
    cpus_per_shard: float = 1
    retries: int = 3


@dataclasses.dataclass(frozen=True)
class WorkerContext:
    """What every worker gets: the plan, the driver's working directory, and the name of a file that the driver wrote to
    the store's place and that the worker must be able to see there."""

    plan: Extraction
    folder: str
    token: str


class ShardWorker:
    """The actor that extracts one shard."""

    def where(self) -> str:
        return f"node {socket.gethostname()}, process {os.getpid()}"

    def make(self, context: WorkerContext, shard: Shard) -> str:
        """Extract the shard; returns the message of an error that a retry would not fix, or ""."""
        if os.path.isdir(context.folder):  # elsewhere, relative paths fail with their own message
            os.chdir(context.folder)
        try:
            if not open_place(context.plan.store).exists(context.token):
                raise ReLopeError(
                    f"{socket.gethostname()} does not see what the driver writes to {context.plan.store}: use a folder "
                    "that all nodes share, or a bucket, with --config.store=..."
                )
            extract_shard(context.plan, shard)
        except ReLopeError as error:
            return str(error)
        return ""


def extract_shard(plan: Extraction, shard: Shard) -> None:
    """Extract one shard. Waits for the lock of the previous worker, which may not have exited yet."""
    from extract.job.extraction import extract_store  # imported here: only the workers load torch

    first_refused = None
    while True:
        try:
            with open_place(plan.store).lock(shard.lock):
                pass  # wait for the lock before the model is loaded
            extract_store(plan, shard)
            return
        except Locked:
            first_refused = first_refused or time.monotonic()
            if time.monotonic() - first_refused > PATIENCE:
                raise
        time.sleep(1)


class PublishedSamples:
    """Counts published samples. Each shard publishes its parts in order, so one lookup per shard is enough."""

    def __init__(self, place: Place, n_samples: int, part_size: int, count: int):
        self._place, self.n_samples, self._part_size = place, n_samples, part_size
        self.n_parts = -(-n_samples // part_size)
        self._next = list(range(count))  # for each shard, the first part that is not published yet
        self.done = 0  # samples

    def update(self) -> int:
        """The number of samples published since the last call."""
        before = self.done
        for shard, index in enumerate(self._next):
            while index < self.n_parts and self._place.exists(f"{part_name(index)}/{PART}"):
                self.done += min(self._part_size, self.n_samples - index * self._part_size)
                index += len(self._next)
            self._next[shard] = index
        return self.done - before

    def unfinished(self) -> list[Shard]:
        """Shards with unpublished parts; if there are none, the first shard, which then writes the manifest."""
        count = len(self._next)
        return [Shard(i, count) for i, index in enumerate(self._next) if index < self.n_parts] or [Shard(0, count)]


class Workers:
    """The running shards, one actor each. Ray queues those that do not fit yet."""

    def __init__(self, ray: ModuleType, context: WorkerContext, resources: dict[str, float], retries: int):
        self._ray, self._context, self._retries = ray, context, retries
        # Ray puts a node's own PYTHONPATH after this one. Progress bars are drawn by the driver.
        variables = {"PYTHONPATH": f"{CHECKOUT}:${{PYTHONPATH}}", "TQDM_DISABLE": "1"}
        self._actor = ray.remote(ShardWorker).options(**resources, runtime_env={"env_vars": variables})
        self._locations: dict[Any, Shard] = {}  # by pending result
        self._results: dict[Any, tuple[Shard, Any]] = {}  # by pending result: the shard and its actor
        self._losses: collections.Counter[Shard] = collections.Counter()

    def start(self, shard: Shard) -> None:
        worker = self._actor.remote()
        self._locations[worker.where.remote()] = shard
        self._results[worker.make.remote(self._context, shard)] = (shard, worker)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for an event; returns whether shards are still running.

        Raises:
          ReLopeError: a shard failed in a way that a retry would not fix, or was lost too many times.
        """
        ready, _ = self._ray.wait([*self._locations, *self._results], timeout=seconds)
        for answer in ready:
            if answer in self._locations:
                self._print_location(answer)
            else:
                self._end(answer)
        return bool(self._results)

    def _print_location(self, answer: Any) -> None:
        shard = self._locations.pop(answer)
        with contextlib.suppress(self._ray.exceptions.RayActorError):  # the pending result raises it
            _say(f"shard {shard} on {self._ray.get(answer)}")

    def _end(self, answer: Any) -> None:
        shard, worker = self._results.pop(answer)  # dropping the handle ends the actor, which frees its resources
        try:
            error = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as loss:
            self._ray.kill(worker)  # it may still run on a temporarily unreachable node
            self._restart(shard, loss)
            return
        if error:
            raise ReLopeError(f"shard {shard}: {error}")

    def _restart(self, shard: Shard, loss: Exception) -> None:
        self._losses[shard] += 1
        left = self._retries + 1 - self._losses[shard]
        if left <= 0:
            why = str(loss).strip().splitlines()[-1]
            raise ReLopeError(f"shard {shard} was lost {self._losses[shard]} times; Ray says: {why[:400]}") from loss
        _say(f"shard {shard} was lost with its process or node: restarting it ({left} tries left)")
        self.start(shard)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def extract_on_cluster(plan: Extraction, n_shards: int, cluster: Cluster) -> None:
    """Extract the store of `plan` in `n_shards` shards, or continue an interrupted extraction.

    Raises:
      ReLopeError: Ray or the cluster is missing, a shard failed, or a shard was lost too many times.
    """
    place = open_place(plan.store)
    if place.exists(MANIFEST):
        return
    ray = import_ray(cluster.address)
    available = len(get_dataset(plan.dataset.name).load(plan.dataset))  # unpacks images once, before the shards start
    n_samples = min(plan.dataset.max_questions or available, available)
    progress = PublishedSamples(place, n_samples, plan.extract.part_size, n_shards)
    with connected(ray, cluster.address), token_in(place) as token:
        context = WorkerContext(plan, os.getcwd(), token)
        run_shards(Workers(ray, context, resources(ray, cluster), cluster.retries), progress, place)


def run_shards(workers: Workers, progress: PublishedSamples, place: Place) -> None:
    """Run all unfinished shards with one progress bar."""
    progress.update()
    with tqdm(total=progress.n_samples, initial=progress.done, desc="extracting", unit="prompt", smoothing=0.05) as bar:
        # On a network file system, two shards that end at the same time may not see each other's last part, so each
        # leaves the manifest to the other. The second round covers this case.
        for _ in range(2):
            for shard in progress.unfinished():
                workers.start(shard)
            while workers.wait(POLL):
                bar.update(progress.update())
            bar.update(progress.update())
            if place.exists(MANIFEST):
                return


def import_ray(address: str) -> ModuleType:
    """Ray, an optional dependency. Without an address it serves this machine only: anyone who can reach a port of Ray
    can run code, so all ports are bound to the loopback interface."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        os.environ[LOOPBACK] = "0"  # Ray reads it at import
    try:
        import ray
    except ImportError as error:
        raise ReLopeError("this command needs Ray: pip install ray") from error
    return ray


@contextlib.contextmanager
def connected(ray: ModuleType, address: str) -> Iterator[None]:
    """A connection to the cluster. Workers that are still running at the end are stopped."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address or "local", **options)
    except (OSError, RuntimeError, ValueError, ImportError) as error:  # no cluster, a different version, no client
        raise ReLopeError(f"cannot use a Ray cluster at '{address or 'local'}': {first_line(error)}") from error
    try:
        if not address and any(not node["NodeManagerAddress"].startswith("127.") for node in ray.nodes()):
            raise ReLopeError(f"Ray also serves other machines: set {LOOPBACK}=0 before anything imports it")
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def token_in(place: Place) -> Iterator[str]:
    """The name of a file in the store's place, which lets workers check that they and the driver see the same place."""
    token = f".cluster-{secrets.token_hex(4)}"
    place.write(token, b"")
    try:
        yield token
    finally:
        place.delete(token)


def resources(ray: ModuleType, cluster: Cluster) -> dict[str, float]:
    """The resources that an actor requests.

    Raises:
      ReLopeError: the cluster is this machine alone and has too few of them.
    """
    gpus, cpus = cluster.gpus_per_shard, cluster.cpus_per_shard
    if gpus is None:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= cpus for node in nodes):
        lack = f"no node has the {gpus:g} GPUs and {cpus:g} CPUs that a shard requests"
        if not cluster.address:
            raise ReLopeError(f"{lack}: lower --gpus_per_shard or --cpus_per_shard")
        _say(f"{lack}: waiting for one")  # the cluster may grow
    return {"num_gpus": gpus, "num_cpus": cpus}
