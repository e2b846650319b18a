"""Fields of users' and benchmarks' rows by type: absence, numbers, lists, broken text; errors name the row."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.datasets import get_dataset
from extract.datasets.reading.values import plain, shown, text_of
from extract.queries.variants import load_captions
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests.extract.datasets.tables import (
    IMAGE,
    aokvqa_row,
    chartqa_row,
    lines,
    load,
    mathvision_row,
    mmmu_row,
    parquet,
    scienceqa_row,
)

ASKED = {"question": "q", "answer": "a"}


def jsonl(tmp_path, *rows):
    return load("jsonl", lines(tmp_path / "data.jsonl", *rows))


NO_TEXT = ["null", "NaN", '""', '" \\n"', '{"text": "x"}', "true", "false", "[]", '["a", null]', '["a", ""]', '[["a"]]',
           '["a", true]', "Infinity", "-Infinity", "[NaN]", "{}"]  # fmt: skip


@pytest.mark.parametrize("value", NO_TEXT)
@pytest.mark.parametrize("field", ["answer", "question"])
def test_what_is_no_text_is_refused_with_its_line(tmp_path, field, value):  # C02
    row = json.dumps(ASKED | {field: "VALUE"}).replace('"VALUE"', value)
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2: ") as error:
        jsonl(tmp_path, ASKED, row)
    assert len(str(error.value)) < 300


def test_a_list_of_answers_is_the_answer_and_the_accepted_ones(tmp_path):  # C02
    (sample,) = jsonl(tmp_path, ASKED | {"answer": ["2", "two", 2.0, "2"]})
    assert (sample.answer, sample.accepted) == ("2", ("two",))
    assert [get_dataset("jsonl").grade(sample, response) for response in ("2", "two", "3")] == [True, True, False]
    (choice,) = jsonl(tmp_path, ASKED | {"answer": ["B", "cat"], "choices": ["dog", "bird", "cat"]})
    assert [get_dataset("jsonl").grade(choice, response) for response in "ABC"] == [False, True, True]
    (single,) = jsonl(tmp_path, ASKED | {"answer": ["2"]})
    assert (single.answer, single.accepted) == ("2", ())


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.0, "5"), (-3.0, "-3"), (0.0, "0"), (-0.0, "0"), (5, "5"), (2.5, "2.5"), (1e15, "1" + "0" * 15),
     ("5.0", "5.0"),
     (0.1, "0.1"), (10**20, "1" + "0" * 20), ("nan", "nan"), ("None", "None"), ("null", "null"), ("0", "0")],
)  # fmt: skip
def test_numbers_as_texts(tmp_path, value, text):  # C03
    (sample,) = jsonl(tmp_path, ASKED | {"answer": value, "id": value, "group": value})
    assert (sample.answer, sample.sample_id, sample.group) == (text, text, text)
    assert get_dataset("jsonl").grade(sample, text)


def test_choices_of_numbers_and_an_answer_of_another_type(tmp_path):  # C03
    (sample,) = jsonl(tmp_path, ASKED | {"choices": [3.0, 4.0, 5], "answer": 4})
    assert (sample.choices, sample.answer) == (("3", "4", "5"), "4")
    assert get_dataset("jsonl").grade(sample, "B")
    assert not get_dataset("jsonl").grade(sample, "C")


@pytest.mark.parametrize("absent", ["null", "NaN"])
def test_optional_fields_may_be_null(tmp_path, absent):
    fields = ", ".join(f'"{name}": {absent}' for name in ("id", "group", "image", "choices"))
    (sample,) = jsonl(tmp_path, f'{{"question": "q", "answer": "a", {fields}}}')
    assert (sample.sample_id, sample.group, sample.images, sample.choices) == ("data-000001",) * 2 + ((), ())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("id", True, "'id' is True, not text"), ("id", "", "'id' is empty"),
        ("id", ["x"], r"'id' is \['x'\], not text"),
        ("group", {"a": 1}, "'group' is .*, not text"), ("group", False, "'group' is False"),
        ("choices", ["a", None], r"'choices' is \['a', None\], not a list of texts"),
        ("choices", "ab", "'choices' is 'ab'"),
        ("choices", ["a", "a"], "2 to 26 different choices"), ("choices", ["a", " a "], "different choices"),
        ("choices", ["a"], "2 to 26"), ("choices", [str(i) for i in range(27)], "2 to 26"),
        ("choices", ["a", " "], "a choice is empty"), ("choices", ["a", True], "not a list of texts"),
        ("choices", ["b", "c"], "the answer 'a' is neither|answer 'a'"), ("choices", {"a": "b"}, "not a list of texts"),
        ("image", 3.5, "'image' is 3.5, which is not"), ("image", ["x.png", None], "one element is not an image"),
        ("image", ["x.png", ""], "one element is not an image"), ("image", True, "'image' is True, which is not"),
        ("image", {"url": "x"}, "not an image"), ("x" * 500, 1, "unknown field 'x+…'"),
    ],
)  # fmt: skip
def test_optional_fields_are_checked_by_type(tmp_path, field, value, message):
    answer = {"answer": "z"} if value == ["b", "c"] else {}
    message = "the answer 'z' is neither" if answer else message
    with pytest.raises(ReLopeError, match=rf"data\.jsonl:2: .*(?:{message})") as error:
        jsonl(tmp_path, ASKED, ASKED | answer | {field: value})
    assert len(str(error.value)) < 300


def test_the_same_id_as_number_and_as_text_is_twice(tmp_path):
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2: the id '5' appears more than once"):
        jsonl(tmp_path, ASKED | {"id": 5.0}, ASKED | {"id": "5"})


def test_a_field_twice_is_refused(tmp_path):
    with pytest.raises(ReLopeError, match=r"data\.jsonl:1: the field 'answer' appears more than once"):
        jsonl(tmp_path, '{"question": "q", "answer": "a", "answer": "b"}')
    (tmp_path / "t.json").write_text('{"1": {"question": "q"}, "1": {}}')
    with pytest.raises(ReLopeError, match=r"t\.json: the field '1' appears more than once"):
        load("scienceqa", tmp_path / "t.json")


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"answer": ' + "9" * 5000 + "}", '{"a": tru}', "{} {}", '"text"', "7"]
)
def test_lines_that_are_no_rows(tmp_path, line):
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2") as error:
        jsonl(tmp_path, ASKED, line)
    assert len(str(error.value)) < 300


def test_an_empty_file_has_no_lines(tmp_path):
    with pytest.raises(ReLopeError, match=r"data\.jsonl has no lines"):
        jsonl(tmp_path, "", "  ")


@pytest.mark.parametrize("field", ["question", "answer", "id", "group", "choices", "image"])
@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ud83d\\ud83d", "\\ude00\\ud83d", "\\ud83dx\\ude00"])
def test_half_a_character_is_refused_with_its_line(tmp_path, field, half):  # C48
    value = f'["x", "bad {half}"]' if field in ("choices", "image") else f'"bad {half} text"'
    row = json.dumps(ASKED | {field: "VALUE"}).replace('"VALUE"', value)
    with pytest.raises(ReLopeError, match=rf"data\.jsonl:2: in the field '{field}' .*half of a character") as error:
        jsonl(tmp_path, ASKED, row)
    str(error.value).encode()  # the message can be printed


def test_half_a_character_in_names_benchmarks_and_captions(tmp_path):  # C48
    with pytest.raises(ReLopeError, match="half of a character"):
        jsonl(tmp_path, '{"question": "q", "answer": "a", "\\ud83d": 1}')
    (tmp_path / "t.json").write_text(json.dumps({"\ud83d": scienceqa_row(image=None)}))
    with pytest.raises(ReLopeError, match=r"t\.json, row 1: in the field 'id' .*half of a character"):
        load("scienceqa", tmp_path / "t.json")
    (tmp_path / "c.jsonl").write_text('{"id": "a", "caption": "x \\udc00"}')
    with pytest.raises(ReLopeError, match=r"c\.jsonl:1: in the field 'caption' .*half of a character"):
        load_captions(tmp_path / "c.jsonl")


def test_whole_characters_beyond_the_basic_plane_stay(tmp_path):
    (sample,) = jsonl(tmp_path, '{"question": "\\ud83d\\ude00 q", "answer": "\U0001f600"}')
    assert (sample.question, sample.answer) == ("\U0001f600 q", "\U0001f600")


def columns(name: str) -> tuple[dict, str]:
    """A row of a benchmark, and the name of its answer's field."""
    return {
        "chartqa": (chartqa_row(label="14"), "label"),
        "mathvision": (mathvision_row(), "answer"),
        "mmmu": (mmmu_row(question_type="open", options="[]"), "answer"),
    }[name]


