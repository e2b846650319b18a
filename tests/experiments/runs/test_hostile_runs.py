"""Runs and sweeps from others: at most one error line, and nothing outside their folder is read or changed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.report import write
from experiments.report.entries import Entry, Table
from experiments.report.latex import to_latex
from experiments.report.tables import csv_of, to_html
from experiments.runs.plan import run_folder
from experiments.runs.tested import read_test_split
from experiments.say import show
from experiments.sweeps import results
from experiments.sweeps.results import SweepFolder
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.run import Run
from tests import contracts
from tests.experiments.runs.made_runs import made_run

FILES = ("config.json", "results.json", "summary.json")
ODD = [
    None,
    True,
    -1,
    10**400,
    1e308,
    float("nan"),
    "x" * 100_000,
    "../../x",
    "\0",
    "\x1b[2J",
    [],
    {},
    [[[]]],
    "-Infinity",
]
NAMES = [
    "../canary",
    "../../canary",
    "/etc/x",
    "..",
    ".",
    "",
    "a/../../canary",
    "a\\b",
    "\0",
    "x" * 300,
    "~/x",
    "a\x1b[2Jb",
]


@pytest.fixture
def run(tmp_path) -> Run:
    """A finished run next to files that it must not touch."""
    for name in ("canary.png", "canary", "elsewhere/canary.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious", encoding="utf-8")
    return made_run(tmp_path / "run", ("relope", "probe"))


def outside(folder: Path) -> dict[str, str]:
    """All files except the run's."""
    others = (path for path in folder.rglob("*") if path.is_file() and "run" not in path.relative_to(folder).parts[:1])
    return {str(path): path.read_text(encoding="utf-8") for path in others}


def one_line(action) -> None:
    """The action succeeds or ends with one line that a user can act on."""
    said = ""
    try:
        action()
    except ReLopeError as error:
        said = str(error)
    assert "\n" not in said


def read_all(run: Run) -> None:
    """Reads everything that a report reads, without drawing."""
    _ = (run.record, run.results, run.metrics, run.samples)
    split = read_test_split(run)
    write.headline(run), write.facts(run), write.run_tables(run.summary, split), write.terminal_table(run)


def places(value, path=()):
    """Every path in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def put(value, path, new):
    """`value` with the value at one path replaced."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_json_file_costs_a_line(run, data):
    name = data.draw(st.sampled_from(FILES))
    path = run.path / name
    whole = path.read_text(encoding="utf-8")
    value = json.loads(whole)
    try:
        place, new = data.draw(st.sampled_from(list(places(value)))), data.draw(st.sampled_from(ODD))
        path.write_text(json.dumps(put(value, place, new)), encoding="utf-8")
        one_line(lambda: read_all(Run(run.path)))
    finally:
        path.write_text(whole, encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '{"a":' * 200 + "1" + "}" * 200, "\xff"])
@pytest.mark.parametrize("name", [*FILES, "metrics.jsonl"])
def test_files_that_are_no_json_cost_a_line(run, name, text):
    (run.path / name).write_bytes(text.encode("latin-1"))
    one_line(lambda: read_all(Run(run.path)))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("score", pa.array(["x"])), ("score", pa.array([np.nan])), ("score", pa.array([np.inf])),
        ("label", pa.array([7])), ("label", pa.array([None], pa.int8())), ("method", pa.array(["../x"])),
        ("method", pa.array([None], pa.string())), ("seed", pa.array([-1])), ("seed", pa.array(["0"])),
        ("split", pa.array(["other"])), ("sample_id", pa.array([5])), ("sample_id", pa.array(["q0"])), ("label", None),
    ],
    ids=str,
)  # fmt: skip
def test_scores_that_are_none_are_refused(run, column, values):
    table = pq.read_table(run.path / "scores.parquet")
    at = table.column_names.index(column)
    table = table.remove_column(at)
    if values is not None:
        table = table.append_column(column, pa.concat_arrays([values] * len(run.scores)))
    pq.write_table(table, run.path / "scores.parquet")
    with pytest.raises(ReLopeError) as caught:
        read_test_split(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\xff" * 50 + b"PAR1"])
@pytest.mark.parametrize("name", ["scores.parquet", "samples.parquet"])
def test_tables_that_are_no_parquet_cost_a_line(run, name, data):
    (run.path / name).write_bytes(data)
    with pytest.raises(ReLopeError, match=rf"{name} is not a valid Parquet file"):
        read_test_split(run)


LINKS = [
    "report.html",
    "report.pdf",
    "tables",
    "metrics.jsonl",
    "tensorboard",
    ".lock",
    "training/x",
    "tables/metrics.csv",
]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("target", ["../canary", "../elsewhere", "config.json"])
def test_nothing_is_written_through_a_link(run, tmp_path, name, target):
    before, path = outside(tmp_path), run.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(run.path / target, path.parent))
    with pytest.raises(ReLopeError, match="symbolic link"):
        write.write_report(run, None)
    assert outside(tmp_path) == before


