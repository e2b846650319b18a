"""Blocks from others: an invalid spec or weight is one error line, before memory for the weights is allocated."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from relope_jax.block.file import load_block, save_block
from relope_jax.block.spec import Block
from relope_jax.errors import ReLopeError
from tests.builders import make_block, make_spec
from tests.relope_jax.states.hostile import line_of, names, values

BLOCK = make_block(np.random.default_rng(0), make_spec(biases=("q",), window=4))
SPEC = json.loads(json.dumps(dataclasses.asdict(BLOCK.spec)))


def write(path, spec=SPEC, modules=None, weights=BLOCK.weights, record=None):
    record = json.dumps({"spec": spec, "modules": modules or {}}) if record is None else record
    save_file(weights, path, metadata={"block": record})
    return path


def test_the_block_that_the_others_are_changed_from_is_read(tmp_path):
    loaded = load_block(write(tmp_path / "b"))
    assert loaded.spec == BLOCK.spec
    assert all(loaded.weights[name].dtype == weight.dtype for name, weight in BLOCK.weights.items())


@pytest.mark.parametrize(
    "change",
    [
        {"n_heads": 0}, {"n_kv_heads": 0}, {"n_kv_heads": 3}, {"n_heads": -4}, {"n_heads": 4.0}, {"n_heads": True},
        {"head_dim": 2**70}, {"head_dim": 2**31}, {"hidden_size": 2**31 - 1}, {"hidden_size": "16"}, {"layer": 0},
        {"rope_dim": 10}, {"rope_dim": 7}, {"rope_dim": -2}, {"rope_axes": 0}, {"rope_axes": 2**30}, {"norm_eps": -1.0},
        {"norm_eps": float("nan")}, {"norm_eps": None}, {"norm_eps": "1"}, {"attention_scale": float("inf")},
        {"attention_scale": 0}, {"attention_scale": 10**400}, {"rope_scaling": 0.0}, {"rope_scaling": -1},
        {"softcap": 0.0}, {"softcap": -2.0}, {"softcap": float("nan")}, {"window": 0}, {"window": -1}, {"window": 1.5},
        {"activation": "relu"}, {"activation": ["silu"]}, {"activation": "x" * 10**6}, {"activation": "silu\n"},
        {"family": "a\nb"}, {"family": 3}, {"biases": "q"}, {"biases": ["x"]}, {"biases": ["q", "q"]},
        {"biases": [["q"]]}, {"biases": None}, {"qk_norm": "yes"}, {"qk_norm": 1}, {"more": 1},
    ],
    ids=lambda change: str(change)[:40],
)  # fmt: skip
def test_a_spec_that_no_block_has_is_a_line(tmp_path, change):
    path = write(tmp_path / "b", SPEC | change)
    assert "is not a decoder block" in line_of(lambda: load_block(path))


@pytest.mark.parametrize("record", ["", "{", "[]", "null", "[" * 10**5, '{"spec": 1}', '{"spec": {}, "modules": {}}',
                                    json.dumps({"spec": SPEC}), json.dumps({"spec": SPEC, "modules": []}),
                                    json.dumps({"spec": SPEC, "modules": {"q": 1}}),
                                    json.dumps({"spec": SPEC, "modules": {"../q": "x"}})])  # fmt: skip
def test_a_record_that_is_none_is_a_line(tmp_path, record):
    assert "is not a decoder block" in line_of(lambda: load_block(write(tmp_path / "b", record=record)))


@pytest.mark.parametrize(
    "weights",
    [
        {},
        BLOCK.weights | {"q.weight": np.zeros((32, 17), np.float32)},
        BLOCK.weights | {"more\n": np.zeros(1, np.float32)},
        BLOCK.weights | {"q.weight": np.zeros((32, 16), np.int32)},
        BLOCK.weights | {"q.weight": np.zeros((32, 16), bool)},
    ],
)
def test_weights_that_the_spec_does_not_ask_for_are_a_line(tmp_path, weights):
    assert "is not a decoder block" in line_of(lambda: load_block(write(tmp_path / "b", weights=weights)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(sorted(SPEC)), value=values, module=names)
def test_no_value_of_a_spec_gives_more_than_a_line(tmp_path, field, value, module):
    """Accepted values give a block like any other."""

    def use() -> None:
        block = load_block(write(tmp_path / "b", SPEC | {field: value}, {"q": module}))
        assert block.spec.group * block.spec.n_kv_heads == block.spec.n_heads

    line_of(use)


def test_a_block_is_never_written_through_a_link(tmp_path):
    (tmp_path / "keep").write_text("keep")
    (tmp_path / "block").symlink_to(tmp_path / "keep")
    save_block(tmp_path / "block", BLOCK)
    assert (tmp_path / "keep").read_text() == "keep"
    assert load_block(tmp_path / "block").spec == BLOCK.spec


def test_a_block_with_other_weights_than_its_spec_cannot_be_made():
    with pytest.raises(ReLopeError, match="but its spec requires"):
        Block(BLOCK.spec, {})
