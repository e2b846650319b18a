"""One colour, line style and marker per method, the same in every figure.

Hues are from Okabe and Ito's palette, which colour-blind readers can distinguish on light and dark backgrounds. Methods
with the same hue differ in line style and marker. Sanity rows are dashed, without markers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

VERMILLION, BLUE, GREEN, PINK, ORANGE, SKY = "#d55e00", "#2f81c7", "#009e73", "#cc79a7", "#d99400", "#56a8dd"
GREY = "#8b949e"
DASHDOT, DOTTED = (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5))


class Look(NamedTuple):
    """Colour, line (matplotlib's linestyle) and marker."""

    colour: str
    line: Any = "-"
    marker: str = ""


LOOKS = {
    "relope": Look(VERMILLION, "-", "o"),
    "attention_probe": Look(BLUE, "-", "s"),
    "probe": Look(GREEN, "-", "^"),
    "post_hoc_embed": Look(PINK, "-", "D"),
    "mot_vote": Look(ORANGE, "-", "v"),
    "mot_verify": Look(ORANGE, DASHDOT, "P"),
    "cascade": Look(SKY, "-", "X"),
    "sw_ranking": Look(GREEN, DASHDOT, "<"),
    "token_quantiles": Look(PINK, DASHDOT, ">"),
    "chow_sum": Look(BLUE, DASHDOT, "*"),
    "chow_average": Look(VERMILLION, DASHDOT, "p"),
    "chow_quantile": Look(SKY, DASHDOT, "h"),
    "first_token_entropy": Look(ORANGE, DOTTED, "d"),
    "verbalised": Look(GREEN, DOTTED, "8"),
    "question_only": Look("#8f7fd0", (0, (5, 2))),
    "random": Look(GREY, (0, (2, 2))),
    "oracle": Look(GREY, (0, (9, 2))),
}
OTHER = Look("#16a085", DASHDOT, ".")


def look(method: str) -> Look:
    """The look of a method."""
    return LOOKS.get(method, OTHER)


def colour(method: str) -> str:
    """The colour of a method."""
    return look(method).colour


def line_style(method: str) -> dict[str, Any]:
    """Keywords of `Axes.plot` for a method's line, without markers."""
    return {"color": look(method).colour, "linestyle": look(method).line, "linewidth": 1.6}


def markers(method: str) -> dict[str, Any]:
    """Keywords of `Axes.plot` for a few markers on a long line, at positions that differ between methods."""
    first = 0.02 + 0.011 * list(LOOKS).index(method) if method in LOOKS else 0.0
    return {"marker": look(method).marker, "markersize": 4.5, "markevery": (first, 0.2)}
