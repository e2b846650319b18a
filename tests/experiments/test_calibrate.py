"""The calibrate command on run directories with known answers."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from experiments.calibration.thresholds import calibrate, splits_of
from experiments.calibration.words import CalibrationRequest, record, text
from experiments.runs.sample_table import SCHEMA
from relope_jax.errors import ReLopeError
from relope_jax.metrics.routing.cost import CostSpec, Reading
from relope_jax.run import Run
from relope_jax.run_schema import TOKEN_COUNTS
from tests import ROOT
from tests.experiments.runs.made_runs import result_row, run_record

SIZES = {"train": 600, "validation": 1500, "test": 1500}


def write_run(
    folder, large=0.95, grouped=False, epochs=1, validation=1500, drop=(), drop_from="validation", asked_all=True
):
    """Scores are the probability that the small model is right; the training split has scores only if `asked_all`. The
    large model is right on the share `large`."""
    rng = np.random.default_rng(0)
    sizes = SIZES | {"validation": validation}
    n = sum(sizes.values())
    score = rng.uniform(size=n)
    label = (rng.uniform(size=n) < 0.4 + 0.6 * score).astype(int)
    known = (rng.uniform(size=n) < large).astype(int)
    ids = [f"s{i}" for i in range(n)]
    rows = {
        "sample_id": ids,
        "group": [f"g{i // 2 if grouped else i}" for i in range(n)],
        "split": np.repeat(list(sizes), list(sizes.values())).tolist(),
        "label": label.tolist(),
        "large_label": known.tolist() if large else [None] * n,
        "prompt_tokens": [100] * n,
        "answer_tokens": [10] * n,
        "large_prompt_tokens": [100] * n,
        "large_answer_tokens": [10] * n,
        **{TOKEN_COUNTS[name]: [None] * n for name in ("sampled_prompt", "sampled", "confidence_prompt", "confidence")},
    }
    for name in drop:
        rows[name][rows["split"].index(drop_from)] = None  # for one query
    folder.mkdir()
    pq.write_table(pa.table(rows).cast(SCHEMA), folder / "samples.parquet")
    score[: 0 if asked_all else sizes["train"]] = np.nan
    shuffled = rng.permutation(n)  # scores may be in another order than samples
    scores = {"sample_id": np.array(ids)[shuffled], "method": ["probe"] * n, "seed": [0] * n, "score": score[shuffled]}
    scores |= {"split": np.array(rows["split"])[shuffled], "label": label[shuffled]}
    pq.write_table(pa.table(scores), folder / "scores.parquet")
    (folder / "config.json").write_text(json.dumps(run_record(train={"epochs": epochs})))
    (folder / "results.json").write_text(json.dumps([result_row("probe")]))
    parts = np.split(np.arange(n), np.cumsum(list(sizes.values()))[:-1])
    return {name: (score[part], label[part], known[part]) for name, part in zip(sizes, parts, strict=True)}


def calibrated(folder, *, prices=None, depth=1.0, **request):
    """The command's files and output, or its refusal."""
    run, asked = Run(folder), CalibrationRequest(**{"method": "probe", "seed": 0, "confidence": 0.95} | request)
    prices = prices or CostSpec()
    chosen = calibrate(run, asked, splits_of(run, asked, prices, Reading("prefill", depth=depth)))
    written = record(asked, chosen, prices)
    return json.loads(json.dumps(written, allow_nan=False)), text(written)


