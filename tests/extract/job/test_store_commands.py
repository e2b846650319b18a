"""python -m extract.verify and extract.inspect."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from extract.inspect import describe
from extract.job.open import open_or_extract
from extract.verify import verify
from relope_jax.errors import ReLopeError
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from tests.builders import make_block
from tests.extract.job.plans import contents, tiny_plan


@pytest.fixture
def plan(tmp_path, toy):
    return tiny_plan(tmp_path, toy.tokenizer, part_size=8, layers=(3,))


def test_verify_checks_files_and_replays_every_layer(plan, capsys):
    open_or_extract(plan)
    verify(str(plan.store))
    out = capsys.readouterr().out
    assert "all checksums of 3 parts and 2 blocks match" in out
    assert "frozen block l=2 replayed on 24 samples" in out
    assert "frozen block l=3 replayed on 24 samples" in out


def test_damage_is_named_dropped_and_made_again(plan, capsys):
    open_or_extract(plan)
    whole = contents(plan.store)
    for name in ("parts/00001/layer-3/hidden/c/0/0", "block-2.safetensors", "identity.json", "parts/00002/part.json"):
        path = plan.store / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    with pytest.raises(ReLopeError, match="4 of its pieces are damaged"):
        verify(str(plan.store))
    out = capsys.readouterr().out
    assert "part 00001" in out
    assert "layer-3/hidden/c/0/0" in out
    assert "part 00002" in out
    assert "block-2" in out
    assert "identity.json" in out
    with pytest.raises(ReLopeError, match="removed 4 damaged pieces"):
        verify(str(plan.store), drop_damaged=True)
    open_or_extract(plan)
    assert contents(plan.store) == whole


def test_block_of_another_model_is_found_by_the_replay(plan, tmp_path):
    """Intact files that do not belong together."""
    store = open_or_extract(dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, layers=())))
    import numpy as np

    wrong = make_block(np.random.default_rng(0), store.block.spec)
    with StoreWriter(store.path, store.identity) as writer:
        writer.finish(3, {2: wrong})
    with pytest.raises(ReLopeError, match="do not belong together"):
        verify(store.path)


def test_inspect_says_what_is_in_a_store(plan, tmp_path):
    (tmp_path / "5.png").write_bytes(b"no picture")
    store = open_or_extract(plan)
    text = "\n".join(describe(Store(store.path)))
    lengths = store.column("n_tokens")
    assert "layers    2, 3 of width 32, in bfloat16" in text
    assert f"shortest {lengths.min()}, median" in text
    assert f"longest {lengths.max()}" in text
    assert "left out: 1 samples (1 unreadable image)\n  q05: unreadable image" in text
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()[:1] and line[0] in "tva"}
    assert int(table["all"][0]) == 23
    assert sum(int(table[split][0]) for split in ("train", "validation", "test")) == 23
    assert float(table["all"][2]) == pytest.approx(store.column("label").mean(), abs=1e-3)
    bars = [int(line.split()[3]) for line in text.splitlines() if line.split()[1:2] == ["to"]]
    assert sum(bars) == 23
    assert Path(store.path).name in text
