"""Tables are streamed within memory limits; values of any size and depth give short messages."""

from __future__ import annotations

import json
import os
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.datasets.mmmu import LONGEST_LIST, _listed
from extract.datasets.reading.tables import MOST_VALUES, json_lines, read_table
from extract.datasets.reading.values import shown, text_of
from relope_jax.errors import ReLopeError
from tests.extract.datasets.tables import IMAGE, chartqa_row, lines, load, mathvision_row, mmmu_row, parquet, picture

ASKED = {"question": "q", "answer": "a"}


def test_lines_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "data.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(ASKED | {"id": i, "group": "x" * 10**6}) + "\n" for i in range(40))
    tracemalloc.start()
    count = sum(1 for _ in json_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40
    assert peak < 10 * 10**6, "of 40 MB"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_keep_their_numbers(tmp_path, end):
    (tmp_path / "data.jsonl").write_bytes((json.dumps(ASKED) + end + end + '{"question": 1}' + end).encode())
    with pytest.raises(ReLopeError, match=r"data\.jsonl:3 needs the fields"):
        load("jsonl", tmp_path / "data.jsonl")
    (tmp_path / "data.jsonl").write_bytes((json.dumps(ASKED) + end).encode() + b'{"question": "\xff"}')
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2 is not UTF-8 text"):
        load("jsonl", tmp_path / "data.jsonl")


def test_an_endless_line_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = lines(tmp_path / "data.jsonl", ASKED)
    os.truncate(path, 3 * 2**30)
    monkeypatch.setenv("RELOPE_MAX_JSON_MB", "1")
    tracemalloc.start()
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2 .*RELOPE_MAX_JSON_MB"):
        load("jsonl", path)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    os.truncate(path, 2**40)
    with pytest.raises(ReLopeError, match=r"data\.jsonl takes 1048576 MB, .*RELOPE_MAX_TABLE_MB"):
        load("jsonl", path)


@pytest.mark.parametrize("value", ["null", "[]", "{}", "0"])
def test_millions_of_values_are_refused_before_they_are_objects(tmp_path, value):
    text = "[" + f"{value}," * (MOST_VALUES + 1) + f"{value}]"
    for name, path in (("jsonl", tmp_path / "data.jsonl"), ("chartqa", tmp_path / "t.json")):
        path.write_text(text)
        tracemalloc.start()
        with pytest.raises(ReLopeError, match=r"holds more than 5,000,000 values: split it"):
            load(name, path)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
        tracemalloc.stop()


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [nested(5000), [None] * 10**6, {str(i): i for i in range(10**5)}, "x" * 10**7, b"\xff" * 10**7, 10**4200,
     "\x1b[31m", "\ud800", float("inf"), {"a": nested(5000)}],
    ids=["deep", "long", "object", "text", "bytes", "number", "colours", "surrogate", "infinity", "deep object"],
)  # fmt: skip
def test_any_value_is_shown_in_a_few_characters(value):
    tracemalloc.start()
    text = shown(value)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert 0 < len(text) <= 60
    assert text.isprintable()


def test_numbers_of_thousands_of_digits_are_text():
    assert text_of(10**4000) == "1" + "0" * 4000
    assert text_of(-(10**400)) == "-1" + "0" * 400
    assert text_of(float("inf")) is None
    assert text_of(True) is None


@pytest.mark.parametrize(
    "line",
    ['{"question": "q", "answer": 1e999}', '{"question": "q", "answer": -Infinity}', '{"question": "q", "answer": NaN}',
     '{"question": "q", "answer": "a", "id": ' + "9" * 4200 + ', "image": ' + "9" * 4200 + "}",
     '{"question": "q", "answer": "\\ud800"}', '{"question": "q", "answer": "a", "answer": "b"}',
     '{"question": "q\0", "answer": "a"}', '[[[[[["a"]]]]]]', '"' + "x" * 10**6 + '"', "7" * 4000, "\0" * 100,
     '{"question": "q", "answer": "a", "image": {"path": {"path": ' + "[" * 500 + "]" * 500 + "}}}"],
)  # fmt: skip
def test_odd_values_cost_a_line(tmp_path, line):
    path = lines(tmp_path / "data.jsonl", ASKED, line)
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2") as error:
        load("jsonl", path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) - len(str(path)) < 300


def test_questions_are_held_within_a_limit(tmp_path, monkeypatch):
    """One long text that is stored once becomes a separate object in every row."""
    n = 2000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 10_000]))
    table = pa.table({"query": text, "label": ["1"] * n, "image": pa.nulls(n, IMAGE)})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, store_schema=False)
    assert path.stat().st_size < 20_000
    assert len(load("chartqa", path)) == n
    monkeypatch.setenv("RELOPE_MAX_SAMPLES_MB", "1")
    with pytest.raises(
        ReLopeError, match=r"t\.parquet, row \d+ takes .* above the limit of 1: .*RELOPE_MAX_SAMPLES_MB"
    ):
        load("chartqa", path)
    with pytest.raises(ReLopeError, match="RELOPE_MAX_SAMPLES_MB"):
        load("jsonl", lines(tmp_path / "d.jsonl", *(ASKED | {"id": i} for i in range(1100))))


