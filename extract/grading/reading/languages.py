"""Finds the letter of a choice in a short answer that is not in English: "La respuesta es B", "정답은 B입니다"."""

# ruff: noqa: RUF001 - models write typographic signs, in many alphabets

from __future__ import annotations

import re

_LONGEST = 120  # characters
# A capital that stands alone; letters of other alphabets may touch it, as in "正解はBです". "5 °C" and "5 A" are units.
_LETTER = re.compile(
    r"(?<![A-Za-z0-9_À-ɏ'\\$^(=+*/°-])(?<![A-Z], )(?<!° )(?!(?<=\d )[ACFGHJKLMNSTVW])([A-Z])"
    r"(?![A-Za-z0-9_À-ɏ^(]|'(?![dt][iıuü]r\b)|\s*[=+*/^]|-\w)"
)
_COPULAS = r"(?:es|ist|est|é|è|är|er|is|jest|to|je|adalah|este|e'|sono)\b"
_WORD = re.compile(rf"\s+(?!{_COPULAS})[a-zß-ɏ]")  # after the article or the conjunction A, E, I, O, U, Y
_ENGLISH = re.compile(
    r"\b(?:the|of|it|this|that|these|and|or|not|than|are|was|were|has|have|had|which|there|with|from|for|its|as|at|by|an?"
    r"|be|we|let|you|your|our|they|can|see|get|find|if|then|where|when|what|how|all|any|each|uses?|given|since|because|but)\b"
)
_NEGATION_ELSEWHERE = r"不|没|沒|非|ない|ません|아니|아닌|아닙|아님|않|ليس|ليست|غير|नहीं|না|ไม่|לא"
_NEGATION = re.compile(
    r"\b(?:no|not|non|nicht|kein\w*|pas|ne|n'|não|nao|nem|не|нет|ни|nie|nej|inte|ikke|ei|nem|değil|tidak|bukan|không|hindi)\b"
    rf"|{_NEGATION_ELSEWHERE}",
    re.IGNORECASE,
)
_REJECTION = re.compile(_NEGATION_ELSEWHERE)
# What may come between a letter and the word that rejects it.
_BETWEEN = (
    r"\W{0,3}(?:(?:es|est|est[áà]|ist|[éèe]|är|er|is|jest|to|je|on|adalah|este|sono|são|la|el|une?|una|uma|eine?|die|das|der"
    r"|den|de|opci[oó]n|opção|option|opzione|r[ée]ponse|respuesta|resposta|risposta|antwort|odpowied[źz]|svar(?:et)?"
    r"|seçene[kğ]i?|şıkkı|cevabı?|ответ|вариант|это|είναι)\s+){0,4}"
)
_WRONG = (
    r"(?:incorrect[aeo]?s?|incorret[ao]|incorect\w*|fals[aeo]?|falsch\w*|falso|err[oó]ne[ao]|errad[ao]|errat[ao]|equivocad[ao]"
    r"|mal|faux|fausse|mauvaise?|erronée?|inkorrekt\w*|unrichtig|verkehrt|sbagliat[ao]|scorrett[ao]|fout|onjuist|verkeerd"
    r"|fel|felaktig\w*|forkert|feil|galt|väär\w+|błędn\w+|niepoprawn\w+|nieprawidłow\w+|fałszyw\w+|zł[aey]|špatn\w+"
    r"|nesprávn\w+|chybn\w+|helytelen|hibás|rossz|gre[șş]it\w*|yanl[ıi][şs]\w*|hatal[ıi]|değil\w*|salah|keliru|bukan|tidak|sai"
    r"|không|nicht|kein\w*|nem|nie|nej|inte|ikke|не|нет|невер(?:ен|н\w+)|неправил(?:ен|ьн\w+)|ошибоч(?:ен|н\w+)|невірн\w+|помилков\w+|λάθος"
    r"|λανθασμέν\w+|no\s+(?:es|era|est[áà])|non\s+è|não|n'est)(?!\w)"
)
_WRONG_ELSEWHERE = r"错|錯|误|誤|間違(?!い(?:な|あ))|오답|틀(?!림없)|خطأ|خاطئ|غلط|نادرست|اشتباه|गलत|ग़लत|ভুল|தவறு|ผิด|שגוי"
# "B ist falsch", "B选项错误"; the question may ask for the wrong statement, as in "La incorrecta es B"
_REJECTED = re.compile(
    rf"(?<![A-Za-z])[A-Z](?![A-Za-z])(?:{_BETWEEN}(?i:{_WRONG})|\W{{0,3}}[^A-Za-z.,;。、،\n]{{0,10}}?(?:{_WRONG_ELSEWHERE}))"
)
_CAPITAL = re.compile(r"(?<![A-Za-zÀ-ɏ'])[A-Z](?![A-Za-zÀ-ɏ'])")
# Words for "answer", "correct", "option" and "letter", without their endings.
_ANSWER = re.compile(
    r"\b(?:respuesta|correct|opcion|reponse|bonne|antwort|richtig|resposta|alternativa|certa|risposta|giusta|opzione"
    r"|antwoord|svar|riktig|rigtig|vastaus|vastus|oikea|odpow|poprawn|odpov|spravn|valasz|helyes|raspuns|jawab|benar"
    r"|pilihan|cevap|dogru|secenek|sagot|tamang?|jibu|javob|cavab|odgovor|atsakym|atbild|letra|lettera|lettre|buchstabe"
    r"|letter|harf|huruf)\w*",
    re.IGNORECASE,
)
# Words after which a letter is part of a name.
_NAMED = re.compile(
    r"(?:点|點|점|角|각|线|線|선|边|辺|변|面|圆|円|ビタミン|维生素|維生素|비타민|точк\w*|уг\w*л\w*|витамин\w*|فيتامين|विटामिन"
    r"|vitamin\w*|hepatit\w*|punt\w|point|punkt\w*|áng\w*|winkel\w*)\s*$",
    re.IGNORECASE,
)


def rejects(text: str) -> bool:
    """Whether a text in another language negates something: "B ではない", "B ist falsch"."""
    return _REJECTION.search(text) is not None or rejects_letter(text)


def rejects_letter(text: str) -> bool:
    """Whether a text names one letter and calls it wrong: "B est faux"; "B ist richtig, A falsch" names two."""
    named = {m[0] for m in _CAPITAL.finditer(text) if not (m[0] in "AEIOUY" and _WORD.match(text, m.end()))}
    return len(named) == 1 and _REJECTED.search(text) is not None


def lone_letter(text: str) -> str:
    """The only standalone capital in a short text in another language; "" when there is none or several.

    English is handled by naming.py: there "Project A" and "vitamin C" name no choice.
    """
    text = text.strip()
    if len(text) > _LONGEST or _NEGATION.search(text) or rejects_letter(text):
        return ""
    found = [match for match in _LETTER.finditer(text) if not (match[1] in "AEIOUY" and _WORD.match(text, match.end()))]
    if len({match[1] for match in found}) != 1:
        return ""
    before = text[: found[0].start()]
    return found[0][1] if not _NAMED.search(before) and _is_foreign(text, before) else ""


def _is_foreign(text: str, before: str) -> bool:
    """Whether a text with a lone letter is a short answer in another language, judged by its letters and words."""
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
