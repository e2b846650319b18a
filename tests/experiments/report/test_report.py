"""The report of a run: texts, tables and figures, also in a real browser."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.report import write
from experiments.report.run_tables import main_table
from experiments.report.summary_text import findings, grouped, listed
from experiments.report.tables import to_text
from experiments.runs.tested import RoutedSplit, read_test_split
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS, SANITY
from relope_jax.metrics.intervals import Units
from relope_jax.metrics.paired import PairedDifference, adjusted
from relope_jax.metrics.routing.pgr import apgr
from relope_jax.run import Run
from tests.experiments.report.test_tables import Balanced
from tests.experiments.runs.made_runs import N, made_run

ROUTERS = tuple(name for name in METHODS if name not in SANITY)
FIELDS = ("small_in", "small_out", "large_in", "large_out")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Run:
    """Every method, two seeds, and a large model."""
    run = made_run(tmp_path_factory.mktemp("full") / "run", ROUTERS)
    write.write_report(run, None)
    return run


def test_report_has_every_method_and_part(full):
    text = (full.path / "report.html").read_text()
    parsed = Balanced(text)
    assert "script" not in parsed.seen
    for name in (*ROUTERS, *SANITY):
        assert METHODS[name].title in parsed.text
    for heading in ("Findings", "Routing to the large model", "Calibration", "Training", "Paired comparisons"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == 5  # deferral, cost, ROC and risk, reliability, training
    assert text.count("<table>") == 3
    assert not re.search(r"""(?:src|href)=["']?(?!#|data:)[^"'#]""", text)


def test_tables_and_pdf_beside_the_page(full):
    names = {path.name for path in (full.path / "tables").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("metrics", "routed", "differences") for kind in ("csv", "tex")}
    assert (full.path / "report.pdf").read_bytes().startswith(b"%PDF")
    with (full.path / "tables" / "metrics.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    row = full.summary["methods"]["relope"]
    assert float(rows["ReLope"]["AUC"]) == row["auc"]
    assert float(rows["ReLope"]["APGR"]) == row["apgr"]
    assert list(rows)[-5:] == ["Question only (blind)", "Random", "Oracle", "Always small", "Always large"]
    base = full.results[0]["base_rate"]
    assert float(rows["Always small"]["accuracy"]) == pytest.approx(base)
    assert float(rows["Always large"]["accuracy"]) == pytest.approx(1 - base)


def test_samples_are_joined_by_id(full):
    """samples.parquet has another order than scores.parquet."""
    split = read_test_split(full)
    assert split.labels.mean() == pytest.approx(full.results[0]["base_rate"])
    assert split.large.mean() == pytest.approx(full.summary["large"]["accuracy"])
    assert apgr(split.deferral("relope")).mean() == pytest.approx(full.summary["methods"]["relope"]["apgr"])
    assert split.deferral("oracle").max() >= max(split.deferral(name).max() for name in ROUTERS) - 1e-12
    assert split.cost("mot_vote")[0, 0] > split.cost("cascade")[0, 0] == pytest.approx(split.cost("probe")[0, 0])


def test_a_run_without_a_large_model(tmp_path):
    run = made_run(tmp_path / "run", ("relope", "probe"), large=False)
    write.write_report(run, None)
    text = (run.path / "report.html").read_text()
    assert "Routing to the large model" not in text
    assert "The effect of routing on system accuracy is unknown" in html.unescape(text)
    assert "APGR" not in (run.path / "tables" / "metrics.csv").read_text()
    assert "after Holm" in write.terminal_table(run)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("config", ("store",)),
        ("config", ("config", "costs")),
        ("config", ("store", "digests")),
        ("config", ("config", "extract", "layer")),
        ("summary", ("units",)),
        ("summary", ("large",)),
        ("summary", ("differences", 0, "p_holm")),
        ("summary", ("methods", "relope", "prr")),
        ("results", (0, "base_rate")),
    ],
)
def test_a_run_that_lacks_a_field_is_refused(tmp_path, name, path):
    run = made_run(tmp_path / "run", ("relope", "probe"))
    file = run.path / f"{name}.json"
    value = whole = json.loads(file.read_text())
    for part in path[:-1]:
        value = value[part]
    del value[path[-1]]
    file.write_text(json.dumps(whole))
    with pytest.raises(ReLopeError, match=rf"{name}\.json is damaged \(.* has no '{path[-1]}'\)"):
        write.write_report(run, None)