@pytest.mark.parametrize("name", ["chartqa", "mathvision", "mmmu"])
@pytest.mark.parametrize("value", [math.nan, None])
def test_a_benchmarks_answer_that_is_nan_is_refused(tmp_path, name, value):  # C06
    row, field = columns(name)
    rows = [row | {"id": "1", field: 2.0}, row | {"id": "2", field: value}]
    types = {column: IMAGE for column in row if isinstance(row[column], dict) or column.startswith("image_")}
    path = parquet(tmp_path / "t.parquet", rows, **types, **{field: pa.float64()})
    with pytest.raises(ReLopeError, match=rf"row 2: '{field}' is null or NaN, not text"):
        load(name, path)
    (sample,) = load(name, parquet(tmp_path / "t.parquet", rows[:1], **types))
    assert sample.answer == "2"


@pytest.mark.parametrize("value", ["NaN", "null", '""', "true", "{}"])
def test_mathvision_lines_without_an_answer(tmp_path, value):  # C06
    row = json.dumps(mathvision_row(decoded_image=None, image="x.png", answer="VALUE")).replace('"VALUE"', value)
    with pytest.raises(ReLopeError, match=r"t\.jsonl:1: 'answer' is"):
        load("mathvision", lines(tmp_path / "t.jsonl", row))


