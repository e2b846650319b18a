"""Styles: where the answer of steps and a stated confidence are found, and what "confidence" asks."""

# ruff: noqa: RUF001 - models write typographic signs

from __future__ import annotations

import dataclasses

import pytest

from extract.answers.content import Question
from extract.answers.job import reader
from extract.answers.request import requests_for, styles_of
from extract.answers.styles import answer_text, stated_percent, styled
from extract.answers.table import settings_of
from extract.datasets import get_dataset
from extract.sample import Sample
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError


@pytest.mark.parametrize(
    ("response", "percent"),
    [
        ("85", "85"), ("85%", "85"), ("I am 70 % sure.", "70"), ("90/100", "90"), ("0.85", "85"), ("0.5%", "0.5"),
        ("1", "1"), ("1.0", "100"), ("0", "0"), ("100", "100"), ("99.5 percent", "99.5"), ("70-80", "75"),
        ("101", ""),
        ("yes", ""), ("", ""), ("-5", ""), ("1,000", ""), ("8/10", "80"), ("9 out of 10", "90"),
        ("On a scale from 0 to 100, 85", "85"), ("12/10", ""), ("85, because", "85"),
        pytest.param("<think>maybe 20 or 30</think>95", "95", id="C22-thought"),
        pytest.param("Likelihood (0–100): 60", "60", id="C22-scale"), pytest.param(".85", "85", id="C22-point"),
        pytest.param("0,85", "85", id="C22-comma"),
        pytest.param("I think there are 3 apples, so 90", "90", id="C22-conclusion"),
        pytest.param("Between 80 and 90", "85", id="C22-range"), ("80–90%", "85"), ("from 80 to 90", "85"),
        ("ninety", "90"), ("eighty-five percent", "85"), ("[THINK]20[/THINK]95", "95"), ("<think>maybe 20", ""),
        ("**85**", "85"), ("\\boxed{85}", "85"), ("<answer>85</answer>", "85"),
        ('{"answer": 3, "confidence": 85}', "85"), ("Confidence: 85\n\nThere are 3 apples.", "85"),
        ("The image shows 2 cats and 3 dogs. 75", "75"), ("I am 90 sure the answer is 3", "90"),
        ("I'm 95% confident that there are 12 birds", "95"), ("85\n\nExplanation: 3 of 4 are red.", "85"),
        ("There are 3 apples. My confidence is 0.9", "90"), ("８５", "85"), ("85 out of 100", "85"),
        ("可能性为85%", "85"),
        ("On a scale of 1 to 10, 8", "80"), ("9 in 10", "90"), ("99,5", "99.5"), ("Likelihood: 1.0", "100"),
        ("0–100: 60", "60"), ("0 - 100 : 60", "60"), ("3 apples are shown, so 90", "90"),
        ("The proposed answer (5) is right: 90", "90"), ("85<|im_end|>", "85"), ("About 85", "85"), ("~85", "85"),
        ("85.", "85"), ("I'd say 85", "85"), ("The answer is 3 and I would say 80", "80"),
        ("50% of the circles are red, so 90%", "90"), ("Almost certain: 99", "99"),
        ("The likelihood is 95 because 3 of the 4 match", "95"), ("No one knows.", ""),
        ("The first option has 3 sides; the second has 4. I'd give it 60%.", "60"), ("0.8-0.9", "85"),
        ("from 0 to 100: 55", "55"), ("My answer: 85", "85"), ("Probability: .9 (3 of 4)", "90"), ("١٠٠", "100"),
        ("8 / 10", "80"), ("8/10, since 3 are red", "80"), ("100%", "100"), ("0%", "0"), ("150%", ""),
        ("It is 2nd; 40", "40"),
        # a colon without a space
        ("Confidence:95", "95"), ("Likelihood:95%", "95"), ("Likelihood：95", "95"), ("Answer:95", "95"),
        ("Probability:0.85", "85"), ('{"confidence":95}', "95"), ("置信度：85%", "85"), ("概率：95", "95"),
        ("Confidence:.85", "85"), ("Likelihood:95 out of 100", "95"), ("95: it matches", "95"),
        ("It is 12:30 in the image; 80", "80"), ('{"answer":"12:30","confidence":95}', "95"), ("12:30", ""),
        # scales, margins, ranges
        ("95 von 100", "95"), ("95 de 100", "95"), ("95 sur 100", "95"), ("95 of 100", "95"), ("3 in 4", "75"),
        ("8 on a 10-point scale", "80"), ("4 on a 5-point scale", "80"), ("8 on a scale of 10", "80"), ("75±5", "75"),
        ("75 ± 5%", "75"), ("75% +/- 5", "75"), ("60~70", "65"), ("60～70%", "65"), ("60 bis 70", "65"),
        ("a 3 in 4 chance", "75"), ("50/50", "50"), ("It is 50/50.", "50"), ("fifty-fifty", "50"), ("50-50", "50"),
        # a number as the last sentence or line
        ("1. The shape is red.\n2. It is round.\n\n95", "95"), ("1) Red.\n2) Round.\n95%", "95"),
        ("I am 100% sure that it's wrong. 0", "0"), ("5 dogs are visible so 5 is right: 99", "99"),
        ("The proposed answer, 12%, matches the chart. 95", "95"), ("There is a 10% chance of an error.\n90", "90"),
        ("2010-2012 was seen. 75", "75"), ("Option No. 5 is 90% likely", "90"), ("95\n\nThere are 5", "95"),
        ("85. The shape has 3 sides", "85"), ("1. Red.\n2. Round.\nConfidence: 95", "95"),
    ],
)  # fmt: skip
def test_stated_percent(response, percent):
    assert stated_percent(response) == percent


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        pytest.param("I see it.\n**Answer**: red", "red", id="C21-1"),
        pytest.param("*Answer*: red", "red", id="C21-2"), pytest.param("### Answer\nred", "red", id="C21-3"),
        pytest.param("Answer:\nred", "red", id="C21-4"), pytest.param("Answer：red", "red", id="C21-5"),
        pytest.param("Answer: \\boxed{red}", "red", id="C21-6"), pytest.param("Answer: `red`", "red", id="C21-7"),
        pytest.param("Answer: [red]", "red", id="C21-8"), ("**Answer:** red", "red"), ("**Answer: red**", "red"),
        ("First\nAnswer: red", "red"), ("Answer: blue? No.\n**Final answer:** red\n", "red"),
        ("answer:\n", "answer:"),
        ("no such line", "no such line"), ("Step 1. x\n\nFinal Answer: **red**", "red"),
        ("## Final Answer\n\nred", "red"), ("__Answer__: red", "red"), ("Answer - red", "red"),
        ("Answer = red", "red"), ("ANSWER: red", "red"), ("Answer : red", "red"), ("Answer:red", "red"),
        ("- **Answer**: red", "red"), ("> Answer: red", "red"), ("So the final answer is red.", "red."),
        ("<think>Answer: blue</think>Answer: red", "red"), ("Answer: red</s>", "red"), ("Answer: <red>", "red"),
        ("Answer: {red}", "red"), ("Answer: (red)", "red"), ("Answer: \"red\"", "red"), ("Answer: “red”", "red"),
        ("Answer: $\\text{red}$", "red"), ("Answer: \\text{red}", "red"), ("<answer>red</answer>", "red"),
        ("It is.\n<|begin_of_box|>red<|end_of_box|>", "red"), ("Thus \\boxed{red}", "red"),
        ("Answer: [1, 2]", "[1, 2]"), ("Answer: 5 < 6", "5 < 6"), ("Answer: (B)", "(B)"),
        ("Answer: The answer is red.", "red."), ('{"answer": "red"}', "red"),
        ("Answer: red\nI hope it helps.", "red"),
        ("```\nAnswer: red\n```", "red"), ("<b>Answer</b>: red", "red"), ("Answer —— red", "red"),
        ("Answer → red", "red"), ("The answer: red", "red"), ("My final answer: red", "red"),
        ("1. Look.\n2. Answer: red", "red"), ("Answer:  red  ", "red"), ("I looked. Answer: red", "red"),
        ("Answer (short): red", "red"), ("**Final Answer:**\n\n$$\\boxed{5}$$", "5"), ("答案：红色", "红色"),
        ("<think>never", ""),
    ],
)  # fmt: skip
def test_the_answer_at_the_end_of_steps(response, answer):
    assert answer_text("steps", response) == answer


