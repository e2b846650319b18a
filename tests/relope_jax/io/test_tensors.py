"""Safetensors files from anywhere: read as by the library, or refused in one line before memory is allocated."""

from __future__ import annotations

import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from relope_jax.errors import ReLopeError
from relope_jax.io.tensors import DTYPES, TensorFile, read_tensors

WEIGHT = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(path, header, data: bytes = b"", length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_tensors_are_those_that_safetensors_reads(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"{dtype}.{shape}": rng.normal(size=shape).astype(dtype)
        for dtype in DTYPES.values()
        for shape in [(), (0, 4), (5,), (3, 2)]
    }
    save_file(tensors, tmp_path / "t", metadata={"a": "b"})
    found, metadata = read_tensors(tmp_path / "t")
    expected = load_file(tmp_path / "t")
    assert metadata == {"a": "b"}
    assert found.keys() == expected.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].dtype.isnative
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.astype(np.float64))
    assert np.dtype(ml_dtypes.bfloat16) in {tensor.dtype for tensor in found.values()}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F8_E4M3"}, {"dtype": "BF17"}, {"dtype": None}, {"dtype": ["F32"]}, {"dtype": "I64"},
        {"shape": [2, 4]}, {"shape": [-2, -3]}, {"shape": [2.0, 3]}, {"shape": "23"}, {"shape": None},
        {"shape": [True, 6]}, {"shape": [2**62, 2**62]}, {"shape": [2**64]}, {"shape": [6] + [1] * 100},
        {"data_offsets": [0, 25]}, {"data_offsets": [4, 28]}, {"data_offsets": [-24, 0]}, {"data_offsets": [24, 0]},
        {"data_offsets": [0]}, {"data_offsets": [0, 2**70]}, {"data_offsets": ["0", "24"]}, {"data_offsets": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_that_does_not_fit_its_file_is_refused(tmp_path, change):
    with pytest.raises(ReLopeError, match="not a valid safetensors"):
        TensorFile(file_of(tmp_path / "t", {"w": WEIGHT | change}, bytes(24)))


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{", b"[]", b"null", b'"w"', b"{" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"w": 9}', b"9" * 5000,
        {"__metadata__": {"a": 1}}, {"__metadata__": "a"}, {"w": None}, {"w": {}}, {},
        {"w": WEIGHT, "v": WEIGHT},
    ],
    ids=lambda header: repr(header)[:20],
)  # fmt: skip
def test_a_header_that_is_none_is_refused(tmp_path, header):
    with pytest.raises(ReLopeError, match="not a valid safetensors"):
        TensorFile(file_of(tmp_path / "t", header, bytes(24)))


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**40, 2**63, 2**64 - 1])
def test_a_header_is_never_longer_than_its_file(tmp_path, length):
    path = file_of(tmp_path / "t", {"w": WEIGHT}, bytes(24), length)
    tracemalloc.start()
    with pytest.raises(ReLopeError, match="not a valid safetensors"):
        TensorFile(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_large_file_is_refused_with_the_limit_that_would_read_it(tmp_path, monkeypatch):
    path = tmp_path / "t"
    save_file({"w": np.zeros((600, 600), np.float32)}, path)
    monkeypatch.setenv("RELOPE_MAX_TENSORS_MB", "1")
    with pytest.raises(ReLopeError, match="RELOPE_MAX_TENSORS_MB"):
        TensorFile(path)
    monkeypatch.setenv("RELOPE_MAX_TENSORS_MB", "2")
    assert read_tensors(path)[0]["w"].shape == (600, 600)