def command(folder, *flags):
    line = [sys.executable, "-m", "experiments.calibrate", str(folder), "--method=probe", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_accuracy_of_both_models(tmp_path):
    """The threshold is the lowest one that the definition allows, and the test split is reported separately."""
    splits = write_run(tmp_path / "run")
    done = command(tmp_path / "run", "--target-accuracy=0.9")
    assert done.returncode == 0, done.stderr
    score, small, large = splits["validation"]
    result = json.loads((tmp_path / "run" / "calibration-probe-0.json").read_text())
    lowest = None
    for threshold in [np.inf, *sorted(score, reverse=True)]:
        right = np.where(score < threshold, large, small).sum()
        if binom.sf(right - 1, 1500, 0.9) > 0.05:
            break
        lowest = threshold
    assert result["threshold"] == lowest
    for name in ("validation", "test"):
        score, small, large = splits[name]
        assert result[name]["accuracy"] == pytest.approx(np.where(score < lowest, large, small).mean())
        assert result[name]["deferred"] == pytest.approx((score < lowest).mean())
        assert result[name]["kept_accuracy"] == pytest.approx(small[score >= lowest].mean())
    assert "both models together are right on more than 0.9 of new queries, with 0.95 confidence" in done.stdout
    assert "test (not used to choose): 1500 questions" in done.stdout
    assert f"threshold {lowest:.6g}" in done.stdout


def test_the_command_refuses_in_one_line(tmp_path):
    write_run(tmp_path / "run")
    done = command(tmp_path / "run", "--target_accuracy=0.97")
    assert done.returncode == 1
    assert done.stderr.startswith("error: impossible: ")
    assert "of both models together are right, which is not above 0.97" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "calibration-probe-0.json").exists()


def test_accuracy_of_kept_answers_without_a_large_model(tmp_path):
    write_run(tmp_path / "run", large=False)
    result, said = calibrated(tmp_path / "run", target_accuracy=0.8)
    assert "the small model's kept answers are right on more than 0.8" in said
    assert result["validation"]["accuracy"] is None
    assert 0.8 < result["test"]["kept_accuracy"] < 0.95
    assert result["validation"]["deferred"] < 0.8


def test_a_router_without_training_scores(tmp_path):
    """Like MoT, which has sampled answers for the other splits only."""
    write_run(tmp_path / "run", large=False, asked_all=False)
    result, _ = calibrated(tmp_path / "run", target_accuracy=0.8)
    assert 0.8 < result["test"]["kept_accuracy"] < 0.95


def test_a_large_model_that_misses_the_target(tmp_path):
    """It is right on 60%, the small one on 70%; deferring the lowest third makes both together right on 73%."""
    write_run(tmp_path / "run", large=0.6, validation=6000)
    result, _ = calibrated(tmp_path / "run", target_accuracy=0.66)
    assert result["rule"] == "defer no query"
    result, _ = calibrated(tmp_path / "run", target_accuracy=0.71)
    assert 0.02 < result["validation"]["deferred"] < 0.4
    assert result["test"]["accuracy"] > 0.7
    with pytest.raises(ReLopeError, match=r"impossible: at most 7\d\.\d% .* of both models together"):
        calibrated(tmp_path / "run", target_accuracy=0.8)


def test_share_and_budget(tmp_path):
    """1000 queries cost 0.2 dollars with the small model, 2.0 with the large one and 0.1 for the wasted prefill."""
    write_run(tmp_path / "run")
    result, _ = calibrated(tmp_path / "run", deferral=0.3)
    assert 0.25 < result["validation"]["deferred"] < 0.3
    prices = CostSpec(small_in=1, small_out=10, large_in=10, large_out=100)
    for depth, more in ((1.0, 1.9), (0.5, 1.85)):
        result, said = calibrated(tmp_path / "run", budget=0.77, prices=prices, depth=depth)
        known = result["validation"]
        assert known["dollars_per_1000"] == pytest.approx(0.2 + more * known["deferred"])
        assert 0.68 < known["dollars_per_1000"] < 0.77
        assert "new queries cost less than $0.77 per 1000" in said
        assert result["prices"]["large_out"] == 100


