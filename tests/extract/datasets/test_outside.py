"""Datasets from others read only their own folder, because pictures are sent to servers and shown in reports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extract.datasets.reading.fence import Fence
from extract.imaging.images import LeftOut, read_image
from extract.source import dataset_source
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError
from tests.extract.datasets import tables
from tests.extract.datasets.tables import (
    IMAGE,
    aokvqa_row,
    chartqa_row,
    lines,
    load,
    mathvision_row,
    mmmu_row,
    parquet,
    picture,
)

REFUSED = r"outside of the dataset's folder .*: put the file there, or .* with --config\.dataset\.outside=true"
ASKED = {"question": "q", "answer": "a"}


@pytest.fixture
def private(tmp_path) -> Path:
    """A picture next to the dataset's folder `set`."""
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/images/own.png").write_bytes(picture(1))
    (tmp_path / "private").mkdir()
    path = tmp_path / "private/x.jpg"
    path.write_bytes(picture(2, "JPEG"))
    (tmp_path / "set/link.jpg").symlink_to(path)
    (tmp_path / "set/folder").symlink_to(tmp_path / "private")
    (tmp_path / "set/chain.jpg").symlink_to("folder/x.jpg")
    (tmp_path / "settings").mkdir()  # has the folder's name as a prefix
    (tmp_path / "settings/x.jpg").write_bytes(picture(3, "JPEG"))
    return path


def ways(private: Path) -> list[str]:
    inside = private.parents[1] / "set"
    return [
        "../private/x.jpg", str(private), f"file://{private}", "images/../../private/x.jpg", "link.jpg", "chain.jpg",
        "folder/x.jpg", "folder/../private/x.jpg", "..\\private\\x.jpg", "../settings/x.jpg", "../set/link.jpg", "..",
        "/dev/zero", "/proc/self/environ", f"{inside}/../private/x.jpg", "//etc/passwd", "../private/absent.jpg",
    ]  # fmt: skip


def test_every_way_out_is_refused_and_named(private):
    data = private.parents[1] / "set/data.jsonl"
    for name in ways(private):
        with pytest.raises(ReLopeError, match=rf"data\.jsonl:2: 'image' is .*, {REFUSED}") as caught:
            load("jsonl", lines(data, ASKED, ASKED | {"image": name}))
        assert len(str(caught.value).splitlines()) == 1
    for field in ({"image": ["images/own.png", str(private)]}, {"image": {"bytes": None, "path": str(private)}}):
        with pytest.raises(ReLopeError, match=REFUSED):
            load("jsonl", lines(data, ASKED | field))


def test_outside_allows_what_the_user_wants(private):
    data = private.parents[1] / "set/data.jsonl"
    for name in ("../private/x.jpg", str(private), f"file://{private}", "link.jpg", "folder/x.jpg"):
        (sample,) = load("jsonl", lines(data, ASKED | {"image": name}), outside=True)
        assert sample.images[0].samefile(private)
    (sample,) = load("jsonl", lines(data, ASKED | {"image": "/dev/zero"}), outside=True)
    with pytest.raises(LeftOut, match="a device or a pipe"):
        read_image(sample.images[0])


def test_the_own_folder_may_be_named_in_every_way(private):
    inside = private.parents[1] / "set"
    (inside / "own.jpg").symlink_to("images/own.png")
    (private.parents[1] / "other name").symlink_to(inside)
    for name in ("images/own.png", f"{inside}/images/own.png", "own.jpg", "./images/../images/own.png", "absent.png"):
        for folder in (inside, private.parents[1] / "other name"):
            (sample,) = load("jsonl", lines(folder / "data.jsonl", ASKED | {"image": name}))
            assert name == "absent.png" or sample.images[0].samefile(inside / "images/own.png")


def hostile(name: str) -> dict:
    return {"bytes": None, "path": name}


TABLES = {
    "chartqa": lambda name: chartqa_row(image=hostile(name)),
    "mathvision": lambda name: mathvision_row(decoded_image=hostile(name)),
    "aokvqa": lambda name: aokvqa_row(image=hostile(name)),
    "mmmu": lambda name: mmmu_row(image_1=hostile(name)),
    "scienceqa": lambda name: tables.scienceqa_row(image=hostile(name)),
}


@pytest.mark.parametrize("dataset", TABLES)
def test_paths_in_parquet_do_not_lead_out(private, dataset):
    types = {f"image_{k}": IMAGE for k in range(1, 8)} | {"image": IMAGE, "decoded_image": IMAGE}
    for name in (str(private), "../private/x.jpg"):
        row = TABLES[dataset](name)
        path = parquet(
            private.parents[1] / "set/t.parquet",
            [row],
            **{k: v for k, v in types.items() if k in row and (not isinstance(row[k], str))},
        )
        with pytest.raises(ReLopeError, match=REFUSED):
            load(dataset, path)


