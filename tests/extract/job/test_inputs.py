"""Which answers a run requests, from which model, and with which settings."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from experiments.configs import base
from extract.input_spec import InputSpec, LargeSpec
from extract.job.inputs import InputPlan, make_inputs, tables
from extract.plan import plan_from_config
from extract.spec import AnswerSpec, ModelSpec
from relope_jax.errors import ReLopeError
from tests.extract.job.test_embeddings import write_store


def plan_of(config) -> InputPlan:
    answers, inputs, large = AnswerSpec(**config.answers), InputSpec(**config.inputs), LargeSpec(**config.large)
    return InputPlan(plan_from_config(config), answers, inputs, large)


NEEDS = ("samples", "confidence", "large", "embeddings")


def test_nothing_is_asked_that_nobody_needs():
    assert tables(plan_of(base.get_config()), ()) == []
    assert [table.spec.name for table in tables(plan_of(base.get_config()), NEEDS)] == ["samples", "confidence"]


def test_a_large_model_is_asked_whenever_it_is_named():
    config = base.get_config()
    config.large.name, config.large.dtype, config.model.name = "org/large", "bfloat16", "org/small"
    config.answers.max_tokens, config.answers.splits, config.answers.samples = 77, ("test",), 3
    (large,) = tables(plan_of(config), ())
    assert large.plan.model == ModelSpec(name="org/large", dtype="bfloat16")
    assert (large.spec.name, large.spec.model, large.spec.base_url) == ("large", "org/large", "")
    assert (large.spec.max_tokens, large.spec.samples, len(large.spec.splits)) == (77, 0, 3)
    config.large.base_url = "http://localhost:8000/v1"
    assert tables(plan_of(config), ())[0].spec == dataclasses.replace(large.spec, base_url="http://localhost:8000/v1")


def test_the_small_model_is_asked_in_process():
    config = base.get_config()
    config.answers.base_url, config.answers.model = "http://localhost:8000/v1", "another"  # for another job
    config.inputs.samples, config.inputs.temperature, config.inputs.batch = 5, 0.6, 9
    samples, confidence = tables(plan_of(config), NEEDS)
    assert samples.plan.model == confidence.plan.model == ModelSpec(**config.model)
    for table in (samples, confidence):
        assert (table.spec.base_url, table.spec.model, table.spec.concurrency) == ("", "", 9)
    assert (samples.spec.samples, samples.spec.temperature, samples.spec.max_tokens) == (5, 0.6, 128)
    assert (confidence.spec.ask, confidence.spec.samples) == ("confidence", 0)


def test_several_processes_make_nothing(tmp_path, monkeypatch):
    store = write_store(tmp_path / "store", ["is it red?"])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    make_inputs(plan_of(base.get_config()), store, ("embeddings",))
    assert not (tmp_path / "store" / "embeddings").exists()
    with pytest.raises(ReLopeError, match=r"no complete answers 'samples': make them .* in one process first"):
        make_inputs(plan_of(base.get_config()), store, ("samples",))


def test_settings_that_make_no_sense_are_one_line():
    with pytest.raises(ReLopeError, match=r"large.base_url is set: name a model .*--config.large.name"):
        LargeSpec(base_url="http://localhost:8000/v1")
    with pytest.raises(ReLopeError, match=r"inputs.samples is 0; it must be at least 1"):
        InputSpec(samples=0)
    with pytest.raises(ReLopeError, match=r"inputs.temperature is 0"):
        InputSpec(temperature=0)
