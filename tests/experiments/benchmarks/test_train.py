"""The training benchmark on a few prompts of the toy MLLM: same programs, same checks, same records."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest

from experiments.benchmarks import extract, measure, torch_train, train
from extract.backbone.dump_block import dump_block
from extract.datasets import get_dataset
from extract.job.splits import draw
from extract.spec import DatasetSpec
from relope_jax.block.spec import LoRASpec
from relope_jax.data import RouterData
from relope_jax.errors import ReLopeError
from relope_jax.models.spec import AttentionProbeSpec, ProbeSpec, ReLopeSpec
from relope_jax.states.statistics import token_statistics
from relope_jax.training.spec import TrainSpec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's own
LAYER, PROMPTS = 2, DatasetSpec(max_questions=100)
SMALL = {"widths": (8,), "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def case(toy) -> train.Case:
    samples = draw(get_dataset(PROMPTS.name).load(PROMPTS), PROMPTS)
    samples = [sample for sample in samples if len(sample.question.split()) in (6, 7)][:20]  # one width to compile
    names = [sample.sample_id for sample in samples]
    states = extract.captured_prefill(toy, LAYER, train.model_inputs(toy, PROMPTS, names))
    rows = {"train": np.arange(10), "validation": np.arange(10, 15), "test": np.arange(15, 20)}
    data = RouterData(
        states=states,
        statistics=token_statistics(states, rows["train"]),
        labels=np.arange(20) % 2,
        rows=rows,
        prompts=[sample.question for sample in samples],
        sample_ids=names,
        groups=np.array(names),
        block=dump_block(toy, LAYER),
    )
    specs = {
        "relope": ReLopeSpec(lora=LoRASpec(rank=2, alpha=4.0), bottleneck=4, **SMALL),
        "probe": ProbeSpec(**SMALL),
        "attention_probe": AttentionProbeSpec(**SMALL),
    }
    return train.Case(data, specs, TrainSpec(batch_size=4), epochs=5, measured=2, seeds=2, members=2)


@pytest.fixture
def model(toy):
    """The toy without most of its layers, to be adapted with a LoRA."""
    model = copy.deepcopy(toy)
    model.decoder.layers = model.decoder.layers[: LAYER + 1]
    return model


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(measure, "SIZE", 64)
    monkeypatch.setattr(measure, "BLOCK", 2**16)
    monkeypatch.setattr(measure, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(train, "ROUNDS", 2)
    monkeypatch.setattr(train, "all_cores", lambda: 1)  # with shared cores, two threads would wait for each other


@pytest.mark.slow
def test_records(small, case, model):
    """Before timing, the run compares torch's states, logits, losses and gradients with ours."""
    records = {record.name: record for record in train.run_case(case, model, PROMPTS)}
    runs = [
        "train/relope/vs_whole_model_extrapolated",
        "train/relope/vs_until_layer_l_extrapolated",
        "train/relope/vs_torch_peft_block",
        "train/relope/vs_torch_peft_last_token",
        "train/relope/2_members_vs_2_single",
        "train/probe/2_seeds_vs_2_torch_runs",
        "train/probe/2_members_vs_2_single",
        "train/attention_probe/2_seeds_vs_2_torch_runs",
        "train/attention_probe/2_members_vs_2_single",
    ]
    before = [f"train/{method}/before_first_epoch" for method in case.specs]
    ceilings = ["train/machine_matrix_product", "train/machine_copy_bandwidth"]
    assert set(records) == {*runs, *(f"{name}/step" for name in runs), *before, *ceilings}
    for name in runs:
        whole, step = records[name], records[f"{name}/step"]
        assert (whole.unit, step.unit) == ("s", "ms")
        for record in (whole, step):
            assert record.value > 0
            assert math.isfinite(record.ratio)
            assert record.ratio == pytest.approx(record.baseline / record.value)
        assert (step.floor is not None) == ("relope/vs" in name)


def test_one_by_one_compiles_once():
    timing = train.Timing(start=10.0, restart=1.0, epoch=2.0, step=0.1)
    assert timing.whole(4) == 18
    assert timing.one_by_one(4, members=3) == 18 + 9 + 9


def test_batches_hold_every_sample_once_with_little_padding(case):
    states = torch_train.CachedStates(case.data.states, case.data.labels)
    rows = torch_train.torch.arange(20)
    batches = list(states.epoch(rows, 4, tokens=True))
    last = np.concatenate([batch.last_hidden for batch in batches])
    np.testing.assert_array_equal(np.sort(last[:, 0]), np.sort(case.data.states.last_hidden[:, 0]))
    for batch in batches:
        assert batch.hidden.shape[1] == batch.lengths.max()
        assert (batch.mask is None) == bool((batch.lengths == batch.lengths[0]).all())


def test_different_routers_are_not_timed(case, monkeypatch):
    """Different logits, then a different loss, then only different gradients."""
    data, spec, true = case.data, case.specs["relope"], torch_train.objective
    states = torch_train.CachedStates(data.states, data.labels)
    model = train.torch_relope(data, spec, torch_train.last_token_block)
    train.require_agreement(case, "relope", model, states)

    other = train.torch_relope(data, dataclasses.replace(spec, lora=LoRASpec(2, 8.0)), torch_train.last_token_block)
    with pytest.raises(ReLopeError, match=r"relope's logits differs from torch's by .*: nothing is timed"):
        train.require_agreement(case, "relope", other, states)
    monkeypatch.setattr(torch_train, "objective", lambda *args: 2 * true(*args))
    with pytest.raises(ReLopeError, match=r"relope's loss differs"):
        train.require_agreement(case, "relope", model, states)
    monkeypatch.setattr(torch_train, "objective", lambda *args: 2 * true(*args) - true(*args).detach())
    with pytest.raises(ReLopeError, match=r"relope's gradient of .* differs"):
        train.require_agreement(case, "relope", model, states)


def test_other_states_are_not_timed(small, case, model):
    last = case.data.states.last_hidden
    wrong = dataclasses.replace(case.data.states, last_hidden=last + 0.01 * np.abs(last).max())
    case = dataclasses.replace(case, data=dataclasses.replace(case.data, states=wrong))
    with pytest.raises(
        ReLopeError, match=r"z_n\^\(l\) of the whole_model differs from torch's by .*: nothing is timed"
    ):
        list(train.run_case(case, model, PROMPTS))
