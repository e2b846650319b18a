"""Shared by the tests of answers: the server's process and its control, a small store of questions, one call to ask."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extract.answers import endpoint
from extract.answers.job import answer
from extract.plan import Extraction
from extract.source import dataset_source, model_source
from extract.spec import AnswerSpec, DatasetSpec, ExtractSpec, ModelSpec
from relope_jax.states.answers import Answers
from relope_jax.states.manifest import Identity
from relope_jax.states.store import SPLITS, Store
from relope_jax.states.writer import StoreWriter
from tests.builders import make_block, make_states

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "It may be red."}]}  # of a Mistral model


def completion(content="blue", **choice) -> dict:
    """A good reply with other fields in its choice."""
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}], "model": "m"}


class Server:
    """The server process and its control."""

    def __init__(self, port: int):
        self.port, self.url = port, f"http://127.0.0.1:{port}/v1"

    def _call(self, method: str, path: str, body: dict | None = None) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def control(self, **faults) -> None:
        self._call("POST", "/control", faults)

    @property
    def stats(self) -> dict:
        return self._call("GET", "/stats")


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """The server in a separate process, on loopback."""
    script = Path(__file__).with_name("openai_server.py")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as child:
        yield Server(int(child.stdout.readline()))
        child.kill()


def made_ready(process: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server without faults, and a client that waits briefly and has no key."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    process.control()
    return process


def make_plan(tmp_path: Path) -> Extraction:
    """A store of nine questions about coloured images and one without an image."""
    lines = []
    for i in range(9):
        colour = list(COLOURS)[i % 3]
        Image.new("RGB", (8 + i, 8), COLOURS[colour]).save(tmp_path / f"{i}.png")
        lines.append(
            {"id": f"q{i}", "question": f"Which colour is it, number {i}?", "answer": colour, "image": f"{i}.png"}
        )
    lines[8]["answer"] = "red"  # which is wrong: one wrong label
    lines.append({"id": "q9", "question": "Say yes.", "answer": "yes"})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = DatasetSpec(name="jsonl", path=str(tmp_path / "data.jsonl"))
    plan = Extraction(ModelSpec(device="cpu"), dataset, ExtractSpec(), tmp_path / "store")
    write_store(plan, [f"q{i}" for i in range(10)], seed=0)
    return plan


def write_store(plan: Extraction, ids: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    identity = Identity(
        model=plan.model.name, source=model_source(plan.model), commit="", adapter="", layers=plan.extract.all_layers,
        hidden_size=16, model_dtype="float32", state_dtype=plan.extract.state_dtype, attention="sdpa", device="cpu",
        device_map="", prompt_hash="h", dataset=dataset_source(plan.dataset), graders=1, questions="q", samples="x",
        labels_from="",
        max_new_tokens=plan.extract.max_new_tokens, part_size=20, token_budget=100, versions={},
    )  # fmt: skip
    rows = [
        {
            "sample_id": name,
            "split": SPLITS[i % 3],
            "label": 1,
            "response": "red",
            "n_tokens": 2,
            "caption": f"what {name} shows",
        }
        for i, name in enumerate(ids)
    ]
    with StoreWriter(plan.store, identity) as writer:
        writer.write_part(0, {plan.extract.layer: make_states(rng, [2] * len(ids))}, rows, [])
        writer.finish(1, {plan.extract.layer: make_block(rng)})


def ask(plan: Extraction, server: Server, **changes) -> Answers:
    return answer(plan, spec_of(plan, server, **changes), Store(plan.store))


def spec_of(plan: Extraction, server: Server, **changes) -> AnswerSpec:
    cache = str(plan.store.parent / "cache" / "answers.sqlite")
    spec = AnswerSpec(model="toy-large", base_url=server.url, cache=cache, retries=3, timeout=5.0)
    return dataclasses.replace(spec, **changes)
