"""Tables in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.entries import UNKNOWN, Entry, Table, all_notes, interval, number, paper_number

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "*": "{*}",  # at the start of a row they would belong to the \\ before it
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$", "≥": r"$\ge$", "≤": r"$\le$",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$", "β": r"$\beta$",
    "μ": r"$\mu$", "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$", "→": r"$\to$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"\dag{}", "‡": r"\ddag{}", "∞": r"$\infty$", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def to_latex(table: Table) -> str:
    """A `table` for `\\input`, with booktabs' rules, narrowed to the line where it is wider."""
    rows = [" & ".join((escape(name), *(_cell(e, table.digits) for e in entries))) for name, entries in table.rows]
    before = {i: "\\midrule\n" if i in table.breaks else "\\addlinespace[2pt]\n" for i in range(1, len(rows))}
    lines = [before.get(i, "") + rf"{row} \\" for i, row in enumerate(rows)]
    head = " & ".join(map(escape, (table.row_title, *table.columns)))
    notes = "".join("\n\\par\\smallskip\\footnotesize " + escape(note) for note in all_notes(table, "Bold"))
    return "\n".join((
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
    ))  # fmt: skip


def _cell(entry: Entry, digits: int) -> str:
    value = _number(number(entry.value, digits))
    value = rf"\textbf{{{value}}}" if entry.is_best else value
    signs = rf"\textsuperscript{{{escape(entry.signs)}}}" if entry.signs else ""
    small = [text for part in (interval, paper_number) if (text := _number(part(entry, digits)))]
    return _stacked((value + signs, *(rf"{{\footnotesize {text}}}" for text in small))) if small else value + signs


def _stacked(lines: Sequence[str]) -> str:
    """Lines of one cell, the first on the row's base line: side by side they would make the table too wide to read."""
    return r"\begin{tabular}[t]{@{}r@{}}" + r" \\[-2pt] ".join(lines) + r"\end{tabular}"


def _number(text: str) -> str:
    """Numbers with a minus sign, not a hyphen; the dash that stands for no number stays one."""
    return text if text == UNKNOWN else text.replace("-", "$-$").replace("inf", r"$\infty$").replace("[", "{[}")
