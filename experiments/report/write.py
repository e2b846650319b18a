"""The report of a run: terminal output, one self-contained HTML file, a PDF, and tables as CSV and LaTeX."""

from __future__ import annotations

import html
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.report import figures
from experiments.report.drawing import to_svg, write_pdf
from experiments.report.entries import Entry, Table
from experiments.report.overlays import METHOD as OVERLAY_METHOD
from experiments.report.overlays import Attention, attention_overlays
from experiments.report.overlays import to_html as attention_html
from experiments.report.page import Section, bullets, page, paragraphs, picture
from experiments.report.run_tables import ordered, run_tables
from experiments.report.summary_text import Findings, difference_text, differences_of, findings, routers
from experiments.report.tables import to_html, to_text, write_tables
from experiments.runs.tested import RoutedSplit, read_test_split
from relope_jax.io.files import explaining, write_text
from relope_jax.io.run_folder import require_no_links
from relope_jax.machine.mesh import is_primary
from relope_jax.methods import METHODS
from relope_jax.run import CHECKPOINTS, METRICS, Run
from relope_jax.states.view import ReadableStore

REPORT, PDF, TABLES = "report.html", "report.pdf", "tables"
ROUTING = "Routing to the large model"
MOST_LINES = 12  # paired comparisons in the terminal

# Captions of tables and figures, the same for every run.
READING = (
    "AUC is the mean over seeds on the test split. Its interval (DeLong on the logit scale, clustered by image) is the "
    "sampling error of that mean for these trained routers; the oracle's interval is the narrowest possible with this "
    "test split. The seed range is the range of AUC over seeds. "
    "APGR: share of the gap between the two models that is recovered, averaged over all shares routed (random: 0.5). "
    "CPT(x): smallest share of queries to route that recovers x of the gap. AUDC: system accuracy averaged over all "
    "shares routed. AIQ: mean of the best accuracy at each cost, over one range of costs for all routers. "
    "QNC: the smallest cost that reaches the better model's accuracy, as a share of that model's cost (1 if both "
    "are 0). "
    "PRR: position of the rejection curve between random (0) and oracle (1). ECE and Brier: "
    "calibration error and mean squared error of the score, lower is better. Accuracy: how often the router's "
    "prediction at score 0.5 is correct; always small trusts every answer, always large none. Caught: share of all "
    "wrong answers among the lowest 10%, 20% and 30% of scores, the most that sending these queries to the large model "
    "could correct (random: 10%, 20% and 30%). The oracle of this table knows only whether the small model is right, "
    "except for AIQ and QNC, where it knows both models' answers."
)
DEFERRAL = (
    "System accuracy if the queries with the lowest scores are sent to the large model; mean over seeds. The oracle "
    "knows both models' answers and first defers queries that only the large model gets right."
)
COST = (
    "Accuracy against the cost of 1000 queries, from token counts and prices in dollars per million tokens: small "
    "model {small_in:g} in and {small_out:g} out, large model {large_in:g} in and {large_out:g} out. The cost of every "
    "query includes the small model's work before the router's decision."
)
RISK = (
    "Left: right answers kept against wrong answers kept. Right: error rate of the answers that the small model keeps. "
    "Mean over seeds; with few methods the seed range is shaded."
)
RELIABILITY = (
    "Share of right answers among answers with similar scores, all seeds together; the dotted diagonal is perfect "
    "calibration. The area of a point is proportional to its number of prompts."
)


class Picture(NamedTuple):
    """A figure with its heading and caption."""

    heading: str
    figure: Figure
    caption: str


def write_report(run: Run, store: ReadableStore) -> Path:
    """Write report.html, report.pdf and tables/ into the run directory, and return the path of report.html. Every
    process calls it."""
    with explaining(run.path):
        require_no_links(run.path)
        return _write_report(run, store)


def _write_report(run: Run, store: ReadableStore) -> Path:
    attention = None
    if (run.path / CHECKPOINTS / OVERLAY_METHOD).exists():
        attention = attention_overlays(run, store, run.config["seeds"][0])
    target = run.path / REPORT
    if is_primary():
        split, summary = read_test_split(run), run.summary
        tables, words = run_tables(summary, split), findings(summary, split)
        pictures = draw(run, split)
        write_tables(run.path / TABLES, tables)
        texts = [f"{run.config['name']}: {headline(run)}.", *words.warnings, *words.found, *words.open]
        write_pdf(run.path / PDF, tables, [drawn.figure for drawn in pictures], texts)
        write_text(target, render(run, tables, words, pictures, attention))
    return target