@pytest.mark.parametrize("name", FILES)
def test_no_file_outside_is_read_through_a_link(run, tmp_path, name):
    (run.path / name).rename(tmp_path / "elsewhere" / name)
    (run.path / name).symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(ReLopeError, match="symbolic link out of"):
        read_all(Run(run.path))


@pytest.mark.parametrize("field", NAMES)
def test_a_sweep_removes_no_file_of_its_reader(run, tmp_path, field):
    before, folder = outside(tmp_path), tmp_path / "run" / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"grid": {field: [1]}}), encoding="utf-8")
    with SweepFolder(folder) as opened, pytest.raises(ReLopeError, match="damaged"):
        opened.write_record({}, (), ())
    assert outside(tmp_path) == before


@pytest.mark.parametrize("row", [{}, {"cell": 5}, [], None, {"cell": "c", "method": "../x", "seed": 0}])
def test_a_sweeps_rows_are_checked(tmp_path, row):
    (tmp_path / "ensembles" / "e").mkdir(parents=True)
    (tmp_path / "ensembles" / "e" / results.ROWS).write_text(json.dumps([row]), encoding="utf-8")
    with SweepFolder(tmp_path) as folder, pytest.raises(ReLopeError, match="damaged"):
        folder.finished()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "~/x"])
def test_a_name_in_a_flag_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ReLopeError, match=r"config\.name"):
        run_folder(str(tmp_path), name)


@pytest.mark.parametrize("name", [*NAMES, "oracle", 5, None])
def test_no_router_is_restored_from_elsewhere(run, name):
    with contracts.ignored(), pytest.raises(ReLopeError, match=r"unknown method|is not trained"):
        run.restore(name)  # not every name is a text


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://b/x", "http://127.0.0.1:9/x", "file:///etc", "memory://x"])
def test_no_url_of_a_run_is_opened_unless_the_user_names_it(run, monkeypatch, url):
    opened = []
    monkeypatch.setattr("relope_jax.run.Store", lambda path, layer: opened.append(path) or pytest.fail("opened"))
    record = run.record
    record["config"]["extract"] = {"layer": 2}
    record["store"]["path"] = url
    (run.path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ReLopeError, match="--store=URL"):
        _ = run.store
    assert not opened
    with pytest.raises(pytest.fail.Exception):
        _ = Run(run.path, store=url).store
    assert opened == [url]


def test_texts_of_strangers_are_no_commands(capsys):
    evil = "=cmd|'/c calc'!A1 \x1b]0;x\x07 <script>alert(1)</script> \\input{/etc/passwd} \\write18{x} $x_{"
    table = Table("t", evil, (evil,), ((evil, (Entry(-0.5, mark="-1+1"),)),), row_title="@SUM(A1)")
    assert "<script" not in to_html(table)
    assert not re.search(r"(?<!textbackslash\{\})\\(input|write)", to_latex(table))
    rows = list(csv.reader(io.StringIO(csv_of([["+1", "\t=1", -0.5, None, "a"]]))))
    assert rows == [["'+1", "'\t=1", "-0.5", "", "a"]]
    show(evil)
    assert "\x1b" not in (said := capsys.readouterr().out)
    assert r"\x1b]0;x\x07" in said


def test_an_error_is_one_line_whatever_it_names(capsys):
    @exit_on_error
    def main(_):
        raise ReLopeError("a\x1b[2J\nerror: another\x9b1A \u202e")

    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().err == "error: a\\x1b[2J\\nerror: another\\x9b1A \\u202e\n"


def test_a_page_lets_nothing_run_or_load():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', write.page("t", []))
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "script" not in policy[1]
