"""The likelihood that a model states, in percent."""

from __future__ import annotations

import re
from typing import NamedTuple

from extract.grading.reading.reading import readable
from extract.grading.reading.words import in_digits

_N = r"(?:\d+(?:\.\d+|,\d{1,2}(?!\d))?|0,\d+|\.\d+)"  # "85", "99.5", "0,85", ".85"
# The question's own words, "a number from 0 to 100", and a scale that the model states.
_SCALE = re.compile(
    r"(?:between|from)?\s*(?<![\d.,])[01]\s*%?\s*(?:to|through|and|-+|\.{2,})\s*(?:100(?![\d.])|1(?![\d.%]))\s*%?"
    r"|scale\s+(?:of|from|between)?\s*(?:[01]\s*(?:to|through|and|-+)\s*)?(?P<top>5|10)\b"
    r"|(?P<points>[1-9]\d{0,2})[- ]point\s+scale\b",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"(?<![\w.,/-])(?:(?P<between>between)\s+)?(?P<low>{_N})\s*%?\s*(?P<sign>-+|~|to|or|and|bis|à)\s*(?P<high>{_N})(?![\d/])",
    re.IGNORECASE,
)
# Not a time of day, date, code or ordinal; "95 of 100" in other languages, and "3 in 4"
_NUMBER = re.compile(
    rf"(?<![A-Za-z\d.,-])(?<!\d:)(?P<number>{_N})(?!\d|:\d|[.,]\d|(?:st|nd|rd|th)\b)"
    r"(?:\s*(?:/|out\s+of\b|in(?=\s+\d{1,3}\b)|(?:of|von|de|sur|su|van|av|af|z|из|dari)(?=\s+10+\b))\s*(?P<whole>[1-9]\d*)|(?P<percent>\s*(?:%|per\s?cent\b|pct\b)))?",
    re.IGNORECASE,
)
_EVEN = re.compile(r"(?<![\d.,])50\s*[/:-]\s*50(?!\d|[.,]\d)|\bfifty[- ]fifty\b", re.IGNORECASE)  # "50/50"
_MARGIN = re.compile(rf"(?<=[\d%])\s*(?:±|\+/?-|plus or minus)\s*{_N}")  # "75 ± 5"
_LIST = re.compile(r"^\W*1[.)]\s.*^\W*2[.)]\s", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^(\W*)\d{1,2}[.)]\s+(?=[^\W\d])", re.MULTILINE)
# What precedes and follows the number that is the reply.
_NAMED = re.compile(
    r"(?:confiden(?:ce|t)|likelihood|likely|probability|chances?|certain(?:ty)?|odds|scores?|ratings?|estimate[ds]?"
    r"|probabilidad|probabilité|wahrscheinlichkeit|confianza|confiance|可能性|概率|置信度|信心|确率|確率|확률|вероятность"
    r"|^\W*(?:final\s+)?answer\s*[:=])(?:(?!\bthat\b)[^\d\n.;]){0,40}$",
    re.IGNORECASE | re.MULTILINE,
)
_CONCLUDED = re.compile(
    r"\b(?:so|thus|hence|therefore|overall|finally|(?:'d|would|will|to)\s+(?:say|go|give|put|rate|estimate))\b[^\d.;]{0,40}$",
    re.IGNORECASE,
)
_LAST_SENTENCE = re.compile(
    r"(?:\n|(?<!approx)(?<!\bno)[.!?](?=\s)|[。;])\s*(?:(?:about|around|approximately|roughly)\s+)?\W*\Z", re.IGNORECASE
)
_SURE = re.compile(r"\s*(?:sure|certain|confiden\w+|likel\w+|chance|probab\w+)", re.IGNORECASE)
_OPENING = re.compile(
    r"\W*(?:(?:about|around|approximately|approx\.?|roughly|maybe|probably|nearly|almost)\W+)*\Z", re.IGNORECASE
)
_AFTER_REPLY = re.compile(r"\s*(?:\Z|[.,;:!()\n]|-(?!\d)|because\b|since\b|as\b)|" + _SURE.pattern, re.IGNORECASE)


