"""Stated confidence: what is asked, how replies are read, and the table that the small model in process makes."""

from __future__ import annotations

import dataclasses

import pytest

from extract.answers.content import Question
from extract.answers.request import requests_for, styles_of
from extract.answers.styles import stated_percent, styled
from extract.answers.table import settings_of
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError


@pytest.mark.parametrize(
    ("response", "percent"),
    [
        ("85", "85"), ("85%", "85"), ("I am 70 % sure.", "70"), ("90/100", "90"), ("0.85", "85"), ("0.5%", "0.5"),
        ("1", "1"), ("1.0", "100"), ("0", "0"), ("100", "100"), ("99.5 percent", "99.5"), ("70-80", "70"),
        ("101", ""), ("yes", ""), ("", ""), ("-5", ""), ("1,000", ""),
        ("8/10", "80"), ("9 out of 10", "90"), ("On a scale from 0 to 100, 85", "85"), ("12/10", ""),
        ("85, because", "85"),
    ],
)  # fmt: skip
def test_stated_percent(response, percent):
    assert stated_percent(response) == percent


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
    assert "ask" not in settings_of(plain, "s", "")  # tables from before there was a choice stay valid
    with pytest.raises(ReLopeError, match="takes one greedy answer"):
        AnswerSpec(ask="confidence", samples=2)
    with pytest.raises(ReLopeError, match=r"answers\.ask is 'confident'"):
        AnswerSpec(ask="confident")
