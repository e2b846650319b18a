"""Benchmarks in their published forms: repositories, Parquet as on the hub, and single files."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from extract.datasets import get_dataset
from extract.datasets.reading.tables import read_table
from extract.job.splits import draw, group_split
from extract.source import dataset_source
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests import SHARED

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(file, kind)
    return file.getvalue()


def embedded(shade: int) -> dict:
    return {"bytes": picture(shade), "path": f"{shade}.png"}


def put(path: Path, content: bytes | str | list | dict) -> Path:
    """Write bytes, text, JSON, or rows for .jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        content = "\n".join(map(json.dumps, content))
    elif isinstance(content, list | dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(path: Path, rows: list[dict], *images: str) -> Path:
    """Rows as stored on the hub: images as bytes and a name, in several row groups."""
    table = pa.Table.from_pylist(rows)
    for name in images:
        table = table.set_column(table.schema.get_field_index(name), name, pa.array([r[name] for r in rows], IMAGE))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=1)
    return path


def load(name: str, path: Path, **more):
    cache = path if path.is_dir() else path.parent
    return get_dataset(name).load(DatasetSpec(name=name, path=str(path), image_cache=str(cache / "cache"), **more))


def mmmu_row(sample_id: str, **more) -> dict:
    images = {f"image_{k}": None for k in range(1, 8)} | {"image_1": embedded(1)}
    row = {
        "id": sample_id,
        "question": "What is <image 1>?",
        "options": "['a', \"b's\"]",
        "explanation": "",
        **images,
        "img_type": "['Plots']",
        "answer": "B",
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice",
        "subfield": "x",
    }
    return row | more


MMMU_IMAGES = [f"image_{k}" for k in range(1, 8)]


@pytest.fixture
def mmmu(tmp_path) -> Path:
    """Two subjects as in a clone of MMMU/MMMU."""
    first = mmmu_row("validation_Art_1", options="['left <image 2>', 'right']", image_2=embedded(2))
    opened = mmmu_row(
        "validation_Math_1", options="[]", answer="['24/7', '3.429']", question_type="open", question="x?"
    )
    parquet(tmp_path / "Art/validation-00000-of-00001.parquet", [first, mmmu_row("validation_Art_2")], *MMMU_IMAGES)
    parquet(tmp_path / "Math/validation-00000-of-00001.parquet", [opened], *MMMU_IMAGES)
    parquet(tmp_path / "Math/dev-00000-of-00001.parquet", [mmmu_row("dev_Math_1")], *MMMU_IMAGES)
    parquet(tmp_path / "Math/test-00000-of-00001.parquet", [mmmu_row("test_Math_1", answer="?")], *MMMU_IMAGES)
    return tmp_path


def test_mmmu_from_parquet(mmmu):
    first, second, third = load("mmmu", mmmu)
    assert [s.sample_id for s in (first, second, third)] == [
        "validation_Art_1",
        "validation_Art_2",
        "validation_Math_1",
    ]
    assert first.choices == ("left <image 2>", "right")
    assert [image.read_bytes() for image in first.images] == [picture(1), picture(2)]
    assert second.choices == ("a", "b's")
    assert (second.answer, third.answer, third.accepted, third.choices) == ("B", "24/7", ("3.429",), ())
    assert [s.sample_id for s in load("mmmu", mmmu, benchmark_split="dev")] == ["dev_Math_1"]