def test_a_run_without_its_table_of_samples_is_refused(tmp_path):
    run = made_run(tmp_path / "run", ("relope", "probe"))
    table = run.samples
    pq.write_table(table.drop_columns(["answer_tokens"]), run.path / "samples.parquet")
    with pytest.raises(ReLopeError, match=r"samples\.parquet is damaged \(its column 'answer_tokens'"):
        read_test_split(run)
    (run.path / "samples.parquet").unlink()
    with pytest.raises(ReLopeError, match=r"samples\.parquet is missing"):
        read_test_split(run)


def test_one_method_and_one_seed_without_a_training(tmp_path):
    run = made_run(tmp_path / "run", ("chow_sum",), (0,), large=False)
    (run.path / "metrics.jsonl").unlink()
    write.write_report(run, None)
    text = (run.path / "report.html").read_text()
    assert "1 seed;" not in text
    assert "9 training prompts, 1 seed." in text
    assert text.count("<svg") == 2
    assert "Training</h2>" not in text
    assert read_test_split(run).large is None


def test_a_large_model_that_was_not_asked_everything_is_unknown(tmp_path):
    run = made_run(tmp_path / "run", ("probe",))
    table = run.samples
    place = table.column_names.index("large_label")
    partly = pa.array([None, *table["large_label"].to_pylist()[1:]], pa.int8())
    pq.write_table(table.set_column(place, "large_label", partly), run.path / "samples.parquet")
    assert read_test_split(run).large is None
    assert read_test_split(run).tokens is not None


def row(auc=0.7, accuracy=0.9):
    known = {"auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.1, "accuracy": accuracy, "caught_20": 0.4}
    return known | {"cpt_50": None, "cpt_80": None}


def summary_of(methods, differences=()):
    return {"methods": methods, "differences": list(differences), "units": Units(99, 99, 198, 198)._asdict()}


def pair(first, second, difference, p):
    return PairedDifference(first, second, difference, -1.0, 1.0, p, p)


SPLIT = RoutedSplit({}, np.array([1, 1, 0, 1]))


def test_only_what_holm_leaves_is_called_better():
    pairs = [
        pair("relope", "probe", 0.05, 0.03),
        pair("relope", "question_only", 0.2, 0.0001),
        pair("probe", "question_only", 0.15, 0.04),
    ]
    methods = {"relope": row(0.8), "probe": row(0.75), "question_only": row(0.6)}
    words = findings(summary_of(methods, adjusted(pairs)), SPLIT)
    assert "ReLope has the highest AUC: 0.800, 95% interval 0.700 to 0.900" in words.found[0]
    assert words.found[1:] == ["Significantly higher AUC: ReLope than Question only (blind)."]
    assert words.open == [
        "No significant difference: ReLope against Probe.",
        "No significant difference: Probe against Question only (blind).",
    ], "p = 0.03 and 0.04 do not survive three tests"
    assert words.warnings == []


def test_it_warns_where_no_router_beats_the_blind_one():
    methods = {"probe": row(0.75), "question_only": row(0.74)}
    (warning,) = findings(summary_of(methods, [pair("probe", "question_only", 0.01, 0.8)]), SPLIT).warnings
    assert "No router is significantly better than the question-only one (AUC 0.740)" in warning
    worse = summary_of(methods, [pair("probe", "question_only", -0.2, 0.001)])
    assert "No router" in findings(worse, SPLIT).warnings[0], "significantly worse is not better"


def test_it_warns_where_a_constant_wins():
    (warning,) = findings(summary_of({"probe": row(accuracy=0.7)}), SPLIT).warnings
    assert "Always predicting 'right' is correct for 75.0%" in warning
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100)
    perfect = RoutedSplit({"probe": rng.random((1, 100))}, labels, large=np.ones(100, np.int64))
    (warning,) = findings(summary_of({"probe": row()}), perfect).warnings
    assert warning.startswith("A constant wins: always-large is right on 100.0%")
    useful = RoutedSplit({"probe": labels[None].astype(float)}, labels, large=1 - labels)
    assert findings(summary_of({"probe": row()}), useful).warnings == []