def test_the_prompt_shows_question_and_answer():
    text = styled("confidence", "Is {answer} a {prompt}?", "no {prompt}")
    assert text.startswith("Is {answer} a {prompt}?\nProposed answer: no {prompt}\nHow likely")
    question = Question("s", "what?", ("data:1",), "a cat")
    (request,) = requests_for(question, AnswerSpec(ask="confidence"))
    assert "Proposed answer: a cat" in str(request.body["messages"])
    assert request.style == "confidence"
    other = dataclasses.replace(request, question=dataclasses.replace(question, answer="a dog"))
    assert request.key("here") != other.key("here")


def test_what_is_asked_is_in_the_settings():
    asked, plain = AnswerSpec(ask="confidence"), AnswerSpec()
    assert styles_of(asked) == ("confidence",)
    assert styles_of(plain) == ("direct",)
    assert styles_of(AnswerSpec(samples=2)) == ("direct", "steps")
    assert settings_of(asked, "s", "")["ask"] == "confidence"
    assert "ask" not in settings_of(plain, "s", "")  # left out when it has the default
    with pytest.raises(ReLopeError, match="takes one greedy answer"):
        AnswerSpec(ask="confidence", samples=2)
    with pytest.raises(ReLopeError, match=r"answers\.ask is 'confident'"):
        AnswerSpec(ask="confident")


@pytest.mark.parametrize(
    ("name", "choices", "response", "final"),
    [
        pytest.param("jsonl", (), "<think>Answer: blue</think>I see it.\n**Answer**: red", "red", id="C20-C21-jsonl"),
        pytest.param("easy_vqa", (), "<think>Answer: blue</think>I see it.\n### Answer\nred", "red", id="C20-easy-vqa"),
        ("scienceqa", ("blue", "red"), "Look.\nAnswer: (B)", "B"),
        ("scienceqa", ("blue", "red"), "So it is red, choice B.\nThe answer is what the picture shows.", "B"),
    ],
)
def test_steps_are_graded_by_what_they_announce_and_else_as_a_whole(name, choices, response, final):
    sample = Sample("s", "", "", "red", (), choices)
    read = reader(AnswerSpec(samples=1), get_dataset(name), store=None)
    assert read(sample, "steps", response) == (final, 1)


@pytest.mark.parametrize(
    "line",
    ["回答：red", "答案：red", "정답: red", "Réponse : red", "Respuesta: red", "Resposta: red", "Antwort: red",
     "Ответ: red", "Risposta: red", "La respuesta final: red", "Ans: red", "Final: red", "**Antwort:** red"],
)  # fmt: skip
def test_steps_end_in_an_answer_line_of_any_language(line):
    assert answer_text("steps", f"I look at it.\n{line}") == "red"
