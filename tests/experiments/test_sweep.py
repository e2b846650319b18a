"""Sweeps: grids and their mistakes, cells, the table, the plots, and a small real sweep that is interrupted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from experiments import sweep
from experiments.benchmarks import store as store_benchmark
from experiments.configs import quickstart
from experiments.sweeps import figures
from experiments.sweeps.cells import make_jobs, split_text
from experiments.sweeps.grid import EXAMPLE, Axis, parse_axes
from experiments.sweeps.plan import plan_sweep
from experiments.sweeps.results import FIRST, LAST, cell_id, summary_text, table_rows, table_text
from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.io.locks import lock_folder
from relope_jax.states.store import Store
from relope_jax.states.writer import StoreWriter
from relope_jax.training.checkpoints import load_ensemble
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import fit
from relope_jax.training.scoring import scores
from tests import ROOT
from tests.builders import make_block, make_spec, make_states


def config_of(*methods, **fields):
    config = quickstart.get_config()
    config.methods = methods or config.methods
    config.update(fields)
    return config.lock()


def cells_of(*grid, config=None):
    config = config or config_of()
    plan = plan_sweep(config, grid)
    return plan.axes, list(plan.cells)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("relope.beta=0.1,0.5,1", (0.1, 0.5, 1.0)),
        ("relope.beta=0:3", (0.0, 1.0, 2.0)),
        ("seed=0:4", (0, 1, 2, 3)),
        ("seed=7, 0:5:2", (7, 0, 2, 4)),
        ("extract.layer=24:6:-6", (24, 18, 12)),
        ("probe.widths=(256,128),(64,)", ((256, 128), (64,))),
        ("relope.lora.targets=('q','v'),('q',)", (("q", "v"), ("q",))),
        ("relope.lora.rslora=True,false", (True, False)),
        ("relope.kl_reduction=mean,sum", ("mean", "sum")),
        ("dataset.variant=,noise:25,'jpeg:20'", ("", "noise:25", "jpeg:20")),
        ("dataset.path='a,b.jsonl',c.jsonl", ("a,b.jsonl", "c.jsonl")),
    ],
)
def test_values(text, values):
    axis = parse_axes(config_of(), [text])[0]
    assert axis == Axis(text.split("=")[0], values)
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], r"nothing to sweep: .*--grid=relope.beta=0.1,0.5,1.0"),
        (["relope.beta"], "is not FIELD=VALUES"),
        (["=1"], "is not FIELD=VALUES"),
        (["relope.beta="], "has no values"),
        (["relope.bata=1"], "did you mean 'relope.beta'"),
        (["relope.beta.x=1"], "unknown field config.relope.beta.x"),
        (["relope=1"], "is a group; set one of its fields"),
        (["relope.beta=0.1,many"], "takes a number like 1.0, not 'many'"),
        (["relope.beta=0.1,,1"], "takes a number like 1.0, not ''"),
        (["relope.beta=0.5,5e-1"], "--grid=relope.beta has 0.5 twice"),
        (["extract.layer=1.5"], "takes a whole number"),
        (["probe.widths=64,32"], "takes a tuple like"),
        (["probe.widths=(64,32"], "takes a tuple like"),
        (["seed=0:3,1"], "--grid=seed has 1 twice"),
        (["seed=3:3"], "the range 3:3 is empty"),
        (["seed=0:3:0"], "the range 0:3:0 is empty"),
        (["seed=-1"], "takes whole numbers from 0"),
        (["seed=a"], "takes whole numbers from 0"),
        (["seeds=(0,1)"], "is called `seed`"),
        (["methods=('probe',)"], "--grid=methods cannot be swept; set it for all cells with --config.methods="),
        (["answers.seed=1,2"], "cannot be swept"),
        (["seed=0:2", "seed=2:4"], "given twice"),
        (["relope.kl_reduction=mean,max"], "it can be mean, sum"),
        (["relope.beta=-1"], "relope.beta is -1.0; it must be at least 0"),
        (["dataset.max_questions=100,200"], "would share the store stores/toy-mllm-easy_vqa-l24: run one sweep per"),
    ],
)
def test_wrong_grids_are_one_line(grid, message):
    with pytest.raises(ReLopeError, match=message) as caught:
        cells_of(*grid)
    assert "\n" not in str(caught.value)


def test_axes_need_a_method_and_stores_a_name_of_their_own():
    with pytest.raises(ReLopeError, match=r"affects none of config.methods \(probe\): add 'relope'"):
        cells_of("relope.beta=1,2", config=config_of("probe"))
    with pytest.raises(ReLopeError, match="'random' is not trained"):
        cells_of("seed=0:2", config=config_of("random"))
    with pytest.raises(ReLopeError, match=r"config.seeds has 1 twice"):
        cells_of("relope.beta=1,2", config=config_of(seeds=(1, 1)))
    with pytest.raises(ReLopeError, match=r"share the store mine: leave config.store out"):
        cells_of("dataset.variant=,noise:25", config=config_of(store="mine"))
    with pytest.raises(ReLopeError, match=r"together with --config.extract.layers='\(12, 18\)'"):
        cells_of("extract.layer=12,18", config=config_of(store="mine"))
    _, cells = cells_of("extract.layer=12,18", config=config_of(store="mine", extract={"layers": (12, 18, 24)}))
    assert {cell.plan.extract.layer for cell in cells} == {12, 18}
    _, cells = cells_of("dataset.variant=,noise:25", "extract.layer=12,18")
    assert len({cell.plan.store for cell in cells}) == 4


def test_a_method_is_trained_once_along_the_axes_of_another():
    axes, cells = cells_of("relope.beta=0.1,1.0", "seed=0:3")
    assert [len([c for c in cells if c.method.name == name]) for name in config_of().methods] == [6, 3, 3]
    assert [dict(c.values) for c in cells[:4]] == [
        {"relope.beta": 0.1, "seed": 0},
        {"relope.beta": 0.1, "seed": 1},
        {"relope.beta": 0.1, "seed": 2},
        {"relope.beta": 1.0, "seed": 0},
    ]
    assert (cells[3].member.spec.beta, cells[3].member.seed) == (1.0, 0)
    assert split_text(axes, cells).splitlines() == [
        "  ReLope, 6 cells: trained together: relope.beta (2) x seed (3)",
        "  Attention Probe, 3 cells: trained together: seed (3)",
        "  Probe, 3 cells: trained together: seed (3)",
    ]


def test_cells_that_share_a_program_train_together():
    grid = ["extract.layer=12,24", "probe.widths=(64,),(32,)", "train.weight_decay=0.0,0.1", "seed=0:5"]
    axes, cells = cells_of(*grid, config=config_of("probe"))
    assert split_text(axes, cells) == (
        "  Probe, 40 cells: trained together: train.weight_decay (2) x seed (5); "
        "sequentially: extract.layer (2) x probe.widths (2)"
    )
    jobs = make_jobs({str(i): cell for i, cell in enumerate(cells)}, most=4)
    assert [len(job.cells) for job in jobs] == [4, 4, 2] * 4
    assert [job.plan.extract.layer for job in jobs] == [12] * 6 + [24] * 6
    assert sorted(name for job in jobs for name in job.cells) == sorted(map(str, range(40)))
    assert all(len({cell.program for cell in job.cells.values()}) == 1 for job in jobs)


def made_up_rows(cells):
    """The rows that `table_rows` makes of finished cells, with made-up numbers."""
    rng = np.random.default_rng(0)
    found = {}
    for i in range(len(cells)):
        auc = rng.uniform(0.7, 0.9)
        metrics = dict.fromkeys(LAST, 0) | {"auc": auc, "validation_auc": auc}
        found[str(i)] = {"cell": str(i), "dataset": "d", "model": "m", "layer": 24, **metrics}
        found[str(i)] |= {"method": cells[i].method.name, "seed": cells[i].member.seed}
    return table_rows({str(i): cell for i, cell in enumerate(cells)}, found)


def test_table_has_a_row_a_cell_and_a_column_a_field():
    axes, cells = cells_of("relope.beta=0.1,1.0", "probe.widths=(64,),(32,16)", "seed=0:2")
    rows = list(csv.DictReader(io.StringIO(table_text(axes, made_up_rows(cells)))))
    assert list(rows[0]) == [*FIRST, "relope.beta", "probe.widths", *LAST]
    assert [(r["method"], r["relope.beta"], r["probe.widths"], r["seed"]) for r in rows] == [
        ("relope", "0.1", "", "0"),
        ("relope", "0.1", "", "1"),
        ("relope", "1.0", "", "0"),
        ("relope", "1.0", "", "1"),
        ("attention_probe", "", "", "0"),
        ("attention_probe", "", "", "1"),
        ("probe", "", "(64,)", "0"),
        ("probe", "", "(64,)", "1"),
        ("probe", "", "(32, 16)", "0"),
        ("probe", "", "(32, 16)", "1"),
    ]


def test_the_best_setting_is_chosen_on_validation_and_per_data_set():
    axes, cells = cells_of("dataset.name=easy_vqa,chartqa", "probe.dropout=0.1,0.2", config=config_of("probe"))
    rows = [
        row | {"auc": 0.1, "validation_auc": value}
        for row, value in zip(made_up_rows(cells), np.repeat([0.8, 0.9, 0.7, 0.6], 3), strict=True)
    ]
    rows[0]["auc"] = 1.0
    lines = summary_text(axes, cells, rows).splitlines()
    assert [line.endswith("<- best") for line in lines] == [False, False, False, True, True, False]
    assert lines[0].split("  ")[0] == "method"
    assert lines[2].split() == ["Probe", "easy_vqa", "0.1", "0.800", "0.400", "0.900", "3"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((0.1, 0.5, 1.0), "linear"),
        ((6, 12, 18, 24), "linear"),
        ((0.01, 0.1, 1.0), "log"),
        ((0.0, 0.01, 1.0), "even"),
        ((0.0, 0.1), "linear"),
        ((True, False), "even"),
        (("mean", "sum"), "even"),
        (((64,), (32, 16)), "even"),
    ],
)
def test_scale_of_an_axis(values, scale):
    assert figures.scale_of(values) == scale


def test_a_line_a_setting_of_the_other_axes_and_at_most_eight():
    axes, cells = cells_of("relope.beta=0.1,1.0", "train.weight_decay=0.0,0.1,0.2", "seed=0:2")
    rows = made_up_rows(cells)
    beta, decay = axes[:2]
    lines = figures.make_lines(beta, [decay.field], rows)
    assert [(line.method, list(line.auc)) for line in lines] == [
        *[("relope", [0.1, 1.0])] * 3,
        *[("attention_probe", [None])] * 3,
        *[("probe", [None])] * 3,
    ]
    assert lines[1].label == "ReLope\n  weight_decay 0.1"
    assert lines[1].auc[1.0] == [r["auc"] for r in rows if r.get("relope.beta") == 1.0 and r[decay.field] == 0.1]
    panel = figures.axis_plot(beta, axes[:2], rows).axes[0]
    assert panel.get_title(loc="left") == "2 seeds: mean and range; averaged over train.weight_decay"
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["ReLope", "Attention Probe", "Probe"]
    averaged = figures.make_lines(beta, [], rows)[0].auc[0.1]
    mine = [r["auc"] for r in rows if r.get("relope.beta") == 0.1 and r["seed"] == 1]
    assert averaged[1] == pytest.approx(np.mean(mine))
    assert len(averaged) == 2


def test_plots_are_one_picture_an_axis(tmp_path):
    axes, cells = cells_of("relope.beta=0.01,0.1,1.0", "dataset.variant=,noise:25", "seed=0:2")
    paths = figures.write_plots(tmp_path, axes, made_up_rows(cells))
    assert [path.name for path in paths] == ["relope.beta.png", "dataset.variant.png"]
    axes, cells = cells_of("seed=0:3")
    paths += figures.write_plots(tmp_path, axes, made_up_rows(cells))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


N, D, LAYERS = 480, 16, (12, 24)
GRID = ("relope.beta=0.1,1.0", "seed=0:2")


def write_store(path):
    """Two layers of states whose label is visible in z_n and in the last token."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, N)
    layers = {layer: make_states(rng, np.full(N, 5), D) for layer in LAYERS}  # a single length, to compile less
    for states in layers.values():
        states.last_hidden[:, :4] += (2.0 * labels - 1.0)[:, None]
        states.hidden[states.offsets[1:] - 1, :4] += (2.0 * labels - 1.0)[:, None]
    lengths = layers[LAYERS[0]].lengths
    rows = [
        {
            "sample_id": f"s{i}",
            "group": f"g{i}",
            "split": ("train", "validation", "test")[i % 3],
            "question": "q",
            "label": int(labels[i]),
            "n_tokens": int(n),
        }
        for i, n in enumerate(lengths)
    ]
    blocks = {layer: make_block(rng, make_spec(layer=layer)) for layer in LAYERS}
    identity = dataclasses.replace(
        store_benchmark.identity(D), layers=list(LAYERS), dataset={"name": "made up", "path": ""}
    )
    with StoreWriter(path, identity) as writer:
        writer.write_part(0, layers, rows, [])
        writer.finish(1, blocks)
    return path


