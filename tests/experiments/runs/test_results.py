"""From scores to the summary and its warnings: order of methods, few answers, several processes."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import pipeline, sweep
from experiments.configs import base
from experiments.report.run_tables import better_than_blind, difference_table, main_table
from experiments.report.summary_text import findings
from experiments.report.tables import to_text
from experiments.runs.plan import plan_run
from experiments.runs.results import Scored, summarise, summary_record
from experiments.runs.tested import RoutedSplit
from experiments.sweeps.plan import plan_sweep
from relope_jax.errors import ReLopeError
from relope_jax.methods import BLIND, METHODS, SANITY
from relope_jax.metrics.evaluate import evaluate
from relope_jax.metrics.intervals import Units
from relope_jax.run_schema import SUMMARY
from tests import ROOT

RUN = (BLIND, "probe", "relope")
N = 400


def summary_of(methods: tuple[str, ...], noise: dict[str, float], right: float = 0.6) -> tuple[dict, RoutedSplit]:
    """A run of these methods in this order, as scored by `evaluate_run`; less noise gives a better router."""
    labels = (np.random.default_rng(0).random(N) < right).astype(np.int64)
    scores = {}
    for name in dict.fromkeys((*methods, *SANITY)):
        drawn = np.random.default_rng(list(METHODS).index(name)).normal(size=N)  # independent of the order of methods
        scores[name] = 1 / (1 + np.exp(-labels - noise.get(name, 50.0) * drawn))
    scored = [Scored(name, 0, row) for name, row in scores.items()]
    evaluation = evaluate(np.stack(list(scores.values())), labels)
    written = json.dumps(summary_record(summarise(scored, evaluation, methods) | {"large": None}), allow_nan=False)
    return SUMMARY(json.loads(written)), RoutedSplit({name: row[None] for name, row in scores.items()}, labels)


@pytest.mark.parametrize("methods", list(itertools.permutations(RUN)), ids=" ".join)
def test_stars_do_not_depend_on_the_order_of_methods(methods):
    summary, split = summary_of(methods, {"probe": 1.0, "relope": 0.5, BLIND: 5.0})
    assert better_than_blind(summary) == {"probe": "*", "relope": "*"}
    assert to_text(main_table(summary, split)).count("*") == 3  # and the note that explains it
    words = findings(summary, split)
    assert not any("question-only" in text for text in words.warnings)
    assert any("Question only (blind)" in text.split(" than ")[-1] for text in words.found[1:])
    assert all(d[0].endswith("Question only (blind)") for d in difference_table(summary).rows if "blind" in d[0])


@pytest.mark.parametrize("methods", list(itertools.permutations(RUN)), ids=" ".join)
def test_the_blind_warning_does_not_depend_on_the_order_of_methods(methods):
    for noise in ({"probe": 5.0, "relope": 5.0, BLIND: 5.0}, {"probe": 50.0, "relope": 50.0, BLIND: 0.5}):
        summary, split = summary_of(methods, noise)
        assert better_than_blind(summary) == {}
        assert any(
            "No router is significantly better than the question-only one" in t
            for t in findings(summary, split).warnings
        )


@pytest.mark.parametrize("extra", ["random", "oracle"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_sanity_rows_among_the_methods_hide_no_warning(extra, place):
    """A run whose only real router is no better than the blind one, though "oracle" is."""
    methods = [BLIND, "probe"]
    methods.insert(place, extra)
    summary, split = summary_of(tuple(methods), {"probe": 5.0, BLIND: 5.0, "oracle": 0.01})
    assert any("No router is significantly better" in text for text in findings(summary, split).warnings)


def test_the_first_of_a_pair_keeps_its_sign_and_interval():
    one, _ = summary_of(("probe", BLIND), {"probe": 0.5})
    other, _ = summary_of((BLIND, "probe"), {"probe": 0.5})
    tables = [difference_table(summary) for summary in (one, other)]
    (name, entries), (same, others) = (table.rows[0] for table in tables)
    assert name == same == "Probe - Question only (blind)"
    assert entries[0].value == pytest.approx(others[0].value)
    assert (entries[0].low, entries[0].high) == pytest.approx((others[0].low, others[0].high))
    assert entries[0].low < entries[0].value < entries[0].high


@pytest.mark.parametrize("seeds", [1, 3, 7])
def test_a_constant_wins_in_every_size(seeds):
    """A router whose yes/no is correct as often as the constant, over seeds, for 4 to 59 questions."""
    for n, wrong in itertools.product(range(4, 60), (1, 2)):
        labels = np.array([0] * wrong + [1] * (n - wrong))
        for split in (RoutedSplit({}, labels), RoutedSplit({}, 1 - labels)):
            accuracy = float(np.mean([(n - wrong) / n] * seeds))
            row = {"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "accuracy": accuracy, "caught_20": 0.4}
            summary = {"methods": {"probe": row}, "differences": [], "units": Units(99, 99, 198, 198)._asdict()}
            (warning,) = findings(summary, split).warnings
            assert warning.startswith("Always predicting")
            row["accuracy"] += 1 / (n * seeds)
            assert findings(summary, split).warnings == []


def test_few_wrong_answers_are_warned_of_once_in_the_summary():
    summary, split = summary_of(RUN, {"probe": 0.5}, right=0.97)
    wrong = int(np.sum(split.labels == 0))
    assert 2 < wrong < 20
    assert summary["units"] == {"positive": N - wrong, "negative": wrong, "all": N, "samples": N}
    told = [text for text in findings(summary, split).warnings if "fewer than 20" in text]
    assert told == [
        f"Only {wrong} test answers are wrong, fewer than 20: intervals and p-values of AUC are only approximate. Test "
        "on more questions."
    ]
    enough = findings(*summary_of(RUN, {"probe": 0.5}))
    assert not any("fewer than 20" in text for text in enough.warnings)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_bad_prices_stop_a_run_before_its_store_is_made(tmp_path, price):
    config = base.get_config()
    config.costs.large_out = price
    config.runs, config.stores = str(tmp_path / "runs"), str(tmp_path / "stores")
    with pytest.raises(ReLopeError, match=r"costs\.large_out is"):
        pipeline.run(plan_run(config))
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_in_several_processes_is_refused_before_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ReLopeError, match="a sweep runs in one process"):
        sweep.run(plan_sweep(base.get_config(), ["seed=0:2"]), str(tmp_path / "sweeps"))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "sweeps").exists()


def test_what_is_unknown_of_the_large_model_is_printed_by_one_of_two_processes():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = (
        "import sys, jax; jax.distributed.initialize(f'localhost:{sys.argv[1]}', 2, int(sys.argv[2]))\n"
        "import numpy as np; from types import SimpleNamespace; from experiments.runs.results import known_labels\n"
        "assert known_labels(SimpleNamespace(large_labels=np.array([1, -1, 0])), np.arange(3)) is None"
    )
    command = [sys.executable, "-c", program, str(port)]
    both = [subprocess.Popen([*command, str(i)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for i in (0, 1)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "1 of 3 test questions is unknown" in printed[0]
    assert printed[1] == ""