@pytest.mark.parametrize("value", [2.0, np.float64(2), pytest.param(decimal.Decimal("2.00"), id="decimal"), 2])
def test_an_index_stored_as_a_float(tmp_path, value):  # C10
    index = pa.array([value]) if not isinstance(value, np.generic) else pa.array([float(value)])
    types = {"image": IMAGE}
    (asked,) = load(
        "aokvqa",
        parquet(tmp_path / "a.parquet", [aokvqa_row(correct_choice_idx=value)], correct_choice_idx=index.type, **types),
    )
    assert asked.answer == "C"
    row = scienceqa_row(answer=value, choices=["x", "y", "z"])
    (asked,) = load("scienceqa", parquet(tmp_path / "s.parquet", [row], answer=index.type, **types))
    assert asked.answer == "C"


@pytest.mark.parametrize("value", [2.5, math.nan, None, -1.0, 4.0, "2", True])
def test_an_index_that_is_none_is_refused(tmp_path, value):  # C10
    row = scienceqa_row(answer=value, image=None)
    with pytest.raises(ReLopeError, match=r"t\.jsonl:1: 'answer' is .*, not the index of one of the 2 choices"):
        load("scienceqa", lines(tmp_path / "t.jsonl", json.dumps(row)))


def test_a_null_index_of_aokvqa_is_a_split_without_answers(tmp_path):
    for value in (None, math.nan):
        rows = [aokvqa_row(correct_choice_idx=value)]
        path = parquet(tmp_path / "a.parquet", rows, correct_choice_idx=pa.float64(), image=IMAGE)
        with pytest.raises(ReLopeError, match="answers of this split are not published"):
            load("aokvqa", path)


def test_the_number_of_a_coco_image_stored_as_a_float(tmp_path):
    (tmp_path / "images").mkdir()
    row = aokvqa_row(image_id=12.0)
    del row["image"]
    (sample,) = load("aokvqa", lines(tmp_path / "t.jsonl", row))
    assert sample.images == (tmp_path / "images/000000000012.jpg",)


def test_nan_is_no_hint_and_no_image(tmp_path):
    rows = [scienceqa_row(hint=math.nan, image=None), scienceqa_row(hint=" ", image=None)]
    for sample in load("scienceqa", lines(tmp_path / "t.jsonl", *rows)):
        assert sample.question == "Which?"
        assert sample.images == ()
    (tmp_path / "images").mkdir()
    problems = {"1": scienceqa_row(image=math.nan, split="test")}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    (sample,) = load("scienceqa", tmp_path / "problems.json")
    assert sample.images == ()


