"""Benchmarks, indexes and tables read only the dataset's own folder: no file outside is even opened."""

from __future__ import annotations

import json
import os
import sys

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extract.answers.content import question_content
from extract.datasets import get_dataset
from extract.imaging.images import LeftOut, read_image
from extract.job.splits import draw
from extract.queries.variants import Variant
from extract.sample import Sample
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
    picture,
    scienceqa_row,
)

OUTSIDE = r"outside of .*dataset\.outside=true"


@pytest.fixture
def homes(tmp_path):
    """A dataset's folder with one image, next to private pictures and links to them."""
    home, private = tmp_path / "set", tmp_path / "private"
    for folder in (home / "sub", private, tmp_path / "set2"):
        folder.mkdir(parents=True)
    for path in (private / "x.png", private / "000000000012.jpg", tmp_path / "set2/x.png", tmp_path / "x.png"):
        path.write_bytes(picture(200))
    (home / "own.png").write_bytes(picture(1))
    (home / "link.png").symlink_to(private / "x.png")
    link_folders(home)
    return home


def link_folders(home) -> None:
    (home / "linked").symlink_to(home.parent / "private")
    (home / "chain").symlink_to(home / "linked")
    (home / "up").symlink_to("..")


def without_folder_links(home) -> None:
    """The search for tables refuses links to folders."""
    for link in ("linked", "chain", "up"):
        (home / link).unlink(missing_ok=True)


def hostile(home) -> list[str]:
    private = home.parent / "private/x.png"
    return [
        "../private/x.png", "sub/../../private/x.png", "..\\private\\x.png", "sub\\..\\..\\private\\x.png",
        str(private), private.as_uri(), f"file://host{private}", f"FILE://{private}", "link.png", "linked/x.png",
        "chain/x.png", "up/private/x.png", "./up/x.png", "../set2/x.png", "../set/../x.png", "../private/gone.png",
        "/dev/zero", "/proc/self/environ", "/etc/passwd", "..", "../", "/", "../private/\u00e9.png", "linked/",
        f"{home}/../private/x.png", f"//{str(private).lstrip('/')}",
    ]  # fmt: skip


FORMS = {
    "text": lambda name: name,
    "list": lambda name: ["own.png", name],
    "object": lambda name: {"bytes": None, "path": name},
    "object of text": lambda name: {"bytes": name, "path": None},
    "path alone": lambda name: {"path": name},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_jsonl_file_names_images_of_its_own_folder_alone(homes, form):
    for name in hostile(homes):
        rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "a", "image": FORMS[form](name)}]
        with pytest.raises(ReLopeError, match=rf"data\.jsonl:2: 'image' is .*{OUTSIDE}") as error:
            load("jsonl", lines(homes / "data.jsonl", *rows))
        assert "\n" not in str(error.value)
        assert len(str(error.value)) - len(str(homes)) < 350


FIELDS = {
    "chartqa": lambda name: chartqa_row(image={"bytes": None, "path": name}),
    "chartqa, imgname": lambda name: {"imgname": name, "query": "q", "label": "1"},
    "mathvision": lambda name: mathvision_row(decoded_image={"bytes": None, "path": name}),
    "mathvision, image": lambda name: mathvision_row(decoded_image=None, image=name),
    "mathvision, images": lambda name: mathvision_row(decoded_image=None, image=f"images/{name}"),
    "mmmu": lambda name: mmmu_row(image_1={"bytes": None, "path": name}),
    "aokvqa": lambda name: aokvqa_row(image={"bytes": None, "path": name}),
    "scienceqa": lambda name: scienceqa_row(image={"bytes": None, "path": name}),
}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_benchmark_names_an_image_elsewhere(homes, field, kind):
    benchmark = field.partition(",")[0]
    without_folder_links(homes)
    for folder in ("png", "images"):
        (homes / folder).mkdir()
    name = str(homes.parent / "private/x.png")
    row = FIELDS[field](name)
    types = {column: IMAGE for column, value in row.items() if isinstance(value, dict)}
    types |= dict.fromkeys([f"image_{k}" for k in range(1, 8)] if benchmark == "mmmu" else [], IMAGE)
    table = homes / f"t.{kind}"
    parquet(table, [row], **types) if kind == "parquet" else lines(table, row)
    for path in (table, homes):
        if path == homes:
            table.rename(homes / f"{get_dataset(benchmark).published.split}.{kind}")
        if field != "mathvision, images":  # there the name is relative to images/, and "//" is one separator
            with pytest.raises(ReLopeError, match=OUTSIDE):
                load(benchmark, path)
        samples = load(benchmark, path, outside=True)
        assert [str(image) for sample in samples for image in sample.images] or field == "mathvision, images"


