"""A finished run directory: its results, its scores and its trained routers."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from relope_jax import run_schema
from relope_jax.block.file import load_block
from relope_jax.block.peft import save_peft
from relope_jax.block.spec import Block
from relope_jax.data import vector_states
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import explaining, read_bytes, read_json
from relope_jax.io.inside import inside, shown_name
from relope_jax.io.paths import absolute, is_url, local_path
from relope_jax.io.run_folder import read_lines
from relope_jax.io.tables import parse_table
from relope_jax.io.typed import Check, checked
from relope_jax.machine.mesh import make_mesh
from relope_jax.methods import get_trained
from relope_jax.models.padding import to_device
from relope_jax.models.probes import ReLope
from relope_jax.models.spec import ReLopeSpec
from relope_jax.run_schema import Column, checked_table
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import Store
from relope_jax.training.assembly import stack
from relope_jax.training.checkpoints import Restored, load_member
from relope_jax.training.feeds.resident import resident_feed
from relope_jax.training.scoring import scores, single_output

BLOCK = "block.safetensors"
CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULTS = "results.json"
SAMPLES = "samples.parquet"
SCORES = "scores.parquet"
SUMMARY = "summary.json"
TRAINING = "training"


class Router:
    """A restored router. `router(states)` gives P(the small model's answer is right) for every prompt."""

    def __init__(self, restored: Restored, run: Run):
        self._restored, self._run = restored, run
        self.method = restored.method

    def __call__(self, states: TokenStates | Float[np.ndarray, "samples d"]) -> Float[np.ndarray, "samples"]:
        """Scores of `states`, from a store or from `extract.backbone.prefill`.

        Post-Hoc Embed takes output embeddings instead.

        Raises:
          ReLopeError: the method takes the other kind of input.
        """
        if self.method.reads_output != isinstance(states, np.ndarray):
            kind = "output embeddings (store.output_embedding())" if self.method.reads_output else "states"
            raise ReLopeError(f"'{self.method.name}' scores {kind}")
        states = vector_states(states) if isinstance(states, np.ndarray) else states
        feed = resident_feed(states, self._run.block, make_mesh(1), key_cache=False).of(self.method)
        return scores(stack([self._restored.parts]), feed, np.arange(len(states)))[0]

    def attention(self, states: TokenStates) -> list[Float[np.ndarray, "_"]]:
        """Attention Probe only: the weight of every prompt token, one array per prompt, each summing to 1."""
        rows = jnp.arange(len(states), dtype=jnp.int32)
        output = single_output(self._restored.parts, to_device(states), rows, int(states.lengths.max()))
        if output.attention is None:
            raise ReLopeError(f"'{self.method.name}' has no attention over tokens; 'attention_probe' has")
        weights = np.asarray(output.attention)
        return [row[-length:] for row, length in zip(weights, states.lengths, strict=True)]

    def export_peft(self, folder: str | Path) -> None:
        """ReLope only: write its LoRA as a PEFT checkpoint for `PeftModel.from_pretrained` on the small model.

        Raises:
          ReLopeError: the method trains no LoRA, or `folder` exists.
        """
        module, spec = self._restored.parts.module(), self._restored.member.spec
        if not isinstance(module, ReLope) or not isinstance(spec, ReLopeSpec):
            raise ReLopeError(f"'{self.method.name}' trains no LoRA to export; 'relope' does")
        a, b = module.lora.a, module.lora.b
        matrices = {name: (np.asarray(a[name].get_value()), np.asarray(b[name].get_value())) for name in a}
        model = self._run.config["model"]
        save_peft(
            local_path(folder), self._run.block, spec.lora, matrices, base_model=model["name"], below=model["adapter"]
        )


class Run:
    """Read access to a run directory. Runs may come from untrusted sources, so all files are checked as they are read.

    Args:
      store: path or URL of the run's store. The default is the path in its config.json, if that is on this machine.
        Only a URL that the caller gives is opened.
    """

    def __init__(self, path: str | Path, store: str | Path = ""):
        self.path, self._given_store = local_path(path), str(store)
        if not self._has(CONFIG):
            raise ReLopeError(f"{self.path} is not a run: make one with `python -m experiments.run --config=...`")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return self.record["config"]

    @property
    def record(self) -> dict[str, Any]:
        """config.json: the resolved config, the store it was trained on, and library versions."""
        return self._json(CONFIG, run_schema.CONFIG)

    @property
    def results(self) -> list[dict[str, Any]]:
        """results.json: one row per dataset, model, method and seed."""
        return self._finished(RESULTS, run_schema.RESULTS)

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: every method over its seeds, and each `PairedDifference` between two of them."""
        found = self._finished(SUMMARY, run_schema.SUMMARY)
        compared = {name for pair in found["differences"] for name in (pair.first, pair.second)}
        if unknown := sorted(compared - found["methods"].keys()):
            raise ReLopeError(f"{self.path / SUMMARY} compares '{unknown[0]}', which is not among its methods")
        return found

    def _finished(self, name: str, check: Check) -> Any:
        if not self._has(RESULTS):
            raise ReLopeError(f"the run {self.path} is unfinished: run the same command again to continue it")
        return self._json(name, check)

    def _json(self, name: str, check: Check) -> Any:
        path = self._existing(name)
        return checked(read_json(path), check, path)

    def _existing(self, name: str) -> Path:
        if not self._has(name):
            raise ReLopeError(f"{self.path / name} is missing: restore it, or delete the run and repeat it")
        return inside(self.path, name)

    def _has(self, name: str) -> bool:
        with explaining(self.path):
            return inside(self.path, name).exists()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """metrics.jsonl: one record per method, seed and epoch."""
        path = inside(self.path, METRICS)
        found = [checked(line, run_schema.EPOCH, path) for line in read_lines(path) if line is not None]
        if len({(line["method"], line["seed"]) for line in found}) > run_schema.MOST_SEEDS:
            raise ReLopeError(f"{path} is damaged: it has more than {run_schema.MOST_SEEDS} seeds")
        return found

    @property
    def scores(self) -> pa.Table:
        """scores.parquet: `sample_id, split, method, seed, score, label`."""
        return self._table(SCORES, run_schema.SCORES_TABLE)

    def _table(self, name: str, columns: Mapping[str, Column]) -> pa.Table:
        path = self._existing(name)
        with explaining(self.path):
            return checked_table(parse_table(read_bytes(path, limits.TABLE), path), columns, path)

    @property
    def samples(self) -> pa.Table:
        """samples.parquet: labels of both models and token counts, one row per sample."""
        table = self._table(SAMPLES, run_schema.SAMPLES_TABLE)
        if len(pc.unique(table["sample_id"])) < len(table):
            raise ReLopeError(f"{self.path / SAMPLES} is damaged: it has duplicate samples")
        return table

    @functools.cached_property
    def store(self) -> Store:
        """The store whose test prompts the run was tested on, found from any working directory.

        The caller's path is used if given. Otherwise the recorded path is tried, then the recorded path relative to
        the run's folder, since both may have moved together.

        Raises:
          ReLopeError: it is not found, it is no longer the same store, or config.json names a URL.
        """
        recorded, layer = self.record["store"], self.config["extract"]["layer"]
        reasons = []
        for path in [self._given_store] if self._given_store else store_paths(self.path, recorded):
            try:
                store = Store(path, layer)
            except ReLopeError as error:
                reasons.append(str(error))
                continue
            if store.digest in recorded["digests"]:
                return store
            reasons.append(f"{path} is not the store that {self.path} was trained on: it was extracted again since")
        raise ReLopeError("; ".join(reasons))

    @property
    def block(self) -> Block:
        """The frozen block that ReLope's routers use."""
        return load_block(inside(self.path, BLOCK))

    def restore(self, method: str, seed: int = 0) -> Router:
        """The trained router of one method and seed.

        Raises:
          ReLopeError: there is none, or its files are damaged.
        """
        folder = inside(self.path, f"{CHECKPOINTS}/{get_trained(method).name}")
        return Router(load_member(folder, self.block, seed), self)


def restore(run_dir: str | Path, method: str, seed: int = 0) -> Router:
    """The trained router of `run_dir`; needs neither its config nor its store.

    Raises:
      ReLopeError: there is no such run, method or seed.
    """
    return Run(run_dir).restore(method, seed)


def store_record(run_dir: Path, store: str) -> dict[str, str]:
    """The store's location for config.json: its absolute path, and its path relative to the run's folder if they share
    a folder."""
    if is_url(store):
        return {"path": store}
    whole, run = absolute(store), os.path.realpath(run_dir)
    record = {"path": whole}
    if os.path.commonpath([os.path.realpath(whole), run]) != os.path.sep:
        record["from_run"] = os.path.relpath(os.path.realpath(whole), run)
    return record


def store_paths(run_dir: Path, record: dict[str, Any]) -> list[str]:
    """Paths where the store of a run may be on this machine, the most likely first.

    Raises:
      ReLopeError: the record has no path, or a URL: the author of a run must not decide what this machine connects to.
    """
    path, way = record["path"], record.get("from_run", "")
    if not path or "\0" in path + way:
        raise ReLopeError(f"{run_dir / CONFIG} does not say where its store is: name it with --store=...")
    if is_url(path):
        raise ReLopeError(
            f"{run_dir / CONFIG} names the store {shown_name(path)}, and only URLs that you give are opened: "
            "pass it with --store=URL if you trust it"
        )
    paths = [path]
    if way and not os.path.isabs(way):
        paths.append(os.path.normpath(os.path.join(os.path.realpath(run_dir), way)))
    return list(dict.fromkeys(paths))