def test_names_that_benchmarks_put_together_do_not_lead_out(private):
    inside = private.parents[1] / "set"
    (inside / "test").mkdir()
    problems = {"../../../private": tables.scienceqa_row(image="x.jpg", split="test")}
    with pytest.raises(ReLopeError, match=REFUSED):
        load("scienceqa", lines(inside / "problems.json", problems))
    row = {name: value for name, value in mathvision_row(image="../private/x.jpg").items() if name != "decoded_image"}
    with pytest.raises(ReLopeError, match=REFUSED):
        load("mathvision", lines(inside / "test.jsonl", row))


def test_an_index_next_to_a_table_does_not_lead_out(private):
    inside = private.parents[1] / "set"
    lines(inside / "problems.json", {"1": tables.scienceqa_row(image=None, split="test")})
    (private.parent / "ids.json").write_text('{"test": ["1"]}')
    (inside / "pid_splits.json").symlink_to(private.parent / "ids.json")
    with pytest.raises(ReLopeError, match=REFUSED):
        load("scienceqa", inside)


def test_coco_may_lie_next_to_its_questions(tmp_path):
    (tmp_path / "coco/val2017").mkdir(parents=True)
    (tmp_path / "coco/val2017/000000000007.jpg").write_bytes(picture(1, "JPEG"))
    row = {name: value for name, value in aokvqa_row(image_id=7, split="val").items() if name != "image"}
    tables.lines(tmp_path / "aokvqa/aokvqa_v1p0_val.json", [row])
    assert load("aokvqa", tmp_path / "aokvqa")[0].images[0].is_file()


def test_links_of_the_hubs_cache_are_its_own(private):
    """A snapshot there consists of links to files of the same repository."""
    cache = private.parents[1] / "hub/datasets--org--name"
    snapshot = cache / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs/1").write_bytes(picture(1))
    (snapshot / "a.png").symlink_to("../../blobs/1")
    (snapshot / "b.png").symlink_to(private)
    assert load("jsonl", lines(snapshot / "data.jsonl", ASKED | {"image": "a.png"}))[0].images[0].is_file()
    with pytest.raises(ReLopeError, match=REFUSED):
        load("jsonl", lines(snapshot / "data.jsonl", ASKED | {"image": "b.png"}))


def test_where_images_may_be_is_no_part_of_a_stores_identity(private):
    path = lines(private.parents[1] / "set/data.jsonl", ASKED)
    spec = DatasetSpec(name="jsonl", path=str(path))
    assert dataset_source(spec) == dataset_source(DatasetSpec(name="jsonl", path=str(path), outside=True))


def test_an_unpacked_image_is_never_written_through_a_link(private):
    cache = private.parents[1] / "set/cache/chartqa"
    path = parquet(private.parents[1] / "set/t.parquet", [chartqa_row()], image=IMAGE)
    (sample,) = load("chartqa", path)
    held, name = private.read_bytes(), sample.images[0].name
    assert sample.images[0].parent == cache
    (cache / name).unlink()
    (cache / name).symlink_to(private)
    (again,) = load("chartqa", path)
    assert again.images[0].read_bytes() == chartqa_row()["image"]["bytes"]
    assert private.read_bytes() == held


PARTS = st.sampled_from(
    ["..", ".", "", "images", "own.png", "private", "x.jpg", "link.jpg", "folder", "chain.jpg", "set", "~"]
)
SEPARATORS = st.sampled_from(["/", "\\", "//", "/./"])
ODD = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(PARTS | ODD, SEPARATORS), min_size=1, max_size=7), st.sampled_from(["", "/", "file://"]))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_name_leads_out(private, pieces, before):
    root = private.parents[1]
    start = str(root) + "/" if before else ""
    name = before.rstrip("/") + start + "".join(part + separator for part, separator in pieces).rstrip("/\\")
    try:
        samples = load("jsonl", lines(root / "set/data.jsonl", ASKED | {"image": name}))
    except ReLopeError:
        return
    inside = os.path.realpath(root / "set") + "/"
    assert all((os.path.realpath(image) + "/").startswith(inside) for sample in samples for image in sample.images)


def test_an_empty_fence_allows_nothing(tmp_path):
    assert not Fence().allows(tmp_path)
    assert Fence(outside=True).allows(tmp_path)