def test_a_budget_assumes_that_no_query_is_dearer(tmp_path):
    """The bets hold for costs up to the maximum over the training and validation splits, kept or deferred."""
    write_run(tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "samples.parquet").to_pydict()
    for split, tokens in (("train", 3000), ("test", 9000)):
        table["large_answer_tokens"][table["split"].index(split)] = tokens
    pq.write_table(pa.table(table).cast(SCHEMA), tmp_path / "run" / "samples.parquet")
    result, said = calibrated(tmp_path / "run", budget=1.0)
    dearest = (3000 * 4.0 + 100 * 1.0 + 100 * 0.1) / 1e6  # of the training question, deferred after a prefill
    line = f"no new query costs more than ${dearest:.4g}, the maximum over the training and validation questions"
    assert line in result["assumptions"]
    assert f"  assuming that {line}\n" in said
    for goal in ({"target_accuracy": 0.88}, {"deferral": 0.3}):
        assert "costs more" not in calibrated(tmp_path / "run", **goal)[1]


@pytest.mark.parametrize("goal", [{"target_accuracy": 0.88}, {"deferral": 0.3}, {"budget": 1.0}])
def test_every_promise_is_for_one_look(tmp_path, goal):
    write_run(tmp_path / "run")
    assert "assuming that this is the only promise made" in calibrated(tmp_path / "run", **goal)[1]


@pytest.mark.parametrize("free", [["small_in", "small_out"], ["large_in", "large_out"]])
def test_a_budget_where_one_model_is_free(tmp_path, free):
    """Then the budget limits the queries of the other model."""
    write_run(tmp_path / "run")
    prices = CostSpec(**dict.fromkeys(free, 0.0))
    result, _ = calibrated(tmp_path / "run", budget=0.05, prices=prices)
    assert 0 <= result["validation"]["dollars_per_1000"] < 0.05
    assert 0 < result["validation"]["deferred"] <= 1


def test_a_budget_where_everything_is_free_is_refused(tmp_path):
    write_run(tmp_path / "run")
    with pytest.raises(ReLopeError, match="every query is free at these prices") as error:
        calibrated(tmp_path / "run", budget=1.0, prices=CostSpec(0, 0, 0, 0))
    assert "\n" not in str(error.value)
    assert calibrated(tmp_path / "run", deferral=0.3, prices=CostSpec(0, 0, 0, 0))[0]["threshold"] is not None


def test_a_budget_for_everything_defers_everything(tmp_path):
    write_run(tmp_path / "run")
    result, _ = calibrated(tmp_path / "run", budget=1000.0)
    assert result["validation"]["deferred"] == 1.0
    assert result["validation"]["kept_accuracy"] is None


def test_thresholds_beyond_all_scores_are_null(tmp_path):
    """JSON has no infinity."""
    write_run(tmp_path / "run")
    run, asked = Run(tmp_path / "run"), CalibrationRequest("probe", 0, 0.95, target_accuracy=0.88)
    chosen = calibrate(run, asked, splits_of(run, asked, CostSpec(), Reading("prefill")))
    for threshold, rule in ((np.inf, "defer every query"), (-np.inf, "defer no query")):
        constant = record(asked, dataclasses.replace(chosen, threshold=threshold), CostSpec())
        assert constant["threshold"] is None
        assert text(json.loads(json.dumps(constant, allow_nan=False))).startswith(f"{rule}\nguaranteed: ")


def test_what_the_split_was_used_for_costs_confidence(tmp_path):
    """A router chosen among 40 epochs keeps fewer queries. The output states this, and that questions come in pairs."""
    kept = {}
    for name, settings in (("plain", {}), ("epochs", {"epochs": 40}), ("pairs", {"grouped": True})):
        write_run(tmp_path / name, **settings)
        result, said = calibrated(tmp_path / name, target_accuracy=0.88)
        kept[name] = 1 - result["validation"]["deferred"]
        assert ("among at most 40" in said) == (name == "epochs")
        assert ("no group has more than 2" in said) == (name == "pairs")
    assert kept["plain"] > kept["epochs"] > 0.2
    assert kept["pairs"] > 0.2