@pytest.mark.parametrize(
    "row",
    [
        {"split": "../../private"},
        {"split": "../private", "image": "../x.png"},
        {"id": "../../../private"},
        {"image": "../../../../x.png"},
    ],
)
def test_fields_that_become_parts_of_a_path_do_not_climb(homes, row):
    (homes / "images/test").mkdir(parents=True)
    row = scienceqa_row(image="x.png") | {"id": "1", "split": "test"} | row
    (homes / "problems.json").write_text(json.dumps([row]))
    for path in (homes, homes / "problems.json"):
        with pytest.raises(ReLopeError, match=OUTSIDE):
            load("scienceqa", path)


def test_the_number_and_split_of_a_coco_image_do_not_climb(homes):
    row = {key: value for key, value in aokvqa_row().items() if key != "image"} | {"image_id": 12}
    (homes / "coco").symlink_to(homes.parent / "private")
    with pytest.raises(ReLopeError, match=OUTSIDE):
        load("aokvqa", lines(homes / "t.jsonl", row))
    (homes / "coco").unlink()
    (homes.parent / "coco").symlink_to(homes.parent / "private")  # the allowed neighbour, but a link to elsewhere
    (homes.parent / "private/val2017").mkdir()
    with pytest.raises(ReLopeError, match=OUTSIDE):
        load("aokvqa", lines(homes / "t.jsonl", row))
    with pytest.raises(ReLopeError, match=r"outside of|no folder of images"):
        load("aokvqa", lines(homes / "t.jsonl", row | {"split": "../private/"}))


@pytest.mark.parametrize("folder", ["", "data"])
def test_images_of_a_repository_beside_its_folder_of_tables(tmp_path, folder):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/7.png").write_bytes(picture(7))
    row = {key: value for key, value in mathvision_row(image="images/7.png").items() if key != "decoded_image"}
    table = lines(tmp_path / folder / "test.jsonl", row)
    for path in (tmp_path, table):
        (sample,) = load("mathvision", path)
        assert sample.images[0].read_bytes() == picture(7)
    for name in ("images/../../x.png", "../private/x.png", "private/../../private/x.png"):
        with pytest.raises(ReLopeError, match=OUTSIDE):
            load("mathvision", lines(table, row | {"image": name}))


@pytest.mark.parametrize("name", ["x" * 300 + "/y.png", "a/" * 3000, "\0/x.png", "images/" + "x" * 300])
def test_folders_that_no_disk_has_are_one_line(tmp_path, name):
    (tmp_path / "images").mkdir()
    with pytest.raises(ReLopeError, match="neither a path nor an encoded image"):
        load("mathvision", lines(tmp_path / "t.jsonl", mathvision_row(decoded_image=None, image=name)))
    row = scienceqa_row(image="x.png") | {"id": "1", "split": name}
    (tmp_path / "problems.json").write_text(json.dumps([row]))
    with pytest.raises(ReLopeError, match=r"no folder of images|no rows|neither a path"):
        load("scienceqa", tmp_path)