def test_mmmu_prompts(mmmu):
    first, _, third = load("mmmu", mmmu)
    assert get_dataset("mmmu").prompt(first) == (
        "What is <image 1>?\n\n(A) left <image 2>\n(B) right\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert get_dataset("mmmu").prompt(third) == "x?\n\nAnswer the question using a single word or phrase."


def test_mmmu_has_no_answers_to_its_test_split(mmmu):
    with pytest.raises(ReLopeError, match=r"row 1: the answers of this split.*benchmark_split=validation"):
        load("mmmu", mmmu, benchmark_split="test")


def test_mmmu_from_jsonl_with_image_files(tmp_path):
    rows = [{"id": "q", "question": "?", "options": ["a", "b"], "answer": "A", "question_type": "multiple-choice"}]
    (sample,) = load("mmmu", put(tmp_path / "mine.jsonl", [rows[0] | {"image_1": "images/1.png"}]))
    assert sample.images == (tmp_path / "images/1.png",)


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data is not next to this checkout")
def test_mmmu_takes_every_published_validation_answer(tmp_path):
    answers = json.loads((SHARED / "data/mmmu/answer_dict_val.json").read_text())
    given = [json.loads(line) for line in (SHARED / "data/mmmu/llava1.5_13b_val.jsonl").read_text().splitlines()]
    choices = {row["id"]: list((row.get("index2ans") or {}).values()) for row in given}
    rows = [
        mmmu_row(
            i, options=repr(choices[i]), answer=str(a["ground_truth"]), question_type=a["question_type"], image_1="1"
        )
        for i, a in answers.items()
    ]
    samples = load("mmmu", put(tmp_path / "validation.jsonl", rows))
    assert len(samples) == 900
    assert sum(bool(sample.choices) for sample in samples) == 847
    for sample in samples:
        truth = answers[sample.sample_id]["ground_truth"]
        assert [sample.answer, *sample.accepted] == (truth if isinstance(truth, list) else [truth])


def aokvqa_row(**more) -> dict:
    row = {
        "split": "val",
        "image_id": 12,
        "question_id": "22Mex",
        "question": "What?",
        "choices": ["a", "b", "c", "d"],
        "correct_choice_idx": 2,
        "direct_answers": ["c"],
        "difficult_direct_answer": False,
        "rationales": ["r"],
    }
    return row | more


@pytest.mark.parametrize("folder", ["val2017", "coco/val2017", "../coco/val2017", "images"])
def test_aokvqa_from_its_repository(tmp_path, folder):
    put(tmp_path / "aokvqa/aokvqa_v1p0_val.json", [aokvqa_row()])
    image = put(tmp_path / "aokvqa" / folder / "000000000012.jpg", picture(5, "JPEG"))
    (sample,) = load("aokvqa", tmp_path / "aokvqa")
    assert sample.images[0].samefile(image)
    assert (sample.sample_id, sample.answer) == ("22Mex", "C")
    assert get_dataset("aokvqa").prompt(sample) == (
        "What?\nA. a\nB. b\nC. c\nD. d\nAnswer with the option's letter from the given choices directly."
    )
    assert get_dataset("aokvqa").grade(sample, "C")
    assert not get_dataset("aokvqa").grade(sample, "A")


def test_aokvqa_from_parquet(tmp_path):
    row = aokvqa_row(image={"bytes": picture(5, "JPEG"), "path": None}, direct_answers="['c']")
    del row["image_id"], row["split"]
    parquet(tmp_path / "data/validation-00000-of-00001-a1.parquet", [row], "image")
    parquet(tmp_path / "data/test-00000-of-00001-a2.parquet", [row | {"correct_choice_idx": None}], "image")
    (sample,) = load("aokvqa", tmp_path)
    assert sample.images[0].suffix == ".jpg"
    assert sample.answer == "C"
    with pytest.raises(ReLopeError, match="not published"):
        load("aokvqa", tmp_path, benchmark_split="test")


@pytest.fixture
def scienceqa(tmp_path) -> Path:
    """A clone of lupantech/ScienceQA with its images."""
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "", "image": None, "lecture": "long"}
    problems = {
        "1": row | {"image": "image.png", "split": "train"},
        "2": row | {"image": "image.png", "split": "test", "hint": "Look."},
        "3": row | {"split": "test"},
    }
    put(tmp_path / "data/scienceqa/problems.json", problems)
    put(tmp_path / "data/scienceqa/pid_splits.json", {"train": ["1"], "test": ["2", "3"], "minitest": ["2"]})
    put(tmp_path / "data/scienceqa/images/train/1/image.png", picture(1))
    put(tmp_path / "data/scienceqa/images/test/2/image.png", picture(2))
    return tmp_path


