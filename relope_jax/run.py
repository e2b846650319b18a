"""A finished run directory: its results, its scores and its trained routers."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from flax import nnx
from jaxtyping import Float

from relope_jax.data import vector_states
from relope_jax.errors import ReLopeError
from relope_jax.models.batch import to_device
from relope_jax.models.block_spec import Block
from relope_jax.models.params import load_block
from relope_jax.models.peft_format import save_peft
from relope_jax.models.probes import ReLope
from relope_jax.models.spec import ReLopeSpec
from relope_jax.paths import absolute, is_url, local_path
from relope_jax.states.files import explaining, read_json
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import Store
from relope_jax.training.assembly import stack
from relope_jax.training.checkpoints import Restored, load_member
from relope_jax.training.mesh import make_mesh
from relope_jax.training.resident import resident_feed
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
    """A restored router. `router(states)` gives P(the small model's answer is right) of every prompt."""

    def __init__(self, restored: Restored, run: Run):
        self._restored, self._run = restored, run
        self.method = restored.method

    def __call__(self, states: TokenStates | Float[np.ndarray, "samples d"]) -> Float[np.ndarray, "samples"]:
        """Scores of `states`, from a store or from `extract.prefill`; Post-Hoc Embed takes output embeddings instead.

        Raises:
          ReLopeError: the method reads the other of the two.
        """
        if self.method.reads_output != isinstance(states, np.ndarray):
            kind = "output embeddings (store.output_embedding())" if self.method.reads_output else "states"
            raise ReLopeError(f"'{self.method.name}' scores {kind}")
        states = vector_states(states) if isinstance(states, np.ndarray) else states
        labels = np.zeros(len(states), np.int64)  # nothing is learned
        feed = resident_feed(states, labels, self._run.block, make_mesh(1), key_cache=False).of(self.method)
        return scores(stack([self._restored.parts]), feed, np.arange(len(states)))[0]

    def attention(self, states: TokenStates) -> list[Float[np.ndarray, "tokens"]]:
        """Attention Probe only: its weight on every prompt token, one array a prompt, each summing to 1."""
        rows = jnp.arange(len(states), dtype=jnp.int32)
        output = single_output(self._restored.parts, to_device(states), rows, int(states.lengths.max()))
        if output.attention is None:
            raise ReLopeError(f"'{self.method.name}' has no attention over tokens; 'attention_probe' has")
        weights = np.asarray(output.attention)
        return [row[-length:] for row, length in zip(weights, states.lengths, strict=True)]

    def export_peft(self, folder: str | Path) -> None:
        """ReLope only: write its LoRA as a PEFT checkpoint, which `PeftModel.from_pretrained` puts on the small model.

        Raises:
          ReLopeError: the method trains no LoRA, or `folder` exists.
        """
        module, spec = nnx.merge(*self._restored.parts), self._restored.member.spec
        if not isinstance(module, ReLope) or not isinstance(spec, ReLopeSpec):
            raise ReLopeError(f"'{self.method.name}' trains no LoRA to export; 'relope' does")
        a, b = module.lora.a, module.lora.b
        matrices = {name: (np.asarray(a[name].get_value()), np.asarray(b[name].get_value())) for name in a}
        model = self._run.config.get("model", {})
        name, below = model.get("name", ""), model.get("adapter", "")
        save_peft(local_path(folder), self._run.block, spec.lora, matrices, base_model=name, below=below)


class Run:
    """Read access to a run directory."""

    def __init__(self, path: str | Path):
        self.path = local_path(path)
        if not self._has(CONFIG):
            raise ReLopeError(f"{self.path} is not a run: make one with `python -m experiments.run --config=...`")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return self.record["config"]

    @property
    def record(self) -> dict[str, Any]:
        """config.json: the resolved config, the store it was trained on, and library versions."""
        return read_json(self.path / CONFIG)

    @property
    def results(self) -> list[dict[str, Any]]:
        """results.json: one row a dataset, model, method and seed."""
        return self._finished(RESULTS)

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: every method over its seeds, and paired differences between methods."""
        return self._finished(SUMMARY)

    def _finished(self, name: str) -> Any:
        if not self._has(RESULTS):
            raise ReLopeError(f"the run {self.path} is unfinished: run the same command again to go on")
        return read_json(self.path / name)

    def _has(self, name: str) -> bool:
        with explaining(self.path):
            return (self.path / name).exists()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """metrics.jsonl: one record a method, seed and epoch."""
        with explaining(self.path):
            return [json.loads(line) for line in (self.path / METRICS).read_text(encoding="utf-8").splitlines()]

    @property
    def scores(self) -> pa.Table:
        """scores.parquet: `sample_id, dataset, split, method, seed, score, label`."""
        return self._table(SCORES)

    def _table(self, name: str) -> pa.Table:
        with explaining(self.path):
            return pq.read_table(self.path / name)

    @property
    def samples(self) -> pa.Table:
        """samples.parquet: labels of both models and token counts, one row a sample.

        Raises:
          ReLopeError: an older version made the run, without it.
        """
        if not self._has(SAMPLES):
            raise ReLopeError(f"{self.path} has no {SAMPLES}: delete its {RESULTS} and run the same command again")
        return self._table(SAMPLES)

    @functools.cached_property
    def store(self) -> Store:
        """The store whose test prompts the run was tested on, found from any working directory.

        It is looked for where it was, then by its way from the run's folder: both may have moved together.

        Raises:
          ReLopeError: it is at neither place, or it is another one by now.
        """
        recorded, layer = self.record["store"], self.config["extract"]["layer"]
        known = recorded.get("digests") or [recorded["manifest_sha256"]]
        reasons = []
        for path in store_paths(self.path, recorded):
            try:
                store = Store(path, layer)
            except ReLopeError as error:
                reasons.append(str(error))
                continue
            if store.digest in known:
                return store
            reasons.append(f"{path} is not the store that {self.path} was trained on: it was extracted again since")
        raise ReLopeError("; ".join(reasons))

    @property
    def block(self) -> Block:
        """The frozen block that ReLope's routers stand on."""
        return load_block(self.path / BLOCK)

    def restore(self, method: str, seed: int = 0) -> Router:
        """The trained router of one method and seed."""
        return Router(load_member(self.path / CHECKPOINTS / method, self.block, seed), self)


def restore(run_dir: str | Path, method: str, seed: int = 0) -> Router:
    """The trained router of `run_dir`; needs neither its config nor its store.

    Raises:
      ReLopeError: there is no such run, method or seed.
    """
    return Run(run_dir).restore(method, seed)


def store_record(run_dir: Path, store: str) -> dict[str, str]:
    """What a run's config.json says of where its store is: the whole path, and the way to it from the run's folder
    when they have a folder in common."""
    if is_url(store):
        return {"path": store}
    whole, run = absolute(store), os.path.realpath(run_dir)
    record = {"path": whole}
    if os.path.commonpath([os.path.realpath(whole), run]) != os.path.sep:
        record["from_run"] = os.path.relpath(os.path.realpath(whole), run)
    return record


def store_paths(run_dir: Path, record: dict[str, Any]) -> list[str]:
    """Where the store of a run may be, the likeliest place first."""
    paths = [record["path"]]
    if "from_run" in record:
        paths.append(os.path.normpath(os.path.join(os.path.realpath(run_dir), record["from_run"])))
    return list(dict.fromkeys(paths))
