"""Answer folders from others: hostile names, sidecars and tables cost one error line."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relope_jax.errors import ReLopeError
from relope_jax.states.answer_files import ANSWER_SCHEMA, is_answer_name, is_table_of, table_name
from relope_jax.states.answers import Answers, answer_names
from tests import contracts
from tests.relope_jax.states.answer_tables import write_answers, write_table

ROW = {"sample_id": "a", "style": "direct", "index": 0, "response": "x", "final_answer": "x", "label": 1,
       "token_logprobs": [-0.5], "prompt_tokens": 3, "completion_tokens": 1, "cost": 0.1,
       "finish_reason": "stop"}  # fmt: skip
NAMES = ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "large\n", ".hidden", "x" * 201, "\ud800",
         "é", "a b", "-a", 3, None, ["large"]]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (tmp_path / "canary").write_text("private")
    return folder


def refused(store: Path, name: object = "large") -> str:
    with pytest.raises(ReLopeError) as error:
        Answers.load(store, name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert (store.parent / "canary").read_text() == "private"
    return str(error.value)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_no_other_name_is_looked_up_or_listed(store, name):
    assert not is_answer_name(name)
    with contracts.ignored():  # not every name is a text
        assert "is not a valid name for answers" in refused(store, name)
    if isinstance(name, str) and name.isprintable() and "/" not in name and 0 < len(name.encode()) < 250:
        (store / "answers").mkdir()
        (store / "answers" / f"{name}.json").write_text("{}")
        assert answer_names(store) == []


def test_folders_links_and_pipes_are_no_answers(store):
    write_answers(store, "large", [ROW])
    (store / "answers" / "deep").mkdir()
    (store / "answers" / "deep" / "x.json").write_text("{}")
    (store / "answers" / "folder.json").mkdir()
    os.mkfifo(store / "answers" / "pipe.json")
    os.symlink(store.parent / "canary", store / "answers" / "link.json")
    assert set(answer_names(store)) <= {"large", "link"}
    for name in ("folder", "pipe", "link"):
        refused(store, name)
    table = next((store / "answers").glob("*.parquet"))
    table.unlink()
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        make(table)
        refused(store)
        table.rmdir() if table.is_dir() else table.unlink()


@pytest.mark.parametrize(
    "field",
    [
        {"samples": -1}, {"samples": 1.0}, {"samples": True}, {"samples": "0"}, {"samples": None}, {"samples": 10**30},
        {"styles": {}}, {"styles": ["direct"]}, {"styles": {"direct": 3}}, {"styles": "direct"}, {"sha256": 1},
        {"sha256": "f" * 63}, {"sha256": "../" * 20}, {"sha256": "F" * 64}, {"store_manifest": None},
        {"table": "../../canary"}, {"table": "/etc/passwd"}, {"table": "other-0123456789ab.parquet"}, {"table": None},
        {"table": "large.parquet"}, {"left_out": {}}, {"left_out": [1]}, {"left_out": [{"sample_id": 3}]},
        {"left_out": [{"sample_id": "a", "answer": "", "reason": []}]}, {"accuracy": float("nan")}, {"accuracy": 2},
        {"accuracy": "1"}, {"cost": -2}, {"cost": float("inf")}, {"answers": -1}, {"prompt_tokens": 2.5},
        {"model": ["m"]}, {"model": None}, {"temperature": float("nan")}, {"served_models": "m"}, {"splits": [1]},
    ],
    ids=lambda field: json.dumps(field)[:50],
)  # fmt: skip
def test_a_field_of_the_sidecar_that_cannot_be_is_refused(store, field):
    write_answers(store, "large", [ROW], **field)
    assert "'large' of" in refused(store)


@pytest.mark.parametrize("field", ["samples", "styles", "sha256", "table", "store_manifest"])
def test_a_sidecar_that_lacks_a_field_is_refused(store, field):
    write_answers(store, "large", [ROW])
    path = store / "answers" / "large.json"
    path.write_text(json.dumps({name: v for name, v in json.loads(path.read_text()).items() if name != field}))
    assert f"the sidecar lacks '{field}'" in refused(store)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "\xff", "null", '"large"', "NaN"])
def test_odd_json_is_refused(store, text):
    write_answers(store, "large", [ROW])
    (store / "answers" / "large.json").write_bytes(text.encode("latin-1"))
    refused(store)


def test_a_sidecar_above_the_limit_is_refused(store, monkeypatch):
    monkeypatch.setenv("RELOPE_MAX_JSON_MB", "1")
    write_answers(store, "large", [ROW], extra="x" * 2**20)
    assert "RELOPE_MAX_JSON_MB" in refused(store)


BAD_ROWS = {
    "label": [ROW | {"label": 2}], "negative-label": [ROW | {"label": -1}], "null-label": [ROW | {"label": None}],
    "null-id": [ROW | {"sample_id": None}], "null-final": [ROW | {"final_answer": None}],
    "twice": [ROW, ROW], "index": [ROW | {"index": 1}], "negative-index": [ROW | {"index": -1}],
    "style": [ROW | {"style": "steps"}], "tokens": [ROW | {"prompt_tokens": -1}],
    "answer-tokens": [ROW | {"completion_tokens": -3}], "nan-cost": [ROW | {"cost": float("nan")}],
    "cost": [ROW | {"cost": -2.0}], "endless-cost": [ROW | {"cost": float("inf")}],
    "nan-logprob": [ROW | {"token_logprobs": [float("nan")]}], "null-logprob": [ROW | {"token_logprobs": [None]}],
    "endless-logprob": [ROW | {"token_logprobs": [-0.5, float("-inf")]}],
}  # fmt: skip


@pytest.mark.parametrize("rows", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_value_of_the_table_that_cannot_be_is_refused(store, rows):
    other = ROW | {"sample_id": "b", "cost": None, "token_logprobs": None, "prompt_tokens": None}
    write_answers(store, "good", [ROW, other])
    assert len(Answers.load(store, "good").table) == 2
    write_table(store, "large", pa.Table.from_pylist([other, *rows], schema=ANSWER_SCHEMA))
    assert "'large' of" in refused(store)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"sample_id": ["a"]}),
        pa.Table.from_pylist([ROW], schema=ANSWER_SCHEMA).append_column("more", pa.array([1])),
        pa.Table.from_pylist([ROW], schema=ANSWER_SCHEMA).set_column(5, "label", pa.array([1.0])),
        pa.Table.from_pylist([ROW], schema=ANSWER_SCHEMA).append_column("label", pa.array([1], pa.int8())),
    ],
    ids=["lacks", "more", "type", "twice"],
)
def test_other_columns_are_refused(store, table):
    write_table(store, "large", table)
    refused(store)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 100, b"x" * 1000], ids=repr)
def test_a_table_that_is_no_parquet_is_refused(store, data, monkeypatch):
    def write(_, buffer):
        buffer.write(data)

    monkeypatch.setattr(pq, "write_table", write)
    write_answers(store, "large", [])
    refused(store)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["table", "sha256", "store_manifest", "samples", "styles", "left_out", "model", "answers", "cost", "accuracy"]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3), st.binary(max_size=40), st.integers(0, 3000)
)
def test_mutated_sidecars_and_tables_cost_a_line(fields, data, at):
    """Whatever loads works, anything else is one ReLopeError, and nothing outside the folder is touched."""
    folder, said = Path(tempfile.mkdtemp()), []
    try:
        store = folder / "store"
        store.mkdir()
        (store / "manifest.json").write_text("{}")
        (folder / "canary").write_text("private")
        write_answers(store, "large", [ROW], **fields)
        table = next((store / "answers").glob("*.parquet"))
        write_answers(store, "torn", [ROW])
        torn = table.read_bytes()
        torn = torn[:at] + data + torn[at + len(data) :]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pq, "write_table", lambda _, buffer: buffer.write(torn))
            write_answers(store, "torn", [ROW])
        for name in answer_names(store):
            try:
                answers = Answers.load(store, name)
                answers.has(["a", "b"])
                answers.sampled("final_answer", "direct", ["a"])
            except ReLopeError as error:
                said.append(str(error))
        assert not any("\n" in line for line in said)
        assert sorted(path.name for path in folder.iterdir()) == ["canary", "store"]
        assert (folder / "canary").read_text() == "private"
    finally:
        shutil.rmtree(folder)


def test_which_files_are_tables_of_a_name():
    path = table_name("a.b", "0123456789abcdef")
    assert path == "answers/a.b-0123456789ab.parquet"
    assert is_table_of("a.b", path)
    for other in (
        "answers/a.b.parquet",
        "answers/axb-0123456789ab.parquet",
        "answers/a.b-0123456789ab-0123456789ab.parquet",
        "answers/a.b-0123456789AB.parquet",
        "other/a.b-0123456789ab.parquet",
        f"{path}\n",
    ):
        assert not is_table_of("a.b", other)