def test_sentences_stay_few():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    pairs = [("relope", "random"), ("probe", "random"), ("relope", "oracle"), ("probe", "oracle")]
    assert grouped(pairs, "than") == ["ReLope and Probe than Random and Oracle"]


def test_many_routers_are_summed_up(full):
    words = findings(full.summary, read_test_split(full))
    assert len(words.found) + len(words.open) < 10
    assert "recovers half of the gap between the models" in words.found[0]
    text = write.terminal_table(full)
    assert "APGR" in text
    assert len(text.splitlines()) < 35


def test_main_table_sets_the_sanity_rows_apart(full):
    lines = to_text(main_table(full.summary, read_test_split(full))).splitlines()
    rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    assert len(rules) == 2
    assert lines[rules[1] + 1].startswith("Question only")
    assert "†*" in lines[3]


def in_browser(page: str, folder: Path, width: int) -> dict[str, int]:
    """Measurements by a browser of the page in a frame with this width."""
    probe = """onload = () => { const frame = document.getElementById("frame"), inner = frame.contentDocument,
      root = inner.documentElement, out = document.getElementById("out"),
      show = (name, value) => out.textContent += `${name}=${value};`;
      show("content", root.scrollWidth); show("visible", root.clientWidth);
      show("tables", inner.querySelectorAll("table").length); show("figures", inner.querySelectorAll("svg").length);
      show("requests", frame.contentWindow.performance.getEntriesByType("resource").length);
      show("drawn", [...inner.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().height > 50).length); }"""
    frame = f'<iframe id=frame width={width} height=900 style="border:0" srcdoc="{html.escape(page)}"></iframe>'
    target = folder / "frame.html"
    target.write_text(f"<!doctype html><body>{frame}<p id=out></p><script>{probe}</script></body>")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        target.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(folder)})
    found = re.search(r'<p id="out">([^<]+)</p>', done.stdout)
    assert found, done.stderr[-2000:]
    return {name: round(float(value)) for name, value in re.findall(r"(\w+)=([\d.]+);", found[1])}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here to render the report with")
@pytest.mark.parametrize("width", [390, 1200])
def test_it_renders_in_a_browser(full, tmp_path, width):
    seen = in_browser((full.path / "report.html").read_text(), tmp_path, width)
    assert seen["content"] <= seen["visible"] == pytest.approx(width, abs=20), "nothing sticks out sideways"
    assert (seen["tables"], seen["figures"], seen["drawn"]) == (3, 5, 5)
    assert seen["requests"] == 0


@pytest.mark.parametrize("free", [("small_in", "small_out"), ("large_in", "large_out"), FIELDS])
def test_free_models_have_a_report(tmp_path, free):
    """A report is written for free models. If all prices are 0, nothing has a cost."""
    run = made_run(tmp_path / "run", ("probe", "chow_sum"), costs=dict.fromkeys(free, 0.0))
    write.write_report(run, None)
    with (run.path / "tables" / "metrics.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    for title in ("Probe", "Chow-Sum", "Random", "Oracle"):
        assert 0 < float(rows[title]["AIQ"]) <= 1
    if free == FIELDS:
        assert rows["Oracle"]["QNC"] == "1.0"
        split = read_test_split(run)
        assert float(rows["Probe"]["AIQ"]) == pytest.approx(split.deferral("probe").max(axis=1).mean())


def test_few_wrong_answers_are_warned_of_in_report_and_terminal(tmp_path):
    run = made_run(tmp_path / "run", ("probe", "chow_sum"), large=False, right=0.95)
    write.write_report(run, None)
    assert (run.path / "report.html").read_text().count("fewer than 20: intervals") == 1
    assert write.terminal_table(run).count("fewer than 20: intervals") == 1


def test_made_runs_have_as_many_rows_as_they_say(full):
    assert len(read_test_split(full).labels) == N