def small_config(*methods):
    config = config_of(*methods)
    config.train.update(epochs=3, batch_size=32)
    config.engine.checkpoint_seconds = 0.0
    config.relope.update(widths=(8,), learning_rate=0.01, lora={"rank": 2, "targets": ("q", "v")})
    config.probe.update(widths=(8,), learning_rate=0.01)
    return config


def read_table(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Every plan gets this small store, whose z_n was not computed by a block."""
    path = write_store(tmp_path_factory.mktemp("stores") / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "open_or_extract", lambda plan: Store(path, plan.extract.layer))
        patch.setattr(sweep, "replay_block", lambda *_: None)
        yield path


@pytest.fixture(scope="module")
def finished(stores, tmp_path_factory):
    """ReLope and Probe, two values of beta, two seeds."""
    out = tmp_path_factory.mktemp("sweeps")
    return sweep.run(plan_sweep(small_config("relope", "probe"), GRID), str(out))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished sweep, to continue from."""
    shutil.copytree(finished, tmp_path / finished.name)
    return tmp_path / finished.name


@pytest.fixture
def fitted_members(monkeypatch):
    """The number of members in every call of `fit`."""
    calls, fit = [], sweep.fit

    def counted(method, members, *args):
        calls.append((method.name, [m.seed for m in members]))
        return fit(method, members, *args)

    monkeypatch.setattr(sweep, "fit", counted)
    return calls


def test_folder_of_a_sweep(finished):
    assert {path.name for path in finished.iterdir()} == {
        ".lock",
        "sweep.json",
        "ensembles",
        "results.csv",
        "relope.beta.png",
    }
    record = json.loads((finished / "sweep.json").read_text())
    assert record["grid"] == {"relope.beta": [0.1, 1.0], "seed": [0, 1]}
    rows = read_table(finished)
    assert [(r["method"], r["relope.beta"], r["seed"]) for r in rows] == [
        ("relope", "0.1", "0"),
        ("relope", "0.1", "1"),
        ("relope", "1.0", "0"),
        ("relope", "1.0", "1"),
        ("probe", "", "0"),
        ("probe", "", "1"),
    ]
    assert {(r["dataset"], r["model"], r["layer"], r["n_train"], r["n_test"]) for r in rows} == {
        ("made up", "random", "24", "160", "160")
    }
    ensembles = sorted(finished.glob("ensembles/*"))
    assert len(ensembles) == 2
    for ensemble in ensembles:
        names = {path.name for path in ensemble.iterdir()}
        assert names == {"router.json", "arrays", "results.json", "scores.parquet", "metrics.jsonl"}


def test_cell_of_an_ensemble_is_what_it_would_be_alone(finished, stores):
    """AUC to 1e-3, scores to 1e-4, because sums have another order."""
    store = Store(stores, 24)
    data = load_router_data(store)
    feed = open_feed(data)
    cell = cells_of(*GRID, config=small_config("relope", "probe"))[1][2]
    row = read_table(finished)[2]
    assert (row["method"], row["relope.beta"], row["seed"]) == ("relope", "1.0", "0")
    fitted = fit(cell.method, [cell.member], data, feed, lambda record: None)
    assert float(row["validation_auc"]) == pytest.approx(fitted.best_auc[0], abs=1e-3)
    tables = [pq.read_table(path) for path in finished.glob("ensembles/*/scores.parquet")]
    mine = pa.concat_tables(tables).filter(pc.field("cell") == cell_id(store, cell))
    for split in ("validation", "test"):
        rows = data.rows[split]
        table = mine.filter(pc.field("split") == split)
        assert table["sample_id"].to_pylist() == [data.sample_ids[row] for row in rows]
        assert table["label"].to_pylist() == data.labels[rows].tolist()
        alone = scores(fitted.parts, feed.of(cell.method), rows)[0]
        np.testing.assert_allclose(table["score"].to_numpy(), alone, atol=1e-4)
    assert float(row["auc"]) == pytest.approx(roc_auc_score(data.labels[rows], alone), abs=1e-3)


def test_finished_ensembles_hold_restorable_routers(finished, stores):
    store = Store(stores, 24)
    for folder in finished.glob("ensembles/*"):
        _, members, fitted = load_ensemble(folder, store.block)
        rows = json.loads((folder / "results.json").read_text())
        assert [row["member"] for row in rows] == [json.loads(json.dumps(m.record())) for m in members]
        assert [row["validation_auc"] for row in rows] == fitted.best_auc.tolist()


def test_restart_trains_nothing(copied, monkeypatch, capsys):
    before = (copied / "results.csv").read_text()
    for name in ("fit", "load_router_data"):
        monkeypatch.setattr(sweep, name, None)
    sweep.run(plan_sweep(small_config("relope", "probe"), GRID), str(copied.parent))
    assert "6 cells are finished; none to train" in capsys.readouterr().out
    assert (copied / "results.csv").read_text() == before


def test_longer_grid_trains_the_new_cells_and_another_one_has_its_own_table(copied, fitted_members, capsys):
    grid = ("probe.dropout=0.1,0.2", "seed=0:3")  # 0.1 is the default: the previous sweep trained two of these cells
    sweep.run(plan_sweep(small_config("probe"), grid), str(copied.parent), most=2)
    assert fitted_members == [("probe", [2, 0]), ("probe", [1, 2])]
    assert "2 cells are finished; 4 to train in 2 ensembles" in capsys.readouterr().out
    table = [(row["probe.dropout"], row["seed"]) for row in read_table(copied)]
    assert table == [(dropout, seed) for dropout in ("0.1", "0.2") for seed in "012"]
    assert not (copied / "relope.beta.png").exists()
    assert (copied / "probe.dropout.png").exists()


def test_interrupted_sweep_goes_on_where_it_stopped(stores, finished, tmp_path, monkeypatch):
    """Killed after the second epoch of the second ensemble: the first is kept, the second resumes from its snapshot."""
    calls, real = [], sweep.fit

    def killed(method, members, data, feed, log, *args):
        def until_epoch_3(record):
            log(record)
            epochs.append(record["epoch"])
            if len(calls) == 2 and record["epoch"] == 3:
                raise KeyboardInterrupt

        epochs = []
        calls.append((method.name, epochs))
        return real(method, members, data, feed, until_epoch_3, *args)

    monkeypatch.setattr(sweep, "fit", killed)
    config = small_config("relope", "probe")
    with pytest.raises(KeyboardInterrupt):
        sweep.run(plan_sweep(config, GRID), str(tmp_path))
    folder = tmp_path / config.name
    log = next(folder.glob("training/*/metrics.jsonl"))
    log.write_text(log.read_text() + '{"method": "pro')
    sweep.run(plan_sweep(config, GRID), str(tmp_path))
    assert [name for name, _ in calls] == ["relope", "probe", "probe"]
    assert set(calls[2][1]) == {3}
    assert not (folder / "training").exists()
    for path in finished.glob("ensembles/*/results.json"):
        again = folder / path.relative_to(finished)
        timeless = [[row | {"seconds": 0} for row in json.loads(file.read_text())] for file in (path, again)]
        assert timeless[0] == timeless[1]
        logged = [
            [(record["member"], record["epoch"]) for record in map(json.loads, text.splitlines())]
            for text in (file.with_name("metrics.jsonl").read_text() for file in (path, again))
        ]
        assert logged[0] == logged[1]


def test_axes_of_the_store_train_store_by_store(stores, tmp_path, fitted_members):
    folder = sweep.run(plan_sweep(small_config("probe"), ["extract.layer=12,24", "seed=0:2"]), str(tmp_path))
    assert fitted_members == [("probe", [0, 1])] * 2
    assert [(row["layer"], row["extract.layer"]) for row in read_table(folder)] == [("12", "12")] * 2 + [
        ("24", "24")
    ] * 2
    assert (folder / "extract.layer.png").exists()


def test_mistakes_stop_with_one_line(stores, tmp_path, monkeypatch):
    config = small_config("probe")
    with pytest.raises(
        ReLopeError, match=r"Probe, probe.learning_rate 1e\+30, seed 0: .*leave this value out"
    ) as caught:
        sweep.run(plan_sweep(config, ["probe.learning_rate=1e-3,1e30", "seed=0:1"]), str(tmp_path))
    assert "\n" not in str(caught.value)
    with lock_folder(tmp_path / config.name), pytest.raises(ReLopeError, match="another process"):
        sweep.run(plan_sweep(config, ["seed=0:1"]), str(tmp_path))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ReLopeError, match="a sweep runs in one process"):
        sweep.run(plan_sweep(config, ["seed=0:1"]), str(tmp_path))


def test_command():
    """The flags as a user types them."""
    command = [sys.executable, "-m", "experiments.sweep", "--config=quickstart.py", "--members=4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: nothing to sweep: give fields and their values, for example {EXAMPLE}"