def test_scienceqa_from_its_repository(scienceqa):
    seen, read = load("scienceqa", scienceqa)
    assert [s.sample_id for s in (seen, read)] == ["2", "3"]
    assert seen.images[0].read_bytes() == picture(2)
    assert (read.images, read.answer) == ((), "B")
    assert get_dataset("scienceqa").prompt(seen) == (
        "Context: Look.\nWhich?\nA. x\nB. y\nAnswer with the option's letter from the given choices directly."
    )
    assert get_dataset("scienceqa").prompt(read).startswith("Which?\nA. x")
    assert load("scienceqa", scienceqa, benchmark_split="minitest") == [seen]


def test_scienceqa_from_a_file_of_ones_own(tmp_path):
    put(tmp_path / "pid_splits.json", {"test": ["1"]})  # of another table
    row = {"id": "7", "question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": "", "image": "a/b.png"}
    (sample,) = load("scienceqa", put(tmp_path / "mine.json", [row]))
    assert (sample.sample_id, sample.images) == ("7", (tmp_path / "a/b.png",))


def test_scienceqa_from_parquet(tmp_path):
    row = {"image": None, "question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": "Look.", "lecture": ""}
    rows = [row, row | {"image": embedded(3)}]
    parquet(tmp_path / "data/test-00000-of-00001-f0.parquet", rows, "image")
    read, seen = load("scienceqa", tmp_path)
    assert (read.sample_id, seen.sample_id) == ("test-00000", "test-00001")
    assert read.images == ()
    assert seen.images[0].read_bytes() == picture(3)


def test_chartqa_from_its_repository(tmp_path):
    put(tmp_path / "test/test_human.json", [{"imgname": "1.png", "query": "How many?", "label": "14"}])
    put(tmp_path / "test/test_augmented.json", [{"imgname": "2.png", "query": "Which?", "label": "China"}])
    put(tmp_path / "test/png/1.png", picture(1))
    augmented, human = load("chartqa", tmp_path)
    assert (human.sample_id, augmented.sample_id) == ("human-00001", "augmented-00000")
    assert (human.answer, human.images) == ("14", (tmp_path / "test/png/1.png",))
    assert get_dataset("chartqa").prompt(human) == "How many?\nAnswer the question using a single word or phrase."
    assert load("chartqa", tmp_path / "test/test_human.json")[0].sample_id == "human-00000"


def test_chartqa_from_parquet(tmp_path):
    rows = [
        {"image": embedded(1), "query": "How many?", "label": ["14", "15"], "human_or_machine": 0},
        {"image": embedded(2), "query": "Which?", "label": ["China"], "human_or_machine": 1},
    ]
    parquet(tmp_path / "data/val-00000-of-00001-0f.parquet", rows, "image")
    human, machine = load("chartqa", tmp_path, benchmark_split="validation")
    assert (human.sample_id, machine.sample_id) == ("human-00000", "augmented-00001")
    assert (human.answer, human.accepted) == ("14", ("15",))
    lmms = [{"type": "augmented_test", "question": "Which?", "answer": "China", "image": embedded(2)}]
    (sample,) = load("chartqa", parquet(tmp_path / "lmms/test-00000-of-00001.parquet", lmms, "image"))
    assert (sample.sample_id, sample.answer) == ("augmented-00000", "China")


MATHVISION = {"id": "7", "question": "Compare.\n<image1>", "options": ["1", "<image2>", "3", "4", "5"], "answer": "B"}


