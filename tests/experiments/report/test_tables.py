"""Tables of numbers in every format, and the page and PDF that contain them."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from experiments.report.drawing import make_figure, styled, table_sheets, to_svg, write_pdf
from experiments.report.entries import Entry, Table
from experiments.report.latex import escape, to_latex
from experiments.report.page import Section, page, paragraphs, picture
from experiments.report.tables import to_csv, to_html, to_text, write_tables

TABLE = Table(
    name="demo",
    title="AUC & <cost> at 100 %",
    columns=("AUC", "CPT_50"),
    rows=(
        ("ReLope", (Entry(0.89714, 0.87, 0.92, paper=0.81, mark="b*"), Entry(None))),
        ("[odd] & <b>Probe</b>", (Entry(-0.00001), Entry(float("inf")))),
        ("Oracle", (Entry(1.0), Entry(float("nan"), 0.1, 0.2))),
    ),
    notes=("* better than Probe after Holm",),
    breaks=(2,),
)


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong order."""

    void = frozenset({"meta", "br", "path", "use", "rect", "image"})

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_text_aligns_and_says_what_its_signs_mean():
    lines = to_text(TABLE).splitlines()
    assert lines[0] == "AUC & <cost> at 100 %"
    assert lines[3].split() == ["ReLope", "0.897†*", "[0.870,", "0.920]", "(paper", "0.810)", "-"]
    assert lines[4].endswith(" inf")
    assert " 0.000 " in lines[4], "a minus that rounds away is dropped"
    assert set(lines[5]) == {"-"}, "the break before the oracle"
    assert lines[6].split() == ["Oracle", "1.000", "-"], "an undefined number has no interval"
    assert len({len(line) for line in lines[3:5]} | {len(lines[2])}) == 1
    assert "another model and other data" in lines[-1]


def test_csv_keeps_full_precision_and_gives_columns_only_to_what_is_there():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert list(rows[0]) == [
        "method",
        "AUC",
        "AUC low",
        "AUC high",
        "AUC paper",
        "AUC mark",
        "CPT_50",
        "CPT_50 low",
        "CPT_50 high",
    ]
    assert (rows[0]["AUC"], rows[0]["AUC paper"], rows[0]["AUC mark"]) == ("0.89714", "0.81", "b*")
    assert (rows[0]["CPT_50"], rows[1]["CPT_50"], rows[2]["CPT_50"]) == ("", "inf", "")
    assert rows[1]["method"] == "[odd] & <b>Probe</b>"


def test_latex_is_escaped_and_balanced():
    text = to_latex(TABLE)
    assert r"\caption{AUC \& \textless{}cost\textgreater{} at 100 \%}" in text
    assert r"CPT\_50" in text
    number, small = r"\textbf{0.897}\textsuperscript{{*}}", r"{\footnotesize {[}0.870, 0.920]}"
    lines = (number, small, r"{\footnotesize (paper 0.810)}")
    assert r"\begin{tabular}[t]{@{}r@{}}" + r" \\[-2pt] ".join(lines) + r"\end{tabular}" in text
    assert r"$\infty$" in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert [row.replace(r"\&", "").count("&") for row in rows] == [2] * 4
    assert not any(row.startswith(("[", "*")) for row in rows), "they would be arguments of the \\\\ before"
    assert body.count(r"\midrule") == 2
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert escape("50 % of $x_1^2$ ~ #3 \\ {a}") == (
        r"50 \% of \$x\_1\textasciicircum{}2\$ \textasciitilde{} \#3 \textbackslash{} \{a\}"
    )


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX engine here")
def test_latex_compiles(tmp_path):
    (tmp_path / "x.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}\begin{document}"
        + to_latex(TABLE)
        + r"\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_html_is_escaped_and_whole():
    parsed = Balanced(to_html(TABLE))
    assert parsed.seen.count("tr") == 4
    assert "<b>Probe</b>" in parsed.text, "a name's tags are text"
    assert parsed.seen.count("b") == 1, "the best number alone is bold"
    assert "<tr class=break>" in to_html(TABLE)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="row 'Probe' has 1 of 2 columns"):
        Table("x", "x", ("a", "b"), (("Probe", (Entry(1.0),)),))


def test_write_tables(tmp_path):
    written = write_tables(tmp_path / "tables", [TABLE])
    assert [path.name for path in written] == ["demo.csv", "demo.tex"]
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"demo.csv", "demo.tex"}
    assert written[0].read_text() == to_csv(TABLE)


@styled
def line(label):
    figure, panel = make_figure(4, 3)
    panel.plot([0, 1], [0, 1], label=label)
    panel.legend()
    return figure


def test_page_is_self_contained_and_escaped():
    svg = to_svg(line("a"))
    text = page("<script>x</script>", [Section("R & D", paragraphs(["1 < 2"]) + picture(svg, 'say "so"'))])
    parsed = Balanced(text)
    assert "script" not in parsed.seen
    assert "1 < 2" in parsed.text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "prefers-color-scheme: dark" in text


def test_figures_take_the_colour_of_the_page_and_share_no_ids():
    first, second = to_svg(line("a")), to_svg(line("b"))
    assert "currentColor" in first
    assert "#010203" not in first
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', first))
    assert used <= ids[0]
    assert to_svg(line("a")) == first


def test_pdf_has_every_table_and_figure(tmp_path):
    long = Table("long", "$many", ("x",), tuple((f"row {i}", (Entry(i),)) for i in range(90)), notes=("a note",) * 3)
    assert len(table_sheets(long)) == 3
    wide = table_sheets(Table("wide", "", tuple("abcdefghij"), (("x", (Entry(0.5, 0.4, 0.6, 0.7),) * 10),)))[0]
    assert wide.get_figwidth() > table_sheets(long)[0].get_figwidth()
    path = write_pdf(tmp_path / "x.pdf", [TABLE, long], [line("a")])
    assert len(re.findall(rb"/Type /Page\b", path.read_bytes())) == 5