def test_a_table_named_by_itself_does_not_open_the_folder_above(tmp_path):
    """`data/test.jsonl` is the table's place in the repository, but may also be a user's folder for downloads."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private/x.png").write_bytes(picture(9))
    rows = {
        "mathvision": ("data/test.jsonl", mathvision_row(decoded_image=None, image="../private/x.png")),
        "chartqa": ("test/test_human.json", [{"query": "q", "label": "1", "image": "../private/x.png"}]),
    }
    for name, (path, row) in rows.items():
        with pytest.raises(ReLopeError, match=OUTSIDE):
            load(name, lines(tmp_path / path, json.dumps(row)))


def test_what_leads_inside_is_read(homes):
    (homes / "sub/back.png").symlink_to("../own.png")
    (homes / "loop").symlink_to(".")
    names = ["own.png", "./own.png", "sub/../own.png", "sub/back.png", "loop/loop/own.png", "../set/own.png",
             str(homes / "own.png"), (homes / "own.png").as_uri(), "sub\\..\\own.png", "..\\set\\own.png"]  # fmt: skip
    for name in names:
        (sample,) = load("jsonl", lines(homes / "d.jsonl", {"question": "q", "answer": "a", "image": name}))
        assert read_image(sample.images[0]).size == (4, 3)


def test_a_folder_that_is_a_link_itself_is_where_the_user_says(homes, tmp_path, monkeypatch):
    lines(homes / "d.jsonl", {"question": "q", "answer": "a", "image": "own.png"})
    (tmp_path / "shortcut").symlink_to(homes)
    monkeypatch.chdir(homes)
    for path in (tmp_path / "shortcut/d.jsonl", "d.jsonl", "../set/d.jsonl"):
        (sample,) = get_dataset("jsonl").load(DatasetSpec(name="jsonl", path=str(path), image_cache="cache"))
        assert read_image(sample.images[0]).size == (4, 3)


def cached_snapshot(hub, kind: str, name: str, files: dict[str, bytes]):
    """A repository in the hub client's cache: snapshots are links to blobs."""
    repository = hub / f"{kind}--ORG--{name}"
    snapshot = repository / "snapshots/0a1b2c"
    (repository / "blobs").mkdir(parents=True)
    for i, (path, data) in enumerate(files.items()):
        (repository / f"blobs/{i}").write_bytes(data)
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + path.count("/"))
        (snapshot / path).symlink_to(f"{up}blobs/{i}")
    return snapshot


def test_a_snapshot_in_the_hubs_cache_is_read_and_no_other_repository(tmp_path):
    row = {"imgname": "7.png", "query": "q", "label": "1"}
    table = json.dumps([row]).encode()
    snapshot = cached_snapshot(tmp_path, "datasets", "A", {"test/test_human.json": table, "test/png/7.png": picture(7)})
    for path in (snapshot, snapshot / "test/test_human.json"):
        (sample,) = load("chartqa", path)
        assert read_image(sample.images[0]).size == (4, 3)
    other = cached_snapshot(tmp_path, "datasets", "B", {"x.png": picture(9)})
    (snapshot / "test/png/8.png").symlink_to(other / "x.png")
    (snapshot / "test/test_more.json").write_text(json.dumps([row | {"imgname": "8.png"}]))
    with pytest.raises(ReLopeError, match=OUTSIDE):
        load("chartqa", snapshot)


