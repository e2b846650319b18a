"""Makes the missing inputs of baselines (everything except hidden states) before a run trains."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from extract.input_spec import InputSpec, LargeSpec
from extract.plan import Extraction
from extract.spec import AnswerSpec
from relope_jax.baselines.inputs import CONFIDENCE, EMBEDDINGS, LARGE, SAMPLES
from relope_jax.errors import ReLopeError
from relope_jax.io.place import open_place
from relope_jax.states.answers import Answers, answer_names
from relope_jax.states.layout import SPLITS
from relope_jax.states.view import ReadableStore

UNTRAINED = ("validation", "test")  # splits with sampled and stated answers, which are not used for training
CONFIDENCE_TOKENS = 8  # enough for "100%" after a few words


@dataclasses.dataclass(frozen=True)
class InputPlan:
    """How a run makes its baselines' inputs: for which store and with which models."""

    target: Extraction
    answers: AnswerSpec
    inputs: InputSpec
    large: LargeSpec


@dataclasses.dataclass(frozen=True)
class AnswerTable:
    """A table of answers that a run can make.

    Attributes:
      plan: its `model` answers when `spec` has no server.
      checked: settings that existing answers must match; the server may differ.
      limit_setting: the setting of `spec.max_tokens`; empty when it is fixed.
    """

    spec: AnswerSpec
    plan: Extraction
    checked: tuple[str, ...]
    limit_setting: str = "answers.max_tokens"


def make_inputs(plan: InputPlan, store: ReadableStore, needs: tuple[str, ...]) -> None:
    """Make the inputs in `needs` that `plan` describes, and the large model's answers whenever it sets a large model.
    Of several stores, only the one used for testing gets new answers, because the plan describes no other.

    Raises:
      ReLopeError: they cannot be made, or others exist under the same name.
    """
    target = store.pieces[-1].store
    for table in tables(plan, needs):
        if not is_finished(target, table):
            require_alone(f"{target.path} has no complete answers '{table.spec.name}'")
            from extract.answers.job import answer  # imported here: its dependencies load only when needed

            print(f"asking {table.spec.model or table.plan.model.name} for the answers '{table.spec.name}'")
            answer(table.plan, table.spec, target, table.limit_setting)
    if EMBEDDINGS in needs:
        from extract.job.embeddings import embed_store

        inputs = plan.inputs
        if jax.process_count() == 1:  # several processes only read them and report missing ones
            embed_store(store, inputs.encoder, inputs.batch, inputs.encoder_revision)


def tables(plan: InputPlan, needs: tuple[str, ...]) -> list[AnswerTable]:
    """The tables of answers that `needs` requires and `plan` describes."""
    target, inputs, large = plan.target, plan.inputs, plan.large
    whole = dataclasses.replace(plan.answers, ask="question", samples=0, splits=SPLITS)
    small = dataclasses.replace(
        whole, model="", base_url="", seed=0, extra="", concurrency=inputs.batch, splits=UNTRAINED
    )
    found = []
    if large.name:
        spec = dataclasses.replace(whole, name=LARGE, model=large.name, base_url=large.base_url)
        asked_of = target if large.base_url else dataclasses.replace(target, model=large.model)
        found.append(AnswerTable(spec, asked_of, ("model",)))
    if SAMPLES in needs:
        sampling: dict[str, Any] = {name: getattr(inputs, name) for name in ("samples", "temperature", "top_p")}
        spec = dataclasses.replace(small, name=SAMPLES, max_tokens=inputs.max_tokens, **sampling)
        found.append(AnswerTable(spec, target, ("max_tokens", *sampling), "inputs.max_tokens"))
    if CONFIDENCE in needs:
        spec = dataclasses.replace(small, name=CONFIDENCE, ask="confidence", max_tokens=CONFIDENCE_TOKENS)
        found.append(AnswerTable(spec, target, ("ask",), limit_setting=""))
    return found


def is_finished(store: ReadableStore, table: AnswerTable) -> bool:
    """Whether the store has these answers for all questions of their splits.

    Raises:
      ReLopeError: it has other answers under that name.
    """
    spec = table.spec
    if spec.name not in answer_names(store.path):
        return False
    from extract.answers.table import refuse_other_settings

    refuse_other_settings(open_place(store.path), spec.name, {name: getattr(spec, name) for name in table.checked})
    asked = np.isin(store.column("split"), spec.splits)
    return bool(Answers.load(store.path, spec.name).has(store.column("sample_id")[asked].tolist()).all())


def require_alone(problem: str) -> None:
    """Raise ReLopeError when several processes train together, because one process must make what all of them need."""
    if jax.process_count() > 1:
        raise ReLopeError(f"{problem}: make them with `python -m experiments.run` in one process first")
