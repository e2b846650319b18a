"""The report of a run: for the terminal, as one self-contained HTML file, as PDF, and its tables as CSV and LaTeX."""

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
MOST_LINES = 12  # of paired comparisons in the terminal

# Captions of tables and figures, the same for every run.
READING = (
    "AUC is the mean over seeds on the test split. Its interval (DeLong on the logit scale, questions about one image "
    "counted together) is the sampling error of that mean given these trained routers; the oracle's shows how sharp it "
    "can be at most with this test split. The seed range says how far the seeds lie apart. "
    "APGR: share of the gap between the two models that is recovered, averaged over all shares routed (random 0.5). "
    "CPT(x): the share of queries to route that recovers x of the gap. AUDC: accuracy of the system averaged over all "
    "shares routed. AIQ: mean height of the best accuracy that money buys, over one range of costs for all routers. "
    "QNC: the smallest cost that reaches the better model's accuracy, as a share of that model's cost (1 where both "
    "are 0). "
    "PRR: how far the rejection curve lies between random (0) and oracle (1). ECE and Brier: "
    "calibration error and mean squared error of the score, lower is better. Accuracy is of the router's own yes/no "
    "at score 0.5; always small trusts every answer, always large none. Caught: share of all wrong answers among the "
    "lowest 10%, 20% and 30% of scores, which is what sending those queries to the large model would repair at most "
    "(random: 10%, 20% and 30%). The oracle of this table knows only whether the small model is right; of AIQ "
    "and QNC it knows both models' answers."
)
DEFERRAL = (
    "Accuracy of the system when the queries with the lowest scores go to the large model; mean over seeds. The "
    "oracle knows both models' answers and defers first what the large model repairs."
)
COST = (
    "Accuracy against what 1000 queries cost, from token counts and prices in dollars for a million tokens: small "
    "model {small_in:g} in and {small_out:g} out, large model {large_in:g} in and {large_out:g} out. A router pays on "
    "every query for what it makes the small model do before it decides."
)
RISK = (
    "Left: the trade between right answers kept and wrong ones kept. Right: error rate of the answers that the small "
    "model keeps. Mean over seeds; with few methods the range of the seeds is shaded."
)
RELIABILITY = (
    "Share of right answers among those with about the same score, all seeds together; on the dotted diagonal a score "
    "means what it says. The area of a point is the number of its prompts."
)


class Picture(NamedTuple):
    """A figure, the heading that it stands under, and its caption."""

    heading: str
    figure: Figure
    caption: str


def write_report(run: Run, store: ReadableStore) -> Path:
    """Write report.html, report.pdf and tables/ into the run directory, and return the path of the first; of several
    processes every one calls it."""
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
    """What else a reader needs to repeat it."""
    config = run.config
    rates = [f"{name} {config[name]['learning_rate']:g}" for name in config["methods"] if name in config]
    learned = f"; learning rates: {', '.join(rates)}" if rates else ""
    return f"store {run.record['store']['path']}{learned}; seeds {config['seeds']}"


def draw(run: Run, split: RoutedSplit) -> list[Picture]:
    """All figures that this run has the numbers for."""
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
    return f" Not shown, since the tokens of what they read were not counted: {', '.join(names)}." if names else ""


def render(run: Run, tables: list[Table], words: Findings, pictures: list[Picture], attention: Attention | None) -> str:
    """The whole page."""
    by_name = {table.name: to_html(table) for table in tables}
    routed, differences = by_name.pop("routed", ""), by_name.pop("differences", "")
    sections = [
        Section("What was found", paragraphs(words.warnings, "warning") + bullets(words.found) + bullets(words.open)),
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
    """The routers in a few columns of fixed-width text, and the paired comparisons."""
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
        "terminal", f"\n{headline(run)}", tuple(name for name, _ in columns), tuple(rows),
        breaks=(len(routers(summary)),),
    )  # fmt: skip
    words = findings(summary, read_test_split(run))
    lines = [difference_text(d) for d in differences_of(summary)]
    return to_text(table) + "\n".join([*words.warnings, *(words.found if len(lines) > MOST_LINES else lines)])


def _short(row: dict, field: str) -> Entry:
    if field == "auc":
        return Entry(row["auc"], row["auc_low"], row["auc_high"])
    return Entry(None if field == "auc_seed_range" and row["n_seeds"] == 1 else row[field])