@pytest.mark.parametrize(
    ("request_", "settings", "message"),
    [
        ({"target_accuracy": 0.94}, {"validation": 100}, r"100 .* cannot show .* about \d+ more like them"),
        ({"target_accuracy": 0.995}, {"large": False}, "impossible: .* answers that are kept are right"),
        ({"budget": float("inf")}, {}, "--budget"),
        ({"budget": float("nan")}, {}, "--budget"),
        ({"target_accuracy": float("nan")}, {}, "--target_accuracy"),
        ({"budget": 1e-6}, {}, "without deferring any, which is not below"),
        ({"deferral": 0.01}, {"validation": 100}, "more like them would be needed"),
        ({"budget": 1.0}, {"drop": ["large_prompt_tokens"]}, r"\(large_prompt_tokens\)"),
        ({"target_accuracy": 1.5}, {}, "below 1"),
        ({"target_accuracy": 0.9, "deferral": 0.3}, {}, "give one of"),
        ({}, {}, "give one of"),
        ({"deferral": 0.3, "seed": 7}, {}, "it has probe 0"),
        ({"deferral": 0.3, "method": "oracle"}, {}, "oracle"),
        ({"deferral": 0.3, "confidence": 1.0}, {}, "--confidence"),
    ],
)
def test_refusals(tmp_path, request_, settings, message):
    write_run(tmp_path / "run", **settings)
    with pytest.raises(ReLopeError, match=message) as error:
        calibrated(tmp_path / "run", **request_)
    assert "\n" not in str(error.value)


def test_needed_labels_of_a_share(tmp_path):
    """To defer at least the one lowest score, n queries must satisfy P(Binomial(n, share) <= 1) <= 5%."""
    write_run(tmp_path / "run", validation=100)
    with pytest.raises(ReLopeError) as error:
        calibrated(tmp_path / "run", deferral=0.015)
    more = int(re.search(r"about (\d+) more", str(error.value)).group(1))
    smallest = next(n for n in range(1000) if binom.cdf(1, n, 0.015) <= 0.05)
    assert smallest <= more + 100 <= 1.01 * smallest + 1
    write_run(tmp_path / "enough", validation=more + 100)
    assert calibrated(tmp_path / "enough", deferral=0.015)[0]["validation"]["deferred"] == 1 / (more + 100)


@pytest.mark.parametrize(
    ("deferral", "message"), [(0.2, "impossible: .*% of .* the lowest score"), (0.29, "more like")]
)
def test_a_share_among_tied_scores(tmp_path, deferral, message):
    """A quarter of the queries have the lowest score."""
    write_run(tmp_path / "run", validation=200)
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    table["score"] = [max(score, 0.25) for score in table["score"]]
    pq.write_table(pa.table(table), tmp_path / "run" / "scores.parquet")
    with pytest.raises(ReLopeError, match=message):
        calibrated(tmp_path / "run", deferral=deferral)
    assert 0.2 < calibrated(tmp_path / "run", deferral=0.4)[0]["validation"]["deferred"] < 0.4


def test_gaps_in_what_is_known_of_the_large_model(tmp_path):
    """A missing answer in another split is harmless; one in the validation split is refused, not filled in."""
    write_run(tmp_path / "run", drop=["large_label"], drop_from="train")
    assert calibrated(tmp_path / "run", target_accuracy=0.88)[0]["threshold"] is not None
    table = pq.read_table(tmp_path / "run" / "samples.parquet").to_pydict()
    table["large_label"][SIZES["train"]] = None
    pq.write_table(pa.table(table).cast(SCHEMA), tmp_path / "run" / "samples.parquet")
    with pytest.raises(ReLopeError, match="1 of 1500 validation questions are unknown"):
        calibrated(tmp_path / "run", target_accuracy=0.88)


def test_a_run_without_samples_is_refused(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "samples.parquet").unlink()
    with pytest.raises(ReLopeError, match=r"samples\.parquet is missing"):
        calibrated(tmp_path / "run", deferral=0.3)