@pytest.mark.parametrize("table", ["test.jsonl", "data/test.jsonl"])
def test_mathvision_from_its_repository(tmp_path, table):
    drawn = MATHVISION | {"id": "8", "options": ["A", "B", "C", "D", "E"]}
    put(tmp_path / table, [MATHVISION | {"image": "images/7.jpg"}, drawn | {"image": "images/8.jpg"}])
    image = put(tmp_path / "images/7.jpg", picture(7))
    listed, drawn = load("mathvision", tmp_path)
    assert listed.images[0].samefile(image)
    assert get_dataset("mathvision").prompt(listed) == (
        'Please solve the problem and put your answer in one "\\boxed{}". If it is a multiple choice question, only '
        'one letter is allowed in the "\\boxed{}".\nCompare.\n<image 1>\n(A) 1\n(B) <image 2>\n(C) 3\n(D) 4\n(E) 5'
    )
    assert get_dataset("mathvision").prompt(drawn).endswith("Compare.\n<image 1>")


def test_mathvision_from_parquet(tmp_path):
    row = MATHVISION | {"image": "images/7.jpg", "decoded_image": embedded(7), "solution": None}
    parquet(tmp_path / "data/testmini-00000-of-00001-f8.parquet", [row], "decoded_image")
    (sample,) = load("mathvision", tmp_path, benchmark_split="testmini")
    assert sample.images[0].read_bytes() == picture(7)


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data is not next to this checkout")
def test_real_mathvision():
    spec = DatasetSpec(name="mathvision", path=str(SHARED / "data/mathvision"))
    samples = draw(get_dataset("mathvision").load(spec), spec)
    assert len(samples) == 3040
    assert sum(sample.images[0].exists() for sample in samples) == 160  # the others are left out by the extraction
    assert {len(sample.choices) for sample in samples} == {0, 5}
    splits = group_split(samples, spec)
    sides = {}
    for sample in samples:
        for image in sample.images:
            content = image.read_bytes() if image.exists() else image
            assert sides.setdefault(content, splits[sample.group]) == splits[sample.group]


def test_embedded_images_are_unpacked_once(mmmu):
    names = {path.name for path in (load("mmmu", mmmu)[0].images)}
    assert names == {f"{hashlib.sha256(picture(k)).hexdigest()}.png" for k in (1, 2)}
    cache = mmmu / "cache/mmmu"
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert {path.name for path in before} == names  # no scratch file is left
    load("mmmu", mmmu)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_parquet_is_not_held_in_memory(tmp_path):
    rows = [{"image": {"bytes": os.urandom(2**18), "path": ""}, "query": "q", "label": ["a"]} for _ in range(128)]
    parquet(tmp_path / "test.parquet", rows, "image")
    del rows
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_table(tmp_path / "test.parquet")]
    assert len(held) == 128
    assert max(held) < 12 * 2**20  # of 32


def test_a_torn_image_is_unpacked_again(mmmu):
    image = load("mmmu", mmmu)[0].images[0]
    image.write_bytes(b"")
    load("mmmu", mmmu)
    assert image.read_bytes() == picture(1)


