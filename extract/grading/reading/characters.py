"""Normalises the characters of a text: Unicode NFKC, but powers, fractions and signs are kept.

Responses, references and choices all pass through `unified`, so that texts that look alike compare as equal.
"""

# ruff: noqa: RUF001, RUF003 - the table of typographic signs

from __future__ import annotations

import functools
import re
import unicodedata

from extract.text import without_surrogates

_SIGNS = {
    "'": "‘’‚‛ʼ′‵´‹›", '"': "“”„‟«»″‶「」『』〝〞", "-": "‐‑‒–−➖⁃", "+": "➕", "[": "【〔⟦", "]": "】〕⟧",
    "<": "⟨〈", ">": "⟩〉", ",": "،、", ";": "؛", "?": "؟", ".": "۔।٫", "%": "٪", ":": "∶", "°": "º˚", "/": "⁄∕",
    "a": "ª", "\n": "\u2028\u2029\u0085",
}  # fmt: skip
_TABLE: dict[int, str | None] = {ord(sign): plain_sign for plain_sign, signs in _SIGNS.items() for sign in signs}
_TABLE[ord("٬")] = ","  # thousands separator
_TABLE |= {0x1F170 + i: chr(ord("A") + i) for i in range(26)}  # the emoji A, B, ...
_TABLE |= dict.fromkeys([*range(0xFE00, 0xFE10), 0x20E3])  # variation selectors and the frame of an emoji
_TABLE |= dict.fromkeys(code for code in range(32) if chr(code) not in "\t\n\f")  # the form feed is read by `plain`
_TABLE[ord("\r")] = "\n"
_SQUARED_UNITS = {  # "㎡", "㎤": the base letters and a superscript
    code: "".join(chr(int(part, 16)) for part in unicodedata.decomposition(chr(code)).split()[1:])
    for code in range(0x3371, 0x33E0)
}
_SUPERSCRIPTS, _SUBSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "₀₁₂₃₄₅₆₇₈₉"
_STACKED = re.compile(rf"(\d?)([{_SUPERSCRIPTS}]+)[⁄/]([{_SUBSCRIPTS}]+)")  # "¹⁄₂"
_POWER = re.compile(rf"([{_SUPERSCRIPTS}]+)(\d?)")
_BASE = re.compile(rf"(?<=log)([{_SUBSCRIPTS}]+)")
_DEGREE = re.compile(rf"(?<=\d\d)⁰(?![{_SUPERSCRIPTS}])")  # "30⁰"
_FRACTION = re.compile(r"(\w?)([¼-¾⅐-⅞↉])")
_EM_DASH = re.compile(r"(?<=\d)[—―](?=\d)|([—―]+)")
# Capitals of other alphabets that look like A, B, C, E, H, ... and stand alone, as the letter of a choice does.
_LOOKALIKES = dict(zip("АВСЕНКМОРТХΑΒΕΗΙΚΜΝΟΡΤΧΖ", "ABCEHKMOPTXABEHIKMNOPTXZ", strict=True))
_LOOKALIKE = re.compile(rf"(?<!\w)[{''.join(_LOOKALIKES)}](?!\w|\s+\w)")
_NUMERALS = {sign: str(value) for value, sign in enumerate("〇一二三四五六七八九十")}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_CACHED = 500  # characters: references and choices recur with every response


def unified(text: str) -> str:
    """The text in one form: NFKC; ASCII quotation marks, dashes and digits; no invisible characters.

    "x²" becomes "x^2", "H₂O" becomes "H2O" and "3½" becomes "3 1/2", so values are kept. Lone surrogates become U+FFFD.
    """
    if text.isascii():
        return text if text.isprintable() else text.replace("\r\n", "\n").translate(_TABLE)
    return _cached(text) if len(text) <= _CACHED else _unified(text)


def _unified(text: str) -> str:
    if numeral := _NUMERALS.get(text.strip().rstrip("。.")):  # only alone: "五月" is May
        return numeral
    text = without_surrogates(text).replace("\r\n", "\n").translate(_SQUARED_UNITS)
    text = _DEGREE.sub("°", text)
    text = _STACKED.sub(lambda match: f"{match[1]}{' ' * bool(match[1])}{_nfkc(match[2])}/{_nfkc(match[3])}", text)
    text = _POWER.sub(lambda match: f"^{{{_nfkc(match[1])}}}{match[2]}" if match[2] else f"^{_nfkc(match[1])}", text)
    text = _BASE.sub(lambda match: f"_{{{_nfkc(match[1])}}}", text)
    text = _FRACTION.sub(lambda match: f"{match[1]}{' ' * bool(match[1])}{_nfkc(match[2])}", text)
    text = _EM_DASH.sub(lambda match: " - " if match[1] else "-", text)
    text = _NOT_ASCII.sub(_character, _nfkc(text.translate(_TABLE)))
    return _LOOKALIKE.sub(lambda match: _LOOKALIKES[match[0]], text)


_cached = functools.lru_cache(maxsize=10_000)(_unified)


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_TABLE)


def _character(match: re.Match[str]) -> str:
    """The ASCII digit for a digit of any script; "" for an invisible character such as a zero-width space."""
    category = unicodedata.category(match[0])
    if category == "Nd":
        return str(unicodedata.digit(match[0]))
    return "" if category == "Cf" else match[0]
