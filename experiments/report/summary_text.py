"""The findings of a run as sentences. "Better" means significant in a paired test after Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.runs.tested import RoutedSplit
from relope_jax.methods import BLIND, METHODS, SANITY
from relope_jax.metrics.constants import SAME, Operating, best_operating_point, constant_warning
from relope_jax.metrics.intervals import Units, few_warning
from relope_jax.metrics.paired import PairedDifference

SHARE = 0.2  # of queries, used in sentences
MOST_PAIRS = 12  # if there are more, the summary only has pairs with the best or the question-only router
Summary = dict[str, Any]


class Findings(NamedTuple):
    """Sentences: warnings, findings, and comparisons without significant difference."""

    warnings: list[str]
    found: list[str]
    open: list[str]


def findings(summary: Summary, split: RoutedSplit) -> Findings:
    """The summary at the top of a report."""
    best = best_router(summary)
    told = differences_of(summary)
    if len(told) > MOST_PAIRS:
        told = [d for d in told if best in (d.first, d.second) or d.second == BLIND]
    found = [f"{best_sentence(summary, best)} {routed_sentence(summary, split, best)}", *better_sentences(told)]
    return Findings(warnings(summary, split), found, open_sentences(told))


def routers(summary: Summary) -> list[str]:
    """The methods except sanity rows; all methods if a run has only sanity rows."""
    return [name for name in summary["methods"] if name not in SANITY] or list(summary["methods"])


def best_router(summary: Summary) -> str:
    """The router with the highest AUC."""
    return max(routers(summary), key=lambda name: summary["methods"][name]["auc"])


def differences_of(summary: Summary) -> list[PairedDifference]:
    """The paired differences, with the question-only router always as `second`. All code reads them from here, so that
    the order of `config.methods` does not matter."""
    return [found.flipped() if found.first == BLIND else found for found in summary["differences"]]


def title(method: str) -> str:
    """The name of a method in tables."""
    return METHODS[method].title


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def best_sentence(summary: Summary, best: str) -> str:
    """A sentence on the router with the highest AUC."""
    row = summary["methods"][best]
    return (
        f"{title(best)} has the highest AUC: {row['auc']:.3f}, 95% interval {row['auc_low']:.3f} to "
        f"{row['auc_high']:.3f} (a random router has 0.5)."
    )


def routed_sentence(summary: Summary, split: RoutedSplit, best: str) -> str:
    """A sentence on the effect of routing with the best router."""
    row = summary["methods"][best]
    if split.large is None:
        return (
            f"The {SHARE:.0%} of queries with its lowest scores include {row['caught_20']:.0%} of all wrong answers"
            f" (random: {SHARE:.0%}). The effect of routing on system accuracy is unknown, because there are no answers"
            " of a large model for the whole test split."
        )
    small, large = split.labels.mean(), split.large.mean()
    curve = split.deferral(best).mean(axis=0)
    at = float(curve[round(SHARE * (len(curve) - 1))])
    text = (
        f"With the {SHARE:.0%} of queries with its lowest scores sent to the large model, system accuracy is "
        f"{at:.1%} (random routing: {small + SHARE * (large - small):.1%}; small model alone: {small:.1%}; "
        f"large model alone: {large:.1%})."
    )
    if large > small and row["cpt_50"] is not None and row["cpt_80"] is not None:
        text += (
            f" Routing {row['cpt_50']:.0%} of queries recovers half of the gap between the models; routing "
            f"{row['cpt_80']:.0%} recovers 80% of it."
        )
    return text


def better_sentences(differences: Sequence[PairedDifference]) -> list[str]:
    """Sentences on significant differences."""
    ahead = [d if d.is_better else d.flipped() for d in differences if d.is_significant]
    pairs = [(d.first, d.second) for d in ahead]
    return [f"Significantly higher AUC: {text}." for text in grouped(pairs, "than")]


def open_sentences(differences: Sequence[PairedDifference]) -> list[str]:
    """Sentences on comparisons without significant difference."""
    pairs = [(d.first, d.second) for d in differences if not d.is_significant]
    return [f"No significant difference: {text}." for text in grouped(pairs, "against")]


def grouped(pairs: Sequence[tuple[str, str]], word: str) -> list[str]:
    """`a than b and c`: pairs as few phrases, grouped."""
    seconds: dict[str, list[str]] = {}
    for first, second in pairs:
        seconds.setdefault(first, []).append(title(second))
    firsts: dict[str, list[str]] = {}
    for first, others in seconds.items():
        firsts.setdefault(listed(others), []).append(title(first))
    return [f"{listed(names)} {word} {others}" for others, names in firsts.items()]


def difference_text(d: PairedDifference) -> str:
    """A paired comparison in one line."""
    verdict = "better" if d.is_better else "worse" if d.is_significant else "no significant difference"
    return (
        f"{title(d.first)} - {title(d.second)}: AUC {d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}], "
        f"p = {d.p:.2g}, after Holm {d.p_holm:.2g}: {verdict}"
    )


def warnings(summary: Summary, split: RoutedSplit) -> list[str]:
    """Warnings that these routers may not be useful."""
    texts = (few_answers_warning(summary), blind_warning(summary), *constant_warnings(summary, split))
    return [text for text in texts if text]


def few_answers_warning(summary: Summary) -> str | None:
    """A warning if there are too few right or wrong answers for accurate intervals."""
    return few_warning(Units(**summary["units"]))


def blind_warning(summary: Summary) -> str | None:
    """A warning if no router beats the question-only router."""
    tests = [d for d in differences_of(summary) if d.second == BLIND and d.first not in SANITY]
    if not tests or any(d.is_better for d in tests):
        return None
    blind = summary["methods"][BLIND]["auc"]
    return (
        f"No router is significantly better than the question-only one (AUC {blind:.3f}), which sees neither the image "
        "nor the small model: these results show no benefit of hidden states or answers."
    )


def constant_warnings(summary: Summary, split: RoutedSplit) -> list[str | None]:
    """Warnings about constant decisions that are as good as the routers."""
    known = routers(summary)
    if split.large is not None:
        return [_system_warning(known, split)]
    constant = max(split.labels.mean(), 1 - split.labels.mean())
    beaten = [name for name in known if summary["methods"][name]["accuracy"] <= constant + SAME]
    if not beaten:
        return [None]
    always = "right" if split.labels.mean() >= 0.5 else "wrong"
    return [
        f"Always predicting '{always}' is correct for {constant:.1%} of the test answers, and "
        f"{listed([title(name) for name in beaten])} {'is' if len(beaten) == 1 else 'are'} not more accurate at score "
        "0.5: use the ranking of the scores, and set the threshold on validation data."
    ]


def _system_warning(known: Sequence[str], split: RoutedSplit) -> str | None:
    points = {title(name): best_operating_point(split.deferral(name).mean(axis=0)) for name in known}
    always = {"always-small": split.labels, "always-large": split.known_large}
    text = constant_warning(points, {name: Operating(float(right.mean())) for name, right in always.items()})
    return f"{text[0].upper()}{text[1:]}." if text else None