@pytest.mark.parametrize("table", ["default/test/0000.parquet", "test.parquet"])
def test_other_places_of_parquet(tmp_path, table):
    row = {"image": embedded(1), "query": "q", "label": ["a"], "human_or_machine": 0}
    parquet(tmp_path / table, [row], "image")
    assert len(load("chartqa", tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "table", "rows", "message"),
    [
        ("mmmu", "t.jsonl", [{"id": "1"}], "t.jsonl:1: no field 'question_type'; it has id"),
        ("mmmu", "t.jsonl", [mmmu_row("1", image_1=None, answer="C")], "'C' is the letter of none of its 2 choices"),
        ("mmmu", "t.jsonl", [mmmu_row("1", image_1=None, options="nil")], "'B' is the letter of none of its 0 choices"),
        ("mmmu", "t.jsonl", [mmmu_row("1", image_1=7)], "t.jsonl:1: 'image_1' is 7, which is not an image"),
        ("mmmu", "t.jsonl", [mmmu_row("1", image_1=None)] * 2, "t.jsonl:2: the id '1' appears more than once"),
        ("aokvqa", "t.json", [aokvqa_row()], r"t.json, row 1: no folder of images .*val2017 or "),
        (
            "mathvision",
            "t.jsonl",
            [MATHVISION | {"image": "images/7.jpg"}],
            r"t.jsonl:1: no folder of images .*images ",
        ),
        ("aokvqa", "t.json", [aokvqa_row(choices="a")], "row 1: 'choices' is 'a', not a list of texts"),
        ("aokvqa", "t.json", [aokvqa_row(correct_choice_idx=4, image="x")], "'correct_choice_idx' is 4, not the index"),
        ("aokvqa", "t.json", [aokvqa_row(image_id="x")], "'image_id' is 'x', not the number"),
        ("chartqa", "t.json", [{"query": "q", "label": [], "image": "i"}], "it has no answer"),
        ("chartqa", "t.json", [{"query": None, "label": "1", "image": "i"}], "'query' is null or NaN, not text"),
        ("chartqa", "t.json", [7], "t.json, row 1 is not a row of named fields but 7"),
        ("chartqa", "t.json", {"a": 1}, "t.json is neither a list of rows nor an object"),
        ("chartqa", "t.json", "{", "t.json is not JSON"),
        ("chartqa", "t.json", b"\xff", "t.json is not UTF-8 text"),
        ("chartqa", "t.json", [], "no rows of the split 'test' of chartqa in "),
        ("chartqa", "t.parquet", b"version https://git-lfs", "t.parquet is not readable as Parquet: .*again"),
        ("chartqa", "t.csv", b"", "t.csv is not a table"),
    ],
)
def test_bad_rows_and_tables_are_named(tmp_path, name, table, rows, message):
    with pytest.raises(ReLopeError, match=message):
        load(name, put(tmp_path / table, rows))


def test_a_folder_without_the_split_says_what_was_looked_for(tmp_path):
    with pytest.raises(ReLopeError, match=r"no table of the split 'test' of chartqa in .*test/test_\*\.json"):
        load("chartqa", tmp_path)
    with pytest.raises(ReLopeError, match="no such file or folder"):
        load("chartqa", tmp_path / "nowhere")


def test_an_index_that_is_none_is_refused(scienceqa):
    put(scienceqa / "data/scienceqa/pid_splits.json", [1])
    with pytest.raises(ReLopeError, match=r"pid_splits\.json is not an object of ids by split"):
        load("scienceqa", scienceqa)


def test_a_cache_that_cannot_be_written_is_named(mmmu):
    put(mmmu / "cache", b"a file")
    with pytest.raises(ReLopeError, match=r"cannot unpack images to .*image_cache"):
        load("mmmu", mmmu)


def test_the_source_follows_tables_and_settings_but_not_the_cache(scienceqa):
    def source(**more):
        return dataset_source(DatasetSpec(name="scienceqa", path=str(scienceqa), **more))

    first = source()
    assert first["benchmark_split"] == "test"
    assert first == source(benchmark_split="test", image_cache="elsewhere")
    assert first != source(benchmark_split="train")
    put(scienceqa / "data/scienceqa/pid_splits.json", {"test": ["3"]})
    assert first["sha256"] != source()["sha256"]
    (scienceqa / "data").rename(scienceqa.parent / "data-elsewhere")
    assert "sha256" not in source()  # a finished store no longer needs its tables


def test_the_source_on_the_hub_is_its_name_and_revision():
    on_hub = dataset_source(DatasetSpec(name="chartqa"))
    assert (on_hub["hub"], on_hub["revision"], "sha256" in on_hub) == ("HuggingFaceM4/ChartQA", "main", False)
