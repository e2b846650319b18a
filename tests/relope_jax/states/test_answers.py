"""Tables of answers: round trip, and every way they can be wrong."""

from __future__ import annotations

import pytest

from relope_jax.errors import ReLopeError
from relope_jax.states.answer_files import ANSWER_SCHEMA
from relope_jax.states.answers import Answers, answer_names
from tests.relope_jax.states.answer_tables import write_answers


def rows(samples: int) -> list[dict]:
    """Two questions: one answer each without sampling, else `samples` under two styles."""
    styles = ("direct", "steps") if samples else ("direct",)
    return [
        {"sample_id": name, "style": style, "index": index, "response": f"{name} {style} {index}",
         "final_answer": f"{index}", "label": int(name == "b"), "token_logprobs": [-0.5, -0.25], "cost": 0.1}
        for name in "ab" for style in styles for index in range(max(samples, 1))
    ]  # fmt: skip


def write(path, name: str, samples: int = 0) -> None:
    styles = {"direct": "", "steps": ""} if samples else {"direct": ""}
    write_answers(path, name, rows(samples), samples=samples, styles=styles)


def table_of(store):
    (path,) = (store / "answers").glob("*.parquet")
    return path


@pytest.fixture
def store(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    write(tmp_path, "large")
    return tmp_path


def test_round_trip(store):
    answers = Answers.load(store, "large")
    assert answers.table.schema == ANSWER_SCHEMA
    assert answers.labels(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert answers.has(["a", "c"]).tolist() == [True, False]
    assert answers.sampled("response", "direct", ["b", "c"]) == [["b direct 0"], []]
    assert answers.table["token_logprobs"].to_pylist() == [[-0.5, -0.25]] * 2


def test_sampled_answers(store):
    write(store, "votes", samples=3)
    answers = Answers.load(store, "votes")
    assert answers.sampled("final_answer", "steps", ["b"]) == [["0", "1", "2"]]
    assert answers.has(["a", "c"]).tolist() == [True, False]
    with pytest.raises(ReLopeError, match="'votes' are sampled, 3 per prompt"):
        answers.labels(["a"])


def test_names_count_finished_tables_only(store):
    assert answer_names(store / "nowhere") == []
    (store / "answers" / "half-0123456789ab.parquet").write_bytes(b"")  # its sidecar was never written
    write(store, "a.b")
    assert answer_names(store) == ["a.b", "large"]
    with pytest.raises(ReLopeError, match=r"no answers 'larg' \(did you mean 'large'\?\); there are: a.b, large; make"):
        Answers.load(store, "larg")


def test_missing_labels_are_named(store):
    with pytest.raises(ReLopeError, match="'large' lack 1 of 2 samples, the first 'c'"):
        Answers.load(store, "large").labels(["a", "c"])


def test_answers_of_another_store_are_refused(store):
    (store / "manifest.json").write_text('{"made": "again"}')
    with pytest.raises(ReLopeError, match=r"belong to an earlier version of .*: delete"):
        Answers.load(store, "large")


@pytest.mark.parametrize("position", [4, 300, -5])
def test_changed_table_is_found(store, position):
    path = table_of(store)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReLopeError, match=r"'large' of .* damaged .the table changed"):
        Answers.load(store, "large")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 1}'])
def test_damaged_sidecar_is_found(store, text):
    (store / "answers" / "large.json").write_text(text)
    with pytest.raises(ReLopeError, match=r"'large' of .* damaged"):
        Answers.load(store, "large")


def test_missing_table_is_found(store):
    table_of(store).unlink()
    with pytest.raises(ReLopeError, match=r"'large' of .* damaged"):
        Answers.load(store, "large")
