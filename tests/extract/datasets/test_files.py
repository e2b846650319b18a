"""Files that tables and rows refer to: text files of every origin, images as paths or embedded, missing parts."""

from __future__ import annotations

import base64
import json
import os
import unicodedata

import pyarrow as pa
import pytest

from extract.datasets.reading.fence import Fence
from extract.datasets.reading.images import embedded_or_path
from extract.datasets.reading.names import find_file
from extract.imaging.images import LeftOut, read_image
from extract.job.splits import draw
from extract.queries.variants import load_captions
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests.extract.datasets import tables
from tests.extract.datasets.tables import (
    IMAGE,
    chartqa_row,
    embedded,
    lines,
    load,
    mathvision_row,
    mmmu_row,
    parquet,
    picture,
)

ASKED = {"question": "q", "answer": "a"}
BOM = b"\xef\xbb\xbf"


def jsonl(tmp_path, *rows):
    return load("jsonl", lines(tmp_path / "data.jsonl", *rows))


@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "C01-marked"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_text_files_of_every_system(tmp_path, mark, newline):  # C01
    rows = [ASKED, ASKED | {"question": "caf\u00e9\u2028?"}]
    text = newline.join(json.dumps(row, ensure_ascii=False) for row in rows) + newline
    (tmp_path / "data.jsonl").write_bytes(mark + text.encode())
    first, second = load("jsonl", tmp_path / "data.jsonl")
    assert (first.question, second.question) == ("q", "caf\u00e9\u2028?")

    captions = newline.join(json.dumps({"id": i, "caption": "c"}) for i in "ab")
    (tmp_path / "captions.jsonl").write_bytes(mark + captions.encode())
    assert load_captions(tmp_path / "captions.jsonl") == {"a": ("c",), "b": ("c",)}

    problems = {"1": tables.scienceqa_row(image=None), "2": tables.scienceqa_row(image=None)}
    pretty = json.dumps(problems, indent=1).replace("\n", newline)
    (tmp_path / "problems.json").write_bytes(mark + pretty.encode())
    (tmp_path / "pid_splits.json").write_bytes(mark + b'{"test": ["2"]}')
    assert [sample.sample_id for sample in load("scienceqa", tmp_path)] == ["2"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_says_so(tmp_path, encoding):  # C01
    (tmp_path / "data.jsonl").write_bytes(json.dumps(ASKED).encode(encoding))
    (tmp_path / "t.json").write_bytes(json.dumps([ASKED]).encode(encoding))
    for read in (
        lambda: load("jsonl", tmp_path / "data.jsonl"),
        lambda: load_captions(tmp_path / "data.jsonl"),
        lambda: load("chartqa", tmp_path / "t.json"),
    ):
        with pytest.raises(ReLopeError, match="is not UTF-8 text: it looks like UTF-16; save it as UTF-8"):
            read()


@pytest.mark.parametrize("name", ["caf\u00e9.png", "\u1100\u1161.png", "A\u030a/\u00fc.png", "\u01d6.png"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_names_match_across_unicode_forms(tmp_path, name, on_disk, named):  # C11
    file = tmp_path / unicodedata.normalize(on_disk, name)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(picture(1))
    (sample,) = jsonl(tmp_path, ASKED | {"image": unicodedata.normalize(named, name)})
    assert sample.images[0].samefile(file)
    (absolute,) = jsonl(tmp_path, ASKED | {"image": str(tmp_path / unicodedata.normalize(named, name))})
    assert absolute.images[0].samefile(file)
    row = {"imgname": unicodedata.normalize(named, name), "query": "q", "label": "1"}
    (tmp_path / "png").symlink_to(tmp_path)
    (sample,) = load("chartqa", lines(tmp_path / "t.jsonl", row))
    assert sample.images[0].samefile(file)


def test_the_exact_name_goes_before_another_form(tmp_path):
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    (tmp_path / composed).write_bytes(picture(1))
    (tmp_path / decomposed).write_bytes(picture(2))
    for name, shade in ((composed, 1), (decomposed, 2)):
        assert find_file(tmp_path, name, Fence.around(tmp_path)).read_bytes() == picture(shade)


def test_a_file_that_appears_later_is_found(tmp_path):
    assert not find_file(tmp_path, "\u00e9.png", Fence.around(tmp_path)).exists()
    (tmp_path / "e\u0301.png").write_bytes(b"x")
    os.utime(tmp_path, ns=(0, 0))
    assert find_file(tmp_path, "\u00e9.png", Fence.around(tmp_path)).exists()


@pytest.mark.parametrize("name", ["sub\\x.png", ".\\sub\\x.png", "sub/x.png", "sub\\..\\sub\\x.png", "sub\\\\x.png"])
def test_windows_separators(tmp_path, name):  # C12
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.png").write_bytes(picture(1))
    (sample,) = jsonl(tmp_path, ASKED | {"image": name})
    assert read_image(sample.images[0]).size == (4, 3)
    assert load("chartqa", lines(tmp_path / "t.jsonl", chartqa_row(image=name)))[0].images[0].exists()


def test_a_name_with_a_backslash_that_exists_is_that_file(tmp_path):
    (tmp_path / "sub\\x.png").write_bytes(picture(2))
    assert find_file(tmp_path, "sub\\x.png", Fence.around(tmp_path)).read_bytes() == picture(2)


@pytest.mark.parametrize("name", ["C:\\photos\\x.png", "d:/photos/x.png", "\\\\server\\share\\x.png"])
def test_drives_are_refused_with_the_line(tmp_path, name):  # C12
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2: 'image' is .*an absolute Windows path"):
        jsonl(tmp_path, ASKED, ASKED | {"image": name})


def text_forms(data: bytes) -> dict[str, str]:
    coded = base64.b64encode(data).decode()
    return {
        "data URL": f"data:image/png;base64,{coded}",
        "data URL in capitals": f"DATA:image/PNG;charset=utf-8;BASE64,{coded}",
        "data URL without a type": f"data:;base64,{coded}",
        "data URL escaped": "data:image/png;base64," + coded.replace("+", "%2B").replace("/", "%2F"),
        "data URL percent": "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
        "base64": coded,
        "base64 without padding": coded.rstrip("="),
        "base64 in lines": base64.encodebytes(data).decode(),
        "base64 for addresses": base64.urlsafe_b64encode(data).decode(),
    }


@pytest.mark.parametrize("form", text_forms(b""))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_images_as_text_are_read(tmp_path, form, kind):  # C13
    data = picture(77, kind)
    text = text_forms(data)[form]
    (sample,) = jsonl(tmp_path, ASKED | {"image": text})
    assert sample.images[0].read_bytes() == data
    assert sample.images[0].parent == tmp_path / "cache/jsonl"
    assert len(sample.group) == 64, "an embedded image names its group by its digest"
    (first, second) = jsonl(tmp_path, ASKED | {"image": [text, "x.png"]}, ASKED)[0].images
    assert (first.read_bytes(), second) == (data, tmp_path / "x.png")
    for name, value in (("a.parquet", text), ("b.parquet", {"bytes": data, "path": None}), ("c.parquet", data)):
        (row,) = load("chartqa", parquet(tmp_path / name, [chartqa_row(image=value)]))
        assert row.images[0].read_bytes() == data
    (row,) = load("chartqa", lines(tmp_path / "t.jsonl", chartqa_row(image={"bytes": text, "path": "x.png"})))
    assert row.images[0].read_bytes() == data


@pytest.mark.parametrize(
    "address",
    [
        "http://host/x.png",
        "https://host/" + "x" * 5000,
        "HTTPS://host/x.png",
        "ftp://host/x.png",
        "s3://bucket/x.png",
        "gs://bucket/x.png",
        "hf://datasets/x/y.png",
    ],
)
def test_addresses_are_refused_when_the_table_is_read(tmp_path, address):  # C13
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2: 'image' is the address .*download") as error:
        jsonl(tmp_path, ASKED, ASKED | {"image": address})
    assert len(str(error.value)) < 300
    with pytest.raises(ReLopeError, match=r"t\.parquet, row 1: 'image' is the address .*download"):
        load("chartqa", parquet(tmp_path / "t.parquet", [chartqa_row(image=address)]))


def test_benchmarks_that_name_a_file_take_an_encoded_image_too(tmp_path):  # C13
    text = text_forms(picture(9))["data URL"]
    rows = {
        "chartqa": {"imgname": text, "query": "q", "label": "1"},
        "mathvision": mathvision_row(image=text, decoded_image=None),
        "mmmu": mmmu_row(image_1=text),
        "aokvqa": tables.aokvqa_row(image=text),
        "scienceqa": tables.scienceqa_row(image=text),
    }
    for name, row in rows.items():
        (sample,) = load(name, lines(tmp_path / "t.jsonl", row))
        assert sample.images[0].read_bytes() == picture(9)
        assert not sample.missing
        field = next(field for field, value in row.items() if value == text)
        with pytest.raises(ReLopeError, match=rf"t\.jsonl:1: '{field}' is the address 'https://host/x\.png': download"):
            load(name, lines(tmp_path / "t.jsonl", row | {field: "https://host/x.png"}))
        with pytest.raises(ReLopeError, match=rf"t\.jsonl:1: '{field}' is 7, which is not an image"):
            load(name, lines(tmp_path / "t.jsonl", row | {field: 7}))


@pytest.mark.parametrize("name", ["chartqa", "mathvision", "aokvqa"])
def test_a_table_without_any_column_of_images_is_refused(tmp_path, name):
    row = {"chartqa": chartqa_row(), "mathvision": mathvision_row(), "aokvqa": tables.aokvqa_row()}[name]
    row = {field: value for field, value in row.items() if "image" not in field}
    with pytest.raises(ReLopeError, match=r"t\.jsonl:1: (no field '|no folder of images)"):
        load(name, lines(tmp_path / "t.jsonl", row))


def test_a_file_address_is_a_path(tmp_path):
    (tmp_path / "a b.png").write_bytes(picture(1))
    (sample,) = jsonl(tmp_path, ASKED | {"image": (tmp_path / "a b.png").as_uri()})
    assert sample.images[0].exists()


@pytest.mark.parametrize(
    "text",
    ["A" * 200_000, "x/" * 100_000, "\u00e9" * 3000, "data:image/png;base64,!!!", "data:image/png;base64,",
     "data:text/html;base64,AAAA", "data:image/png", "a\0b.png", "data:image/png;base64," + "A" * 200_001],
)  # fmt: skip
def test_what_is_neither_path_nor_image_is_refused_shortly(tmp_path, text):  # C13
    with pytest.raises(ReLopeError, match=r"data\.jsonl:2: 'image' is ") as error:
        jsonl(tmp_path, ASKED, ASKED | {"image": text})
    assert len(str(error.value)) < 300


def test_a_data_url_of_no_picture_is_left_out_shortly(tmp_path):  # C13: its very input
    (sample,) = jsonl(tmp_path, ASKED | {"image": "data:image/png;base64," + "A" * 200_000})
    with pytest.raises(LeftOut) as reason:
        read_image(sample.images[0])
    assert len(str(reason.value)) < 300


@pytest.mark.parametrize("name", ["images/0001", "Qk" + "a" * 40, "iVBOR/w0KGgo/abcdefghijklmnopqrstuvwx", "9j/4" * 10])
def test_paths_that_look_like_base64_stay_paths(name):
    assert embedded_or_path(name) == name


MISSING = [
    pytest.param("chartqa", chartqa_row(image=None), id="C05-ChartQA, null"),
    pytest.param("chartqa", chartqa_row(image={"bytes": None, "path": None}), id="C05-ChartQA, empty"),
    pytest.param("chartqa", chartqa_row(image={"bytes": b"", "path": ""}), id="ChartQA, no bytes"),
    pytest.param("mmmu", mmmu_row(image_1=None), id="C05-MMMU"),
    pytest.param("mmmu", mmmu_row(image_1=None, question="What?"), id="MMMU without a place"),
    pytest.param("mmmu", mmmu_row(question="<image 1> or <image 2>?"), id="MMMU, the second"),
    pytest.param("mmmu", mmmu_row(options="['a', '<image 2>']"), id="MMMU, in a choice"),
    pytest.param("mmmu", mmmu_row(image_1=None, image_2=embedded(2)), id="MMMU, the first"),
    pytest.param("aokvqa", tables.aokvqa_row(image=None), id="A-OKVQA"),
    pytest.param("aokvqa", tables.aokvqa_row(image=None, image_id=12), id="A-OKVQA with COCO's number"),
    pytest.param("mathvision", mathvision_row(decoded_image=None), id="MathVision"),
    pytest.param("mathvision", mathvision_row(decoded_image=None, image=None), id="MathVision without a name"),
]


@pytest.mark.parametrize(("name", "row"), MISSING)
def test_a_row_without_its_image_is_listed_and_left_out(tmp_path, capsys, name, row):  # C05
    ids = {"chartqa": "no id", "aokvqa": "question_id"}.get(name, "id")
    whole = {
        "chartqa": chartqa_row(),
        "mmmu": mmmu_row(),
        "aokvqa": tables.aokvqa_row(),
        "mathvision": mathvision_row(),
    }
    rows = [whole[name] | {ids: "first"}, row | {ids: "second"}]
    rows = [{**dict.fromkeys({**rows[0], **rows[1]}), **row} for row in rows]
    types = {column: IMAGE for column in rows[0] if column.startswith("image_") and column != "image_id"}
    types |= {"decoded_image" if name == "mathvision" else "image": IMAGE} if name != "mmmu" else {}
    first, second = load(name, parquet(tmp_path / "t.parquet", rows, **types, image_id=pa.int64()))
    assert not first.missing
    assert second.missing
    assert "1 of 2 questions cannot be asked and are left out; the first" in capsys.readouterr().out
    spec = DatasetSpec(modality="text")
    with pytest.raises(ReLopeError, match="no question without an image"):
        draw([first, second], spec)


def test_a_question_of_ones_own_that_places_an_image_which_it_lacks(tmp_path):  # C05
    rows = [
        {"question": "Is <image 1> older than <image 2>?", "image": ["a.png"]},
        {"question": "What is <image 1>?"},
        {"question": "Which?", "choices": ["<image 1>", "x"]},
        {"question": "What?", "image": "a.png"},
    ]
    samples = jsonl(tmp_path, *({"answer": "B"} | row for row in rows))
    assert [sample.missing for sample in samples] == [
        "it places <image 2>, and its row has 1 images",
        "it places <image 1>, and its row has 0 images",
        "it places <image 1>, and its row has 0 images",
        "",
    ]


def test_a_question_of_scienceqa_needs_no_image(tmp_path, capsys):
    (sample,) = load("scienceqa", parquet(tmp_path / "t.parquet", [tables.scienceqa_row(image=None)], image=IMAGE))
    assert (sample.images, sample.missing) == ((), "")
    assert capsys.readouterr().out == ""


def test_missing_image_files_are_counted_when_the_table_is_read(tmp_path, capsys):
    (tmp_path / "X.PNG").write_bytes(picture(1))
    jsonl(tmp_path, ASKED | {"image": "X.PNG"}, ASKED | {"image": "x.png"}, ASKED | {"image": ["x.png", "gone.png"]})
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "2 of 3 image files are missing, their questions are left out; the first" in said
    assert "x.png (there is X.PNG)" in said
    (tmp_path / "folder.png").mkdir()
    jsonl(tmp_path, ASKED | {"image": "folder.png"})
    assert "1 of 1 image files are missing" in capsys.readouterr().out


def test_groups_of_odd_files_are_formed_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    samples = load(
        "jsonl",
        lines(
            tmp_path / "data.jsonl",
            ASKED | {"image": "pipe.png"},
            ASKED | {"image": "/dev/zero"},
            ASKED | {"image": "."},
        ),
        outside=True,
    )
    assert len({sample.group for sample in draw(samples, DatasetSpec())}) == 3


def test_questions_that_lack_their_image_are_not_grouped_by_their_text(tmp_path):
    rows = [chartqa_row(image=None) for _ in range(3)]
    samples = load("chartqa", parquet(tmp_path / "t.parquet", rows, image=IMAGE))
    assert len({sample.group for sample in draw(samples, DatasetSpec())}) == 3