class _Stated(NamedTuple):
    percent: float
    before: str
    after: str
    marked: bool  # with a percent sign, or as "8 out of 10"


def stated_percent(response: str) -> str:
    """The likelihood stated in a reply to "confidence", in percent; "" when there is none or it is above 100.

    Of several numbers, in this order: the one that the reply begins with, one that is its whole last sentence, the
    last that is called a likelihood or concluded ("so 90"), the last with a percent sign, the last. A range becomes its
    middle. A fraction of 1 with a decimal point, such as 0.85, is read as a probability; 8/10 and "8 out of 10" are 80.
    """
    text = readable(response).replace("<answer>", " ").replace("</answer>", " ")
    numbers = _numbers(text)
    if not numbers:  # "ninety percent"; "one" in a sentence is not a number
        numbers = [number for number in _numbers(in_digits(text.lower())) if _is_reply(number)]
    if not numbers:
        return ""
    percent = _chosen(numbers).percent
    return f"{percent:.10g}" if percent <= 100 else ""


def _chosen(numbers: list[_Stated]) -> _Stated:
    first = numbers[0]
    if len(numbers) == 1 or _is_reply(first):
        return first
    if _is_last_sentence(numbers[-1]):
        return numbers[-1]
    possible = [number for number in numbers if number.percent <= 100] or numbers
    said = [number for number in possible if _is_said_to_be_likelihood(number)]
    return (said or [number for number in possible if number.marked] or possible)[-1]


def _is_reply(number: _Stated) -> bool:
    """Whether the reply begins with this number and the number does not count something."""
    counts = r"\s*of\b" if number.marked else rf"(?!{_AFTER_REPLY.pattern})"
    return bool(_OPENING.match(number.before)) and not re.match(counts, number.after, re.IGNORECASE)


def _is_last_sentence(number: _Stated) -> bool:
    """Whether the reply ends with a sentence or a line that is only this number."""
    return not re.search(r"\w", number.after) and _LAST_SENTENCE.search(number.before[-80:]) is not None


def _is_said_to_be_likelihood(number: _Stated) -> bool:
    """Whether the words around the number call it a likelihood or conclude it: "so 90", but not "so 5 is right"."""
    concluded = _CONCLUDED.search(number.before) and _AFTER_REPLY.match(number.after)
    return bool(_NAMED.search(number.before) or concluded or _SURE.match(number.after))


def _numbers(text: str) -> list[_Stated]:
    """All numbers of a text, in percent."""
    text = _MARGIN.sub("", _EVEN.sub("50", _ITEM.sub(r"\1", text) if _LIST.search(text) else text))
    tops = [match["top"] or match["points"] for match in _SCALE.finditer(text)]
    scale = next((float(top) for top in tops if top), None)
    text = _RANGE.sub(_middle, _SCALE.sub(" ", text))
    return [
        _Stated(
            _percent(match, scale), text[: match.start()], text[match.end() :], bool(match["whole"] or match["percent"])
        )
        for match in _NUMBER.finditer(text[:4000])
    ]


def _percent(match: re.Match[str], scale: float | None) -> float:
    written = match["number"].replace(",", ".")
    value = float(written)
    if match["whole"]:
        return value * 100 / int(match["whole"])
    if match["percent"]:
        return value
    if "." in written and value <= 1:
        return value * 100
    return value * 100 / scale if scale and value <= scale else value


def _middle(match: re.Match[str]) -> str:
    """The middle of "80-90" and of "between 80 and 90"; other pairs of numbers are unchanged."""
    low, high = (float(match[name].replace(",", ".")) for name in ("low", "high"))
    if low >= high or high > 100 or (match["sign"].lower() == "and" and not match["between"]):
        return match[0]
    middle = (low + high) / 2
    return f"{middle:.4f}" if high <= 1 else f"{middle:.10g}"