@pytest.mark.parametrize("name", ["test-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "test.jsonl"])
def test_tables_that_are_found_do_not_lead_out(homes, tmp_path, name):
    table = tmp_path / "private" / os.path.basename(name)
    row = chartqa_row()
    parquet(table, [row], image=IMAGE) if name.endswith("parquet") else lines(table, chartqa_row(image="own.png"))
    without_folder_links(homes)
    if name.startswith("data"):
        (homes / "data").symlink_to(table.parent)
    else:
        (homes / name).symlink_to(table)
    with pytest.raises(ReLopeError, match=OUTSIDE):
        load("chartqa", homes)
    assert len(load("chartqa", homes, outside=True)) == 1
    assert len(load("chartqa", homes / name)) == 1, "what the user names may be a link"


def test_an_index_does_not_lead_out_and_is_a_file(homes, tmp_path):
    (homes / "problems.json").write_text(json.dumps({"1": scienceqa_row(image=None)}))
    (tmp_path / "private/pid_splits.json").write_text('{"test": ["1"]}')
    index = homes / "pid_splits.json"
    index.symlink_to(tmp_path / "private/pid_splits.json")
    for path in (homes, homes / "problems.json"):
        with pytest.raises(ReLopeError, match=rf"pid_splits\.json is {OUTSIDE}"):
            load("scienceqa", path)
        assert len(load("scienceqa", path, outside=True)) == 1
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(ReLopeError, match=r"pid_splits\.json is a device or a pipe, not a table"):
        load("scienceqa", homes)
    index.unlink()
    index.symlink_to("gone")
    with pytest.raises(ReLopeError, match=r"pid_splits\.json is a broken link"):
        load("scienceqa", homes)


@pytest.mark.parametrize("name", ["test-00000-of-00001.parquet", "test.jsonl", "test.json"])
def test_tables_that_are_pipes_are_refused_without_hanging(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ReLopeError, match=r"a device or a pipe|no such file"):
            load("chartqa", path)
    with pytest.raises(ReLopeError, match="no such file"):
        load("jsonl", tmp_path / name)


# Files that Python opens while `_opened` is a list. An audit hook cannot be removed.
_opened: list[str] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _opened is not None and event in ("open", "os.listdir", "os.scandir"):
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else "")


sys.addaudithook(_note)

PARTS = st.sampled_from(
    ["..", ".", "", "private", "x.png", "set", "own.png", "linked", "link.png", "up", "chain", "sub", "set2", "\u00e9",
     "e\u0301", "~", "%2e%2e", "\0", "a" * 300, "..\\private", "C:", "file:", "data:", "000000000012.jpg"]
)  # fmt: skip
NAMES = st.builds(
    lambda start, parts, separator: start + separator.join(parts),
    st.sampled_from(["", "/", "./", "../", "\\", "file://", "file:", "HOME/", "ROOT/", "file://ROOT/", "images/"]),
    st.lists(PARTS, max_size=6),
    st.sampled_from(["/", "\\", "//"]),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, form=st.sampled_from([*FORMS]), field=st.sampled_from(["jsonl", *FIELDS]), whole=st.booleans())
def test_nothing_outside_is_opened_whatever_the_names(homes, name, form, field, whole):
    global _opened
    name = name.replace("HOME", str(homes)).replace("ROOT", str(homes.parent))
    benchmark = field.partition(",")[0]
    row = {"question": "q", "answer": "a", "image": FORMS[form](name)} if field == "jsonl" else FIELDS[field](name)
    for folder in ("png", "images"):
        (homes / folder).mkdir(exist_ok=True)
    split = "data" if field == "jsonl" else get_dataset(benchmark).published.split
    table = lines(homes / f"{split}.jsonl", row)
    if whole:
        without_folder_links(homes)
    elif not os.path.lexists(homes / "up"):
        link_folders(homes)
    try:
        _opened = []
        for sample in draw(load(benchmark, homes if whole and field != "jsonl" else table), DatasetSpec()):
            question_content(get_dataset(benchmark), sample, Variant(), {})
    except (ReLopeError, LeftOut):
        pass
    finally:
        opened, _opened = _opened, None
    canaries = (str(homes.parent / "private"), str(homes.parent / "set2"), str(homes.parent / "x.png"))
    outside = [path for path in opened if path and os.path.realpath(path).startswith(canaries)]
    assert not outside
    assert not [path for path in opened if path.startswith(("/dev", "/proc", "/etc"))]
    assert str(table) in opened, "the hook works"


def test_an_image_that_becomes_a_pipe_after_the_table_was_read_is_left_out(homes):
    (sample,) = load("jsonl", lines(homes / "d.jsonl", {"question": "q", "answer": "a", "image": "own.png"}))
    (homes / "own.png").unlink()
    os.mkfifo(homes / "own.png")
    with pytest.raises(LeftOut, match="a device or a pipe"):
        question_content(get_dataset("jsonl"), sample, Variant(), {})


def test_rows_of_the_hub_name_no_files_of_this_machine(homes, monkeypatch):
    from extract.datasets import published

    monkeypatch.chdir(homes.parent)
    for name in (str(homes.parent / "private/x.png"), "../private/x.png", str(homes / "own.png")):
        row = chartqa_row(image={"bytes": None, "path": name})
        monkeypatch.setattr(
            published, "hub_rows", lambda *_, row=row: iter([("row 1", published.Path("ORG/NAME"), row)])
        )
        with pytest.raises(ReLopeError, match=rf"row 1: 'image' is .*{OUTSIDE}"):
            get_dataset("chartqa").load(DatasetSpec(name="chartqa", image_cache=str(homes)))


def test_a_column_of_paths_in_parquet(homes):
    row = chartqa_row(image=str(homes.parent / "private/x.png"))
    with pytest.raises(ReLopeError, match=OUTSIDE):
        load("chartqa", parquet(homes / "t.parquet", [row], image=pa.string()))
    assert isinstance(load("chartqa", homes / "t.parquet", outside=True)[0], Sample)