def headline(run: Run) -> str:
    """Model, data and base rate in one line."""
    first, seeds, large = run.results[0], run.config["seeds"], run.summary["large"]
    large_model = f", {large['model']} on {large['accuracy']:.1%}" if large else ""
    return (
        f"{first['model']} on {first['dataset']}, layer {first['layer']}: {first['n_test']} test prompts, "
        f"small model right on {first['base_rate']:.1%}{large_model}; {first['n_train']} training prompts, "
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
    )


def facts(run: Run) -> str:
    """The other settings needed to reproduce the run."""
    config = run.config
    rates = [f"{name} {config[name]['learning_rate']:g}" for name in config["methods"] if name in config]
    learned = f"; learning rates: {', '.join(rates)}" if rates else ""
    return f"store {run.record['store']['path']}{learned}; seeds {config['seeds']}"


def draw(run: Run, split: RoutedSplit) -> list[Picture]:
    """All figures for which this run has numbers."""
    summary = run.summary
    rows = ordered(summary)
    drawn = []
    if split.large is not None:
        drawn.append(Picture(ROUTING, figures.deferral_curves(split, rows), DEFERRAL))
        priced = [name for name in rows if split.cost(name) is not None]
        if priced:
            caption = COST.format(**vars(split.costs)) + _missing(rows, priced)
            drawn.append(Picture(ROUTING, figures.cost_curves(split, priced), caption))
    drawn.append(Picture("ROC and risk", figures.routing_curves(split, rows), RISK))
    calibrated = [name for name in rows if name in routers(summary)] or rows
    drawn.append(Picture("Calibration", figures.reliability_diagrams(split, calibrated), RELIABILITY))
    if (run.path / METRICS).exists() and run.metrics:
        drawn.append(Picture("Training", figures.training_curves(run.metrics), "One line per seed."))
    return drawn


def _missing(rows: list[str], priced: list[str]) -> str:
    names = [METHODS[name].title for name in rows if name not in priced]
    return f" Not shown, because token counts of their inputs are missing: {', '.join(names)}." if names else ""


def render(run: Run, tables: list[Table], words: Findings, pictures: list[Picture], attention: Attention | None) -> str:
    """The whole page."""
    by_name = {table.name: to_html(table) for table in tables}
    routed, differences = by_name.pop("routed", ""), by_name.pop("differences", "")
    sections = [
        Section("Findings", paragraphs(words.warnings, "warning") + bullets(words.found) + bullets(words.open)),
        Section("Routers", "".join(by_name.values()) + paragraphs([READING], "note")),
    ]
    for heading in dict.fromkeys(drawn.heading for drawn in pictures):
        body = "".join(picture(to_svg(drawn.figure), drawn.caption) for drawn in pictures if drawn.heading == heading)
        sections.append(Section(heading, (routed if heading == ROUTING else "") + body))
    if differences:
        opened = " open" if len(run.summary["differences"]) <= MOST_LINES else ""
        body = f"<details{opened}><summary>All pairs</summary>{differences}</details>"
        sections.insert(2, Section("Paired comparisons", body))
    if attention:
        sections.append(Section("Where the Attention Probe looks", attention_html(attention)))
    lead = f"<p>{html.escape(headline(run))}.</p><p class=facts>{html.escape(facts(run))}</p>"
    return page(f"{run.config['name']}: routing report", sections, lead)


def terminal_table(run: Run) -> str:
    """The routers with a few columns as fixed-width text, and the paired comparisons."""
    summary = run.summary
    columns = [("AUC", "auc"), ("seed range", "auc_seed_range"), ("accuracy", "accuracy"), ("ECE", "ece")]
    if any(row["apgr"] is not None for row in summary["methods"].values()):
        columns.insert(1, ("APGR", "apgr"))
    columns += [("caught @10%", "caught_10"), ("@20%", "caught_20"), ("@30%", "caught_30")]
    rows = [
        (METHODS[name].title, tuple(_short(summary["methods"][name], field) for _, field in columns))
        for name in ordered(summary)
    ]
    table = Table(
        "terminal",
        f"\n{headline(run)}",
        tuple(name for name, _ in columns),
        tuple(rows),
        breaks=(len(routers(summary)),),
    )
    words = findings(summary, read_test_split(run))
    lines = [difference_text(d) for d in differences_of(summary)]
    return to_text(table) + "\n".join([*words.warnings, *(words.found if len(lines) > MOST_LINES else lines)])


def _short(row: dict, field: str) -> Entry:
    if field == "auc":
        return Entry(row["auc"], row["auc_low"], row["auc_high"])
    return Entry(None if field == "auc_seed_range" and row["n_seeds"] == 1 else row[field])
