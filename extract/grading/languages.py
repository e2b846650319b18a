"""The letter of a choice in a short answer that is not in English: "La respuesta es B", "정답은 B입니다"."""

# ruff: noqa: RUF001 - models write typographic signs, in many alphabets

from __future__ import annotations

import re

_LONGEST = 120  # characters
# A capital that stands alone; letters of other alphabets may touch it, as in "正解はBです".
_LETTER = re.compile(
    r"(?<![A-Za-z0-9_À-ɏ'\\$^(=+*/-])(?<![A-Z], )([A-Z])"
    r"(?![A-Za-z0-9_À-ɏ^(]|'(?![dt][iıuü]r\b)|\s*[=+*/^]|-\w)"
)
_COPULAS = r"(?:es|ist|est|é|è|är|er|is|jest|to|je|adalah|este|e'|sono)\b"
_WORD = re.compile(rf"\s+(?!{_COPULAS})[a-zß-ɏ]")  # after the article or the conjunction A, E, I, O, U, Y
_ENGLISH = re.compile(
    r"\b(?:the|of|it|this|that|these|and|or|not|than|are|was|were|has|have|had|which|there|with|from|for|its|as|at|by|an?"
    r"|be|we|let|you|your|our|they|can|see|get|find|if|then|where|when|what|how|all|any|each|uses?|given|since|because|but)\b"
)
_NEGATION_ELSEWHERE = r"不|没|沒|非|ない|ません|아니|아닌|아닙|않|ليس|ليست|غير|नहीं|না|ไม่|לא"
_NEGATION = re.compile(
    r"\b(?:no|not|non|nicht|kein\w*|pas|ne|n'|não|nao|nem|не|нет|ни|nie|nej|inte|ikke|ei|nem|değil|tidak|bukan|không|hindi)\b"
    rf"|{_NEGATION_ELSEWHERE}",
    re.IGNORECASE,
)
_REJECTION = re.compile(_NEGATION_ELSEWHERE)
# Words for "answer", "correct", "option" and "letter", without their endings.
_ANSWER = re.compile(
    r"\b(?:respuesta|correct|opcion|reponse|bonne|antwort|richtig|resposta|alternativa|certa|risposta|giusta|opzione"
    r"|antwoord|svar|riktig|rigtig|vastaus|vastus|oikea|odpow|poprawn|odpov|spravn|valasz|helyes|raspuns|jawab|benar"
    r"|pilihan|cevap|dogru|secenek|sagot|tamang?|jibu|javob|cavab|odgovor|atsakym|atbild|letra|lettera|lettre|buchstabe"
    r"|letter|harf|huruf)\w*",
    re.IGNORECASE,
)
# What takes a letter as its own name.
_NAMED = re.compile(
    r"(?:点|點|점|角|각|线|線|선|边|辺|변|面|圆|円|ビタミン|维生素|維生素|비타민|точк\w*|уг\w*л\w*|витамин\w*|فيتامين|विटामिन"
    r"|vitamin\w*|hepatit\w*|punt\w|point|punkt\w*|áng\w*|winkel\w*)\s*$",
    re.IGNORECASE,
)


def rejects(text: str) -> bool:
    """Whether a text in another alphabet says that something is not so: "B ではない"."""
    return _REJECTION.search(text) is not None


def lone_letter(text: str) -> str:
    """The one capital that stands alone in a short text of another language; "" where there is none, or several.

    English is left to the rules of naming.py: there "Project A" and "vitamin C" name no choice.
    """
    text = text.strip()
    if len(text) > _LONGEST or _NEGATION.search(text):
        return ""
    found = [match for match in _LETTER.finditer(text) if not (match[1] in "AEIOUY" and _WORD.match(text, match.end()))]
    if len({match[1] for match in found}) != 1:
        return ""
    before = text[: found[0].start()]
    return found[0][1] if not _NAMED.search(before) and _is_foreign(text, before) else ""


def _is_foreign(text: str, before: str) -> bool:
    """Whether a text with a lone letter is a short answer in another language, by its letters and its words."""
    letters = [character for character in text if character.isalpha()]
    other_alphabets = sum(character > "ɏ" for character in letters)
    if other_alphabets >= 2 and 2 * other_alphabets >= len(letters) - 1:
        return True
    if _ENGLISH.search(text.lower()) and not any(character > "z" for character in letters):
        return False
    words = re.findall(r"[^\W\d_]+", before)
    return (
        any(character > "z" for character in letters)
        or _ANSWER.search(text) is not None
        or (len(words) >= 2 and len(words[-1]) <= 3)
    )
