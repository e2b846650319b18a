"""Answers are looked up in their own store, by that store's ids, even if other stores use the same ids."""

from __future__ import annotations

import types

import numpy as np
import pytest

from experiments.runs.sample_table import sample_table
from relope_jax.baselines.inputs import CONFIDENCE, LARGE, SAMPLES, STYLES, Inputs, require_inputs
from relope_jax.baselines.sw_ranking import sw_ranking_scores
from relope_jax.errors import ReLopeError
from relope_jax.states.embeddings import save_embeddings
from relope_jax.states.joined import JoinedStore
from tests import contracts
from tests.relope_jax.states.answer_tables import write_answers
from tests.relope_jax.states.test_joined import write

ROWS = range(6)
TARGET_LABELS, SOURCE_LABELS = [1, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 1]
MOT = {"samples": 1, "styles": dict.fromkeys(STYLES, ""), "temperature": 0.8, "top_p": 1.0, "max_tokens": 8}


def row(i: int, **values):
    return {"sample_id": str(i), "style": "direct", "index": 0, "response": "r", "final_answer": "f"} | values


def write_large(store, labels, model="large", rows=ROWS, tokens=100) -> None:
    answers = [row(i, label=labels[i], prompt_tokens=tokens + i, completion_tokens=i) for i in rows]
    write_answers(store.path, LARGE, answers, model=model)


def write_samples(store, text: str, rows=ROWS, **settings) -> None:
    answers = [
        row(i, style=style, final_answer=f"{text} {i} {style}", completion_tokens=i) for i in rows for style in STYLES
    ]
    write_answers(store.path, SAMPLES, answers, **MOT | settings)


def write_confidence(store, first: int, rows=ROWS) -> None:
    answers = [row(i, style=CONFIDENCE, final_answer=str(first + i), completion_tokens=i) for i in rows]
    write_answers(store.path, CONFIDENCE, answers, styles={CONFIDENCE: ""}, ask="confidence")


@pytest.fixture
def stores(tmp_path):
    """Two files that both number their questions from 0. Their test and training rows have different numbers, so the
    chosen ids do not collide."""
    return [write(tmp_path, name, prefix="") for name in ("target", "source")]


@pytest.fixture
def joined(stores):
    return JoinedStore(stores[0], stores[1:])


SOURCE_ROWS, TARGET_ROWS = [0, 1, 3, 4], [2, 5]


def test_the_large_models_answers_are_those_of_the_samples_own_store(stores, joined):
    write_large(stores[0], TARGET_LABELS)
    assert Inputs(joined).large_labels.tolist() == [-1] * 4 + [1, 0], "the target's answers are not the source's"
    write_large(stores[1], SOURCE_LABELS)
    assert Inputs(joined).large_labels.tolist() == [SOURCE_LABELS[i] for i in SOURCE_ROWS] + [1, 0]
    assert Inputs(joined).large.has().all()
    assert Inputs(stores[0]).large_labels.tolist() == TARGET_LABELS


def test_ids_that_collide_are_looked_up_alike(tmp_path):
    """Three stores, all with the same ids."""
    target, first, second = (write(tmp_path, name, prefix="") for name in ("target", "first", "second"))
    for store, labels in ((target, TARGET_LABELS), (first, SOURCE_LABELS), (second, TARGET_LABELS)):
        write_large(store, labels)
    expected = [labels[i] for labels in (SOURCE_LABELS, TARGET_LABELS) for i in SOURCE_ROWS] + [1, 0]
    assert Inputs(JoinedStore(target, [first, second])).large_labels.tolist() == expected


def test_sampled_and_stated_answers_are_those_of_the_samples_own_store(stores, joined):
    for store, text, first in ((stores[0], "target", 10), (stores[1], "source", 50)):
        write_samples(store, text)
        write_confidence(store, first)
    inputs = Inputs(joined)
    asked = [("source", i) for i in SOURCE_ROWS] + [("target", i) for i in TARGET_ROWS]
    for style in STYLES:
        assert inputs.sampled_answers(style) == [[f"{name} {i} {style}"] for name, i in asked]
    assert inputs.stated_confidence == [str({"source": 50, "target": 10}[name] + i) for name, i in asked]


@pytest.mark.parametrize(
    ("make", "name", "needs"),
    [
        (write_samples, "samples", SAMPLES),
        (write_confidence, "confidence", CONFIDENCE),
    ],
)
def test_validation_questions_of_a_source_must_have_been_asked(stores, joined, make, name, needs):
    make(stores[0], 1)
    with pytest.raises(ReLopeError, match=rf"'{name}' of .*source lack 2 of 4 samples, the first '1'"):
        require_inputs(Inputs(joined), (needs,))
    make(stores[1], 1, rows=(1, 4))  # its training questions need no answers
    require_inputs(Inputs(joined), (needs,))


def test_costs_are_those_of_the_samples_own_store(stores, joined):
    write_large(stores[0], TARGET_LABELS, tokens=100)
    write_samples(stores[0], "t")
    table = sample_table(Inputs(joined)).to_pydict()
    assert table["large_prompt_tokens"] == [None] * 4 + [102, 105]
    assert table["large_label"] == [None] * 4 + [1, 0]
    assert table["sampled_tokens"] == [None] * 4 + [4, 10]
    assert table["confidence_tokens"] == [None] * 6
    write_large(stores[1], SOURCE_LABELS, tokens=200)
    write_samples(stores[1], "s")
    table = sample_table(Inputs(joined)).to_pydict()
    assert table["large_prompt_tokens"] == [200, 201, 203, 204, 102, 105]
    assert table["large_label"] == [0, 1, 1, 0, 1, 0]
    assert table["sampled_tokens"] == [0, 2, 6, 8, 4, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda store: write_large(store, SOURCE_LABELS, model="other"),
            r"'large' of .*source and of .*model: 'other'",
        ),
        (lambda store: write_samples(store, "s", temperature=0.1), r"'samples' of .*temperature: 0.1 != 0.8"),
        (lambda store: write_samples(store, "s", max_tokens=9), r"'samples' of .*max_tokens: 9 != 8"),
    ],
)
def test_answers_that_were_asked_for_otherwise_are_not_mixed(stores, joined, change, message):
    write_large(stores[0], TARGET_LABELS)
    write_samples(stores[0], "t")
    change(stores[1])
    with pytest.raises(ReLopeError, match=message):
        require_inputs(Inputs(joined), ())


def embed(store) -> None:
    embeddings = np.eye(6, dtype=np.float32) + 1
    for name in ("question", "question_answer"):
        save_embeddings(store.path, name, embeddings, "e", store.texts(name))


def test_sw_ranking_learns_from_the_answers_to_its_own_questions(stores):
    """The battles come from the source, whatever the answers to the target's questions with the same numbers."""
    target, source = stores
    for store in stores:
        embed(store)
    joined = JoinedStore(target, [source])
    data = types.SimpleNamespace(rows={"train": joined.rows("train")}, labels=joined.column("label").astype(np.int64))

    def rank(inputs):
        with contracts.ignored():  # `data` is a stand-in with only what the method reads
            return sw_ranking_scores(data, inputs, 0)

    write_large(target, [1] * 6)
    with pytest.raises(ReLopeError, match=r"the answers 'large' of \S*source have none"):
        rank(Inputs(joined))
    write_large(source, [1] * 6)
    wins = rank(Inputs(joined))
    write_large(source, [0] * 6)
    losses = rank(Inputs(joined))
    assert (losses > wins).all()
    write_large(target, [0] * 6)
    np.testing.assert_array_equal(rank(Inputs(joined)), losses)
