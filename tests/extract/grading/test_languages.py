"""Short answers that are not in English: the only standalone letter."""

# ruff: noqa: RUF001 - other alphabets

from __future__ import annotations

import pytest

from extract.grading import choices
from extract.sample import Sample

ANIMALS = ("dog", "cat", "bird", "fish")
TEN = tuple(4 * letter for letter in "abcdefghij")
NAMES_B = [
    pytest.param("La respuesta es B", id="C23-spanish"), pytest.param("Die Antwort ist B", id="C23-german"),
    pytest.param("La réponse est B", id="C23-french"), pytest.param("A resposta é B", id="C23-portuguese"),
    pytest.param("Ответ B", id="C23-russian"), pytest.param("Jawabannya B", id="C23-indonesian"),
    pytest.param("الجواب B", id="C23-arabic"), pytest.param("उत्तर B है", id="C23-hindi"),
    pytest.param("答えはB", id="C23-japanese"), pytest.param("정답은 B입니다.", id="C23-korean"),
    pytest.param("正解はBです", id="C23-japanese-polite"),
    "La respuesta correcta es la B", "Creo que es B", "Es la B", "Die richtige Antwort ist B.",
    "Ich glaube, es ist B",
    "La bonne réponse est la B", "C'est B", "C'est la B", "A resposta correta é a letra B.", "Letra B", "Resposta B",
    "La risposta è B", "La risposta corretta è la B", "Het antwoord is B", "Svaret är B", "Svaret er B",
    "Vastaus on B",
    "Odpowiedź to B", "Odpovědí je B", "Správná odpověď je B", "A válasz B", "A helyes válasz a B.",
    "Răspunsul este B",
    "Η απάντηση είναι B", "Правильный ответ B", "Правильный ответ — B", "Ответ: В", "Это B", "Думаю, что B",
    "Відповідь B", "Jawabannya adalah B", "Jawaban yang benar adalah B.", "Cevap B", "Doğru cevap B",
    "Doğru cevap B'dir", "Cevap B şıkkıdır.", "Đáp án B", "Đáp án là B", "Câu trả lời là B", "คำตอบคือ B", "ตอบ B",
    "الإجابة هي B", "जवाब B", "सही उत्तर B है।", "উত্তর B", "பதில் B", "답은 B", "정답은 B번입니다", "정답 B",
    "답은 (B) 입니다", "B입니다", "B번", "答えはBです。", "Bです", "Bが正解です", "选B", "答案B", "答案是B",
    "应该选B", "我认为答案是B",
    "B选项", "B正确", "答案應該是B", "正確答案是 B", "答案为（B）", "התשובה היא B", "Atsakymas B", "Odgovor je B",
    "Opción B",
    "Opção B", "Antwort B", "Réponse B", "Risposta B", "B es correcta", "B ist richtig", "不是A，而是B", "Вариант B",
    "La respuesta es B. Porque el gato es pequeño.", "정답은 B입니다. 고양이이기 때문입니다.", "Ang sagot ay B",
    "پاسخ B است",
    "El animal es un gato.\n\nPor lo tanto, la respuesta correcta es B.", "Antwort: B", "정답: B", "Réponse : B",
]  # fmt: skip
NAMES_NONE = [
    "I think", "No es B", "Nicht B", "Не B", "不是B", "B ではない", "A la derecha", "Vitamin C", "Project A",
    "Plan B",
    "Hepatitis B", "Type B blood", "It contains vitamin C", "Tiene vitamina C", "点C在圆上", "B y C", "B oder C",
    "A o B",
    "A B C", "La respuesta es A o B", "El triángulo ABC", "I see a horse", "A horse", "A vaca", "O cavalo",
    "C'est un cheval",
    "E um cavalo", "Point C", "Group B", "Grade A", "Class A", "Uses plan B", "É um cavalo", "정답은 B가 아닙니다",
    "答案不是B",
    "We see C", "Let me see C", "정답은 E입니다", "La respuesta es Z",
]  # fmt: skip


@pytest.mark.parametrize("response", NAMES_B)
def test_the_letter_of_a_short_answer(response):
    assert choices.final_answer(Sample("s", "", "", "B", (), ANIMALS), response) == "B"


@pytest.mark.parametrize("response", NAMES_NONE)
def test_words_negations_and_pairs_name_no_letter(response):
    assert choices.final_answer(Sample("s", "", "", "B", (), ANIMALS), response) == ""


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("답은 (I) 입니다", "I"),
        ("정답은 I입니다", "I"),
        ("La respuesta es I", "I"),
        ("I think so", ""),
        ("答えはJです", "J"),
    ],
)
def test_ten_choices(response, letter):
    assert choices.final_answer(Sample("s", "", "", "I", (), TEN), response) == letter


@pytest.mark.parametrize(
    "response",
    ["B는 오답", "Bは間違い", "B错误", "B是错的", "B değil", "B 아님", "B неверно", "B est faux", "B ist falsch",
     "B é errada", "B salah", "B yanlış", "B es incorrecta", "B è sbagliata", "B jest błędne", "B fel",
     "Ответ B неверен", "Вариант B ошибочен", "A alternativa B está incorreta", "A resposta B é errada"],
)  # fmt: skip
def test_a_letter_that_is_called_wrong_is_no_answer(response):
    assert not choices.grade(Sample("s", "", "", "B", (), ("dog", "cat", "bird", "fish")), response)


def test_a_unit_is_no_letter():
    sample = Sample("s", "", "", "C", (), ("perro", "gato", "casa", "pez"))
    assert not choices.grade(sample, "Die Temperatur ist 5 °C")
    assert choices.grade(sample, "Die Antwort ist C")
