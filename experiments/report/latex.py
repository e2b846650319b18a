"""Tables in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.entries import UNKNOWN, Entry, Table, all_notes, interval, number, paper_number

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "*": "{*}",  # at the start of a row LaTeX would read them as arguments of the \\ before
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$", "≥": r"$\ge$", "≤": r"$\le$",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$", "β": r"$\beta$",
    "μ": r"$\mu$", "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$", "→": r"$\to$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"\dag{}", "‡": r"\ddag{}", "∞": r"$\infty$", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def to_latex(table: Table) -> str:
    """A `table` environment for `\\input`, with booktabs rules, scaled down if it is wider than the line."""
    rows = [" & ".join((escape(name), *(_cell(e, table.digits) for e in entries))) for name, entries in table.rows]
    before = {i: "\\midrule\n" if i in table.breaks else "\\addlinespace[2pt]\n" for i in range(1, len(rows))}
    lines = [before.get(i, "") + rf"{row} \\" for i, row in enumerate(rows)]
    head = " & ".join(map(escape, (table.row_title, *table.columns)))
    notes = "".join("\n\\par\\smallskip\\footnotesize " + escape(note) for note in all_notes(table, "Bold"))
    return "\n".join(
        (
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape(table.title)}}}",
            rf"\label{{tab:{table.name}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            rf"\end{{tabular}}}}{notes}",
            r"\end{table}",
            "",
        )
    )


def _cell(entry: Entry, digits: int) -> str:
    value = _number(number(entry.value, digits))
    value = rf"\textbf{{{value}}}" if entry.is_best else value
    signs = rf"\textsuperscript{{{escape(entry.signs)}}}" if entry.signs else ""
    small = [text for part in (interval, paper_number) if (text := _number(part(entry, digits)))]
    return _stacked((value + signs, *(rf"{{\footnotesize {text}}}" for text in small))) if small else value + signs


def _stacked(lines: Sequence[str]) -> str:
    """Stack the lines of one cell, with the first on the row's baseline, to keep the table narrow."""
    return r"\begin{tabular}[t]{@{}r@{}}" + r" \\[-2pt] ".join(lines) + r"\end{tabular}"


def _number(text: str) -> str:
    """Typeset numbers with a minus sign instead of a hyphen; the dash of a missing number does not change."""
    return text if text == UNKNOWN else text.replace("-", "$-$").replace("inf", r"$\infty$").replace("[", "{[}")
