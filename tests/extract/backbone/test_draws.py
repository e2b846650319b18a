"""Every row is sampled with its own random numbers, from the stated distribution."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from extract.backbone.draws import UNIFORM_BITS, Draws, inverse_cdf
from extract.backbone.generate import Sampling, generate
from extract.backbone.load import load_backbone
from extract.backbone.prompts import build_inputs
from extract.spec import ModelSpec
from tests.extract import tiny_models

LOGITS = torch.tensor([2.0, -1.0, 0.5, 1.5, -3.0, 0.0, -torch.inf, 1.0])
QUERIES = [("what is this?", None), ("and that, which is longer?", None), ("red or blue?", None), ("why?", None)]


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory):
    folder = tiny_models.save_llava(tmp_path_factory.mktemp("llava"), copy.deepcopy(toy.tokenizer))
    return load_backbone(ModelSpec(name=str(folder), device="cpu"))


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.6), (2.0, 0.9), (0.5, 0.0)])
def test_draws_follow_temperature_and_top_p(temperature, top_p):
    """Chi-square over 20,000 rows, against the probabilities from transformers' own warpers."""
    rows = 20_000
    scores = LOGITS.repeat(rows, 1)
    drawn = Draws(temperature, top_p, range(rows))(torch.zeros(rows, 1), scores).argmax(dim=-1)
    wanted = TemperatureLogitsWarper(temperature)(None, LOGITS[None])
    wanted = TopPLogitsWarper(top_p)(None, wanted).softmax(dim=-1)[0].double().numpy()
    counts = np.bincount(drawn.numpy(), minlength=len(LOGITS))
    possible = wanted > 0
    assert not counts[~possible].any()
    expected = rows * wanted[possible]
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    assert statistic < 30  # at most 7 degrees of freedom: p < 0.0001


def test_one_token_of_every_row_is_left():
    scores = Draws(1.0, 1.0, (1, 2, 3))(torch.zeros(3, 1), LOGITS.repeat(3, 1))
    assert (scores.isfinite().sum(dim=-1) == 1).all()
    assert torch.equal(scores.isfinite().int().argmax(dim=-1), scores.argmax(dim=-1))


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    probabilities = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]] * 2)
    ends = torch.tensor([0.0, 1 - 2.0**-UNIFORM_BITS], dtype=torch.float64)
    assert inverse_cdf(probabilities, ends).tolist() == [1, 3]


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="not numbers"):
        Draws(1.0, 1.0, (1, 2))(torch.zeros(2, 1), torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]))


def test_a_draw_does_not_depend_on_the_other_rows():
    rows = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    together, apart = Draws(1.0, 0.9, range(6)), [Draws(1.0, 0.9, (i,)) for i in range(6)]
    for _ in range(20):
        drawn = together(torch.zeros(6, 1), rows).argmax(dim=-1).tolist()
        assert drawn == [d(torch.zeros(1, 1), rows[i : i + 1]).argmax().item() for i, d in enumerate(apart)]


def test_an_answer_does_not_depend_on_its_batch(llava):
    seeds = (11, 12, 13, 14)

    def texts(chosen: list[int]) -> list[str]:
        inputs = build_inputs(llava, [QUERIES[i] for i in chosen])
        sampling = Sampling(tuple(seeds[i] for i in chosen), temperature=1.2, top_p=0.95)
        return [answer.text for answer in generate(llava, inputs, 6, sampling=sampling).answers]

    whole = texts([0, 1, 2, 3])
    assert len(set(whole)) == 4
    for chosen in ([0], [3], [2, 1], [3, 0, 1]):
        assert texts(chosen) == [whole[i] for i in chosen]


def test_the_number_of_seeds_is_the_number_of_prompts(llava):
    with pytest.raises(ValueError, match="1 seeds for 4 prompts"):
        generate(llava, build_inputs(llava, QUERIES), 1, sampling=Sampling((1,)))