def test_numbers_in_lists_of_benchmarks(tmp_path):
    row = mathvision_row(options=[1.0, 2, "x"], decoded_image=None, image="")
    (sample,) = load("mathvision", lines(tmp_path / "t.jsonl", row))
    assert sample.choices == ("1", "2", "x")
    (sample,) = load("chartqa", lines(tmp_path / "c.jsonl", chartqa_row(label=[14.0, 14, "fourteen"], image=None)))
    assert (sample.answer, sample.accepted) == ("14", ("fourteen",))
    row = mmmu_row(options=[1, 2.0, 3], image_1=None)
    (sample,) = load("mmmu", lines(tmp_path / "m.jsonl", row))
    assert sample.choices == ("1", "2", "3")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(5), 5), (np.int64(7), 7), (np.float64("nan"), None), (np.bool_(True), True),
        (pa.scalar(5.0), 5), (pa.scalar(None), None), (pa.scalar("x"), "x"), (np.array([1.0, 2.5]), [1, 2.5]),
        (decimal.Decimal("5.00"), 5), (decimal.Decimal("5.50"), "5.5"), (decimal.Decimal("NaN"), None),
        (datetime.date(2020, 1, 31), "2020-01-31"), (datetime.datetime(2020, 1, 31, 5), "2020-01-31 05:00:00"),
        (b"x", b"x"), (bytearray(b"x"), b"x"), ([math.nan, 2.0], [None, 2]), ({"a": math.nan}, {"a": None}),
        (True, True), (math.inf, math.inf), (1e300, 1e300), ((1.0,), [1]),
    ],
)  # fmt: skip
def test_values_are_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_dates_decimals_and_bytes_of_parquet_are_texts(tmp_path):
    for column, text in [
        (pa.array([datetime.date(2020, 1, 31)]), "2020-01-31"),
        (pa.array([decimal.Decimal("12.50")]), "12.5"),
        (pa.array([b"red"]), "red"),
        (pa.array(["red"]).dictionary_encode(), "red"),
        (pa.array([3], pa.uint8()), "3"),
    ]:
        row = chartqa_row(label=column[0].as_py())
        (sample,) = load("chartqa", parquet(tmp_path / "t.parquet", [row], label=column.type, image=IMAGE))
        assert sample.answer == text


def test_parquet_text_that_is_no_utf8_is_one_line(tmp_path):
    column = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"query": column, "label": ["x"], "image": ["i.png"]}), tmp_path / "t.parquet")
    with pytest.raises(ReLopeError, match=r"t\.parquet is not readable as Parquet: .*utf-8"):
        load("chartqa", tmp_path / "t.parquet")


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([pa.array(["q"]), pa.array(["a"]), pa.array(["b"])], names=["query", "label", "label"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ReLopeError, match="several columns with the same name: query, label, label"):
        load("chartqa", tmp_path / "t.parquet")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_plain_values_stay_plain_and_are_shown_shortly(value):
    found = plain(value)
    assert plain(found) == found
    assert len(shown(found)) <= 60
    text = text_of(found)
    assert text is None or "nan" not in text.lower() or isinstance(found, str | bytes)


def test_captions_are_checked_alike(tmp_path):
    path = lines(
        tmp_path / "c.jsonl", {"id": 5.0, "caption": "a cat", "captions": None}, '{"id": "x", "captions": ["a"]}'
    )
    assert load_captions(path) == {"5": ("a cat",), "x": ("a",)}
    bad = ['{"id": null, "caption": "a"}', '{"id": NaN, "caption": "a"}', '{"id": true, "caption": "a"}']
    for row in [*bad, '{"id": 1, "caption": NaN}', '{"id": 1, "captions": ["a", null]}', '{"id": 1, "caption": 3}']:
        with pytest.raises(ReLopeError, match=r"c\.jsonl:1"):
            load_captions(lines(tmp_path / "c.jsonl", row))


def test_twenty_thousand_lines_are_read_quickly(tmp_path):
    rows = (
        f'{{"id": "q{i}", "question": "Wie groß ist Nummer {i}?", "answer": {i}, "image": "images/{i % 7}.png"}}'
        for i in range(20_000)
    )
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    start = time.process_time()
    assert len(get_dataset("jsonl").load(DatasetSpec(name="jsonl", path=str(path)))) == 20_000
    assert time.process_time() - start < 5  # 0.4 s on an idle core