def test_what_a_parquet_file_says_of_itself_is_checked_first(tmp_path, monkeypatch):
    rows = pa.table({"query": pa.nulls(2 * 10**8), "label": pa.nulls(2 * 10**8)})
    pq.write_table(rows, tmp_path / "t.parquet")
    with pytest.raises(ReLopeError, match=r"t\.parquet, decoded, takes .*RELOPE_MAX_TABLE_MB"):
        load("chartqa", tmp_path / "t.parquet")
    data = bytearray(parquet(tmp_path / "u.parquet", [chartqa_row()], image=IMAGE).read_bytes())
    data[-8:-4] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "u.parquet").write_bytes(data)
    with pytest.raises(ReLopeError, match=r"u\.parquet is not readable as Parquet: .*impossible size"):
        load("chartqa", tmp_path / "u.parquet")


def test_one_row_does_not_take_everything(tmp_path, monkeypatch):
    long = [chartqa_row(), chartqa_row(label=["x"] * 200_000), chartqa_row()]
    path = parquet(tmp_path / "t.parquet", long, image=IMAGE)
    assert len(list(read_table(path))) == 3
    monkeypatch.setenv("RELOPE_MAX_IMAGE_MB", "5")
    with pytest.raises(ReLopeError, match=r"t\.parquet, row 2, takes .*RELOPE_MAX_IMAGE_MB"):
        list(read_table(path))


def test_a_list_that_repeats_a_long_text_is_refused(tmp_path):
    n = 400
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 2**20])).cast(pa.string())
    table = pa.table({"query": ["q"], "label": pa.ListArray.from_arrays([0, n], texts), "image": pa.nulls(1, IMAGE)})
    pq.write_table(table, tmp_path / "t.parquet", store_schema=False)
    assert (tmp_path / "t.parquet").stat().st_size < 10**6
    with pytest.raises(ReLopeError, match=r"t\.parquet, row 1, takes 400 MB, .*RELOPE_MAX_IMAGE_MB"):
        load("chartqa", tmp_path / "t.parquet")


def test_columns_that_are_dictionaries_are_counted_whole(tmp_path, monkeypatch):
    n = 300
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"query": text, "label": ["1"] * n, "image": pa.nulls(n, IMAGE)}), tmp_path / "t.parquet")
    assert len(list(read_table(tmp_path / "t.parquet"))) == n
    monkeypatch.setenv("RELOPE_MAX_TABLE_MB", "20")
    with pytest.raises(ReLopeError, match="RELOPE_MAX_TABLE_MB"):
        list(read_table(tmp_path / "t.parquet"))


def test_large_and_small_rows_of_real_tables_are_read(tmp_path):
    rows = [
        chartqa_row(image={"bytes": picture(i % 200) + bytes(10**6 * (i % 50 == 0)), "path": ""}) for i in range(120)
    ]
    path = parquet(tmp_path / "t.parquet", rows, image=IMAGE)
    found = [fields["image"]["bytes"] for _, fields in read_table(path)]
    assert found == [row["image"]["bytes"] for row in rows]


SOURCES = {
    "['a', 'b']": ("a", "b"),
    '["it\'s", \'x\']': ("it's", "x"),
    "[]": (),
    "[ 'a' , ]": ("a",),
    r"['\\frac', '\n']": ("\\frac", "\n"),
    "['" + "a" * 90_000 + "']": ("a" * 90_000,),
} | dict.fromkeys(
    ["[1, 2]", "['a' 'b']", "['a', b'c']", "['a', ['b']]", "[f'{x}']", "['a'+'b']", "['\\x']", "['a\nb']",
     "['a', " + "-" * 50_000 + "1]", "[" * 90_000, "[" * 5000 + "]" * 5000, "['a'" + "+'a'" * 20_000 + "]",
     "[" + "'a'," * (LONGEST_LIST // 4) + "]", "[" + "not " * 20_000 + "1]", "[" + "{'a':" * 9000 + "1",
     "['" + "\\'" * 40_000 + "]"]
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=range(len(SOURCES)))
def test_only_lists_of_texts_are_parsed_as_python(source):
    assert _listed(source) == SOURCES[source]


def test_a_deep_list_of_choices_is_a_bad_row(tmp_path):
    row = {name: value for name, value in mmmu_row(options="[" * 90_000).items() if not name.startswith("image")}
    with pytest.raises(ReLopeError, match=r"t\.jsonl:1: the answer 'B' is the letter of none of its 0 choices"):
        load("mmmu", lines(tmp_path / "t.jsonl", row))
    assert load("mathvision", lines(tmp_path / "m.jsonl", mathvision_row(decoded_image=None, image=None)))[0].missing
