"""The report of a run, for the terminal and as one self-contained HTML file.

python -m experiments.report runs/quickstart     # write report.html again
"""

from __future__ import annotations

import html
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments import figures
from experiments.overlays import METHOD as OVERLAY_METHOD
from experiments.overlays import Overlay, attention_overlays
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.methods import METHODS
from relope_jax.run import CHECKPOINTS, Run
from relope_jax.states.files import write_text
from relope_jax.states.store import Store
from relope_jax.training.mesh import is_primary

REPORT = "report.html"
COLUMNS = (
    ("AUC", "auc", "{:.3f}"),
    ("95 % interval", None, ""),
    ("seed range", "auc_seed_range", "{:.3f}"),
    ("accuracy", "accuracy", "{:.3f}"),
    ("ECE", "ece", "{:.3f}"),
    ("caught @10 %", "caught_10", "{:.2f}"),
    ("@20 %", "caught_20", "{:.2f}"),
    ("@30 %", "caught_30", "{:.2f}"),
)


def table_rows(summary: dict[str, Any]) -> list[list[str]]:
    """Header and one row a method, as text."""
    rows = [["method", *(title for title, _, _ in COLUMNS)]]
    for name, values in summary["methods"].items():
        cells = [METHODS[name].title]
        for _, field, form in COLUMNS:
            if field is None:
                cells.append(f"{values['auc_low']:.3f} to {values['auc_high']:.3f}")
            elif field == "auc_seed_range" and values["n_seeds"] == 1:
                cells.append("")
            else:
                cells.append(form.format(values[field]))
        rows.append(cells)
    return rows


def terminal_table(run: Run) -> str:
    """The AUC table in fixed-width text, with the facts needed to read it."""
    rows = table_rows(run.summary)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([f"\n{headline(run)}", *lines, *(difference_text(d) for d in run.summary["differences"])])


def headline(run: Run) -> str:
    """Model, data and base rate in one line."""
    first, config = run.results[0], run.config
    return (
        f"{first['model']} on {first['dataset']}, layer {first['layer']}: {first['n_test']} test prompts, "
        f"small model right on {first['base_rate']:.1%}; {first['n_train']} training prompts, "
        f"{len(config['seeds'])} seeds"
    )


def difference_text(d: dict[str, Any]) -> str:
    """A paired comparison in words; only an interval clear of 0 is called a difference."""
    verdict = "differ" if d["p"] < 0.05 else "no significant difference"
    names = f"{METHODS[d['first']].title} - {METHODS[d['second']].title}"
    return f"{names}: AUC {d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}], p = {d['p']:.2g}, {verdict}"


def write_report(run: Run, store: Store) -> Path:
    """Write report.html into the run directory and return its path; of several processes every one calls it."""
    overlays = []
    if (run.path / CHECKPOINTS / OVERLAY_METHOD).exists():
        overlays = attention_overlays(run, store, run.config["seeds"][0])
    target = run.path / REPORT
    if is_primary():
        write_text(target, render(run, overlays))
    return target


def render(run: Run, overlays: list[Overlay]) -> str:
    """The whole page; no scripts, no fonts, nothing fetched."""
    titles = {name: method.title for name, method in METHODS.items()}
    scores, labels = test_scores(run)
    config, store = run.config, run.record["store"]
    table = "".join(
        "<tr>"
        + "".join(f"<{'th' if i == 0 else 'td'}>{html.escape(c)}</{'th' if i == 0 else 'td'}>" for c in row)
        + "</tr>"
        for i, row in enumerate(table_rows(run.summary))
    )
    differences = "".join(f"<li>{html.escape(difference_text(d))}</li>" for d in run.summary["differences"])
    rates = ", ".join(f"{name} {config[name]['learning_rate']:g}" for name in config["methods"])
    facts = f"store {store['path']}; learning rates: {rates}; seeds {config['seeds']}"
    examples = "".join(map(example, overlays))
    return PAGE.format(
        title=html.escape(config["name"]),
        headline=html.escape(headline(run)),
        facts=html.escape(facts),
        table=table,
        differences=differences,
        curves=figures.routing_curves(scores, labels, titles),
        training=figures.training_curves(run.metrics, titles),
        examples=f"<h2>Where the Attention Probe looks</h2>{OVERLAY_NOTE}<div class=row>{examples}</div>"
        if examples
        else "",
    )


def test_scores(run: Run) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`{method: [seeds, n]}` on the test split, and the labels."""
    table = run.scores.to_pydict()
    test = np.array(table["split"]) == "test"
    methods, seeds = np.array(table["method"]), np.array(table["seed"])
    scores, labels = np.array(table["score"]), np.array(table["label"])
    curves, truth = {}, np.zeros(0)
    for method in dict.fromkeys(methods):
        members = [test & (methods == method) & (seeds == s) for s in np.unique(seeds[methods == method])]
        curves[str(method)] = np.stack([scores[member] for member in members])
        truth = labels[members[0]]
    return curves, truth


def example(overlay: Overlay) -> str:
    """One captioned picture."""
    e = html.escape
    return (
        f"<figure>{overlay.picture}<figcaption><b>{e(overlay.caption)}</b> (score {overlay.score:.2f})<br>"
        f"{e(overlay.question)}<br>answered <i>{e(overlay.response)}</i>, reference <i>{e(overlay.answer)}</i><br>"
        f"{overlay.image_share:.0%} of the attention is on the image</figcaption></figure>"
    )


OVERLAY_NOTE = (
    "<p>The probe's weight on every image token, over the image. Before training it is even over all "
    "tokens of the prompt.</p>"
)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}: routing report</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2rem auto; padding: 0 1rem;
        color: #222; background: #fff; }}
 h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
 .facts {{ color: #666; }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
 th, td {{ padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
 th:first-child, td:first-child {{ text-align: left; }}
 svg {{ max-width: 100%; height: auto; background: #fff; }}
 .row {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
 figure {{ margin: 0; width: 245px; }} figcaption {{ font-size: .85rem; }}
 @media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #16181c; }} .facts {{ color: #999; }}
  th, td {{ border-color: #333; }} svg {{ border-radius: 6px; padding: 6px; }} }}
</style></head><body>
<h1>{title}</h1>
<p>{headline}.</p><p class="facts">{facts}</p>
<h2>How well each router finds the answers that are wrong</h2>
<table>{table}</table>
<p>AUC is the mean over seeds on the test split. Its interval (DeLong, questions about one image counted together) is
the sampling error of that mean given these trained routers; the seed range says how far the seeds lie apart. Accuracy
is of the router's own yes/no at score 0.5. "Caught" is the share of all wrong answers among the lowest 10, 20 and 30 %
of scores: what sending those queries to the large model would repair at most. A random router catches 10, 20 and
30 %.</p>
<h2>Paired comparisons</h2><ul>{differences}</ul>
<p>Paired DeLong tests on the same test prompts, not corrected for their number.</p>
<h2>Routing curves</h2>{curves}
<h2>Training</h2>{training}
{examples}
</body></html>
"""


@exit_on_error
def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise ReLopeError("usage: python -m experiments.report RUN_FOLDER")
    run = Run(argv[1])
    store = Store(run.record["store"]["path"], run.config["extract"]["layer"])
    if store.digest != run.record["store"]["manifest_sha256"]:
        raise ReLopeError(f"{store.path} is not the store that {run.path} was trained on: it was extracted again since")
    print(write_report(run, store))
    print(terminal_table(run))


if __name__ == "__main__":
    main(sys.argv)
