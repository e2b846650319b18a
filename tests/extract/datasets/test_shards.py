"""Tables in parts: missing, broken or duplicated parts are refused, never skipped silently."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extract.source import dataset_source
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests.extract.datasets.tables import IMAGE, chartqa_row, load, mmmu_row, parquet, scienceqa_row

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def shard(path, rows: int = 2):
    return parquet(path, [chartqa_row() for _ in range(rows)], image=IMAGE)


def shards(folder, *names):
    for name in names:
        shard(folder / f"{name}.parquet")


def test_all_shards_are_read_in_order(tmp_path):
    shards(tmp_path / "data", *(f"test-0000{i}-of-00003" for i in range(3)), "train-00000-of-00007")
    assert [sample.sample_id for sample in load("chartqa", tmp_path)] == [f"human-{i:05d}" for i in range(6)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["test-00000-of-00003"], "2 of 3 shards are missing .*number 1, 2", id="C07"),
        (["test-00000-of-00003", "test-00002-of-00003"], "1 of 3 shards are missing .*number 1"),
        (["test-00001-of-00002-0f3a"], "1 of 2 shards are missing .*number 0"),
        (["test-00000-of-01000"], "999 of 1000 shards are missing"),
        (["test/0000", "test/0002"], "1 of 3 shards are missing .*number 1"),
        (["default/test/0001"], "1 of 2 shards are missing .*number 0"),
    ],
)
def test_missing_shards_are_refused(tmp_path, names, message):  # C07
    shards(tmp_path, *names)
    with pytest.raises(ReLopeError, match=message) as error:
        load("chartqa", tmp_path)
    assert len(str(error.value)) - len(str(tmp_path)) < 250


@pytest.mark.parametrize(
    ("names", "named"),
    [
        pytest.param(
            [*(f"test-0000{i}-of-00003" for i in range(3)), "test-00000-of-00001-abcdef"],
            ["test-00000-of-00001-abcdef.parquet", "test-00000-of-00003.parquet"],
            id="C08",
        ),
        (["test-00000-of-00001-aaaa", "test-00000-of-00001-bbbb"], ["-aaaa.parquet", "-bbbb.parquet"]),
        (["test-00000-of-00001", "test-copy"], ["test-00000-of-00001.parquet", "test-copy.parquet"]),
        (["data/test-00000-of-00001", "old/test-00000-of-00001"], ["2 folders", "/data", "/old"]),
        (["test-00000-of-00001", "old/test-00000-of-00001"], ["2 folders", "/old"]),
        (["default/test/0000", "default copy/test/0000"], ["2 folders"]),
    ],
)
def test_the_same_split_twice_is_refused(tmp_path, names, named):  # C08
    shards(tmp_path, *names)
    with pytest.raises(ReLopeError, match=r"twice|2 folders") as error:
        load("chartqa", tmp_path)
    assert all(name in str(error.value) for name in named)


def test_a_split_whose_name_begins_alike_is_another(tmp_path):
    shards(tmp_path, "test-00000-of-00001", "test-hard-00000-of-00002")
    assert len(load("chartqa", tmp_path)) == 2


def test_shards_with_digests_in_their_names_are_one_set(tmp_path):
    shards(tmp_path, "test-00000-of-00002-0f3a", "test-00001-of-00002-9b77")
    assert len(load("chartqa", tmp_path)) == 4


def test_one_shard_by_its_name_says_so(tmp_path, capsys):
    shards(tmp_path, "test-00000-of-00003")
    assert len(load("chartqa", tmp_path / "test-00000-of-00003.parquet")) == 2
    assert "is one of 3 shards: the others are not read" in capsys.readouterr().out
    shards(tmp_path, "test-00000-of-00001")
    load("chartqa", tmp_path / "test-00000-of-00001.parquet")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["test-00001-of-00002.parquet", "test.parquet"])
def test_broken_links_are_refused(tmp_path, name):
    if name.startswith("test-"):
        shards(tmp_path, "test-00000-of-00002")
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(ReLopeError, match=rf"{name} is a broken link to .*gone, not a table"):
        load("chartqa", tmp_path)


def test_links_to_files_and_folders_are_followed(tmp_path):
    shards(tmp_path / "elsewhere", "test-00000-of-00001")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere")
    assert len(load("chartqa", tmp_path / "set", outside=True)) == 2
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/test.parquet").symlink_to(tmp_path / "elsewhere/test-00000-of-00001.parquet")
    assert len(load("chartqa", tmp_path / "linked", outside=True)) == 2
    for folder in ("set", "linked"):
        with pytest.raises(ReLopeError, match=r"outside of the dataset's folder .* --config\.dataset\.outside=true"):
            load("chartqa", tmp_path / folder)


def test_a_subject_behind_a_link_is_not_passed_over(tmp_path):
    columns = {f"image_{k}": IMAGE for k in range(1, 8)}
    for subject in ("mmmu/Art", "disk2/Math"):
        path = tmp_path / subject / "validation-00000-of-00001.parquet"
        parquet(path, [mmmu_row(id=subject)], **columns)
    (tmp_path / "mmmu/Math").symlink_to(tmp_path / "disk2/Math")
    samples = load("mmmu", tmp_path / "mmmu", outside=True)
    assert [sample.sample_id for sample in samples] == ["mmmu/Art", "disk2/Math"]
    with pytest.raises(ReLopeError, match=r"mmmu/Math is outside of the dataset's folder"):
        load("mmmu", tmp_path / "mmmu")


def test_hidden_folders_are_not_read(tmp_path):
    shards(tmp_path, "test-00000-of-00001", ".ipynb_checkpoints/test-00000-of-00001")
    assert len(load("chartqa", tmp_path)) == 2


def test_a_folder_in_place_of_a_table_is_refused(tmp_path):
    shards(tmp_path, "test-00000-of-00002")
    (tmp_path / "test-00001-of-00002.parquet").mkdir()
    with pytest.raises(ReLopeError, match="is a folder, not a table"):
        load("chartqa", tmp_path)


def test_a_table_without_rows_among_others_is_refused(tmp_path):
    shards(tmp_path, "test-00000-of-00002")
    empty = pq.read_table(tmp_path / "test-00000-of-00002.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "test-00001-of-00002.parquet")
    with pytest.raises(ReLopeError, match=r"test-00001-of-00002\.parquet has no rows: download it again"):
        load("chartqa", tmp_path)
    with pytest.raises(ReLopeError, match="no rows of the split 'test'"):
        load("chartqa", tmp_path / "test-00001-of-00002.parquet")


@pytest.mark.parametrize("name", ["test-00000-of-00001.parquet", "test.jsonl", "test.json"])
def test_git_lfs_pointers_are_named(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(ReLopeError, match=rf"{name} is .*Git LFS pointer") as error:
        load("chartqa", tmp_path)
    assert "\n" not in str(error.value)


def test_questions_that_the_index_lists_and_the_table_lacks(tmp_path):
    problems = {"1": scienceqa_row(image=None, split="test"), "2": scienceqa_row(image=None, split="train")}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    (tmp_path / "pid_splits.json").write_text('{"train": [2], "test": ["1", "3", 4]}')
    with pytest.raises(ReLopeError, match=r"lacks 2 of the 3 questions that pid_splits\.json lists, such as '3'"):
        load("scienceqa", tmp_path)
    assert len(load("scienceqa", tmp_path, benchmark_split="train")) == 1
    (tmp_path / "pid_splits.json").write_text('{"test": "1"}')
    with pytest.raises(ReLopeError, match=r"pid_splits\.json is not an object of ids by split: 'test' is '1'"):
        load("scienceqa", tmp_path)


def test_broken_tables_do_not_break_the_identity_of_a_finished_store(tmp_path):
    shards(tmp_path, "test-00000-of-00003")
    (tmp_path / "test-00001-of-00003.parquet").symlink_to(tmp_path / "gone")
    assert "sha256" in dataset_source(DatasetSpec(name="chartqa", path=str(tmp_path)))


def test_parquet_of_another_type_of_image_column(tmp_path):
    rows = [chartqa_row(image=b"") for _ in range(2)]
    samples = load("chartqa", parquet(tmp_path / "t.parquet", rows, image=pa.large_binary()))
    assert all(sample.missing for sample in samples)
