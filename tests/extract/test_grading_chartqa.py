"""ChartQA's relaxed accuracy on direct answers and on sentences."""

from __future__ import annotations

import pytest

from extract.grading import chartqa
from extract.sample import Sample


def grade(reference: str, response: str, *accepted: str) -> bool:
    return chartqa.grade(Sample("s", "", "", reference, accepted=accepted), response)


@pytest.mark.parametrize(
    ("reference", "response", "right"),
    [
        # the benchmark's rule
        ("100", "105", True), ("100", "95", True), ("100", "105.1", False), ("100", "94.9", False),
        ("-10", "-10.4", True), ("-10", "10", False), ("0", "0", True), ("0", "0.0", True), ("0", "0.01", False),
        ("0.25", "25%", True), ("25%", "25%", True), ("25%", "0.26", True), ("25%", "0.27", False),
        ("25%", "25", False), ("2010", "2009", True), ("Yes", "yes", True), ("Yes", "No", False),
        ("Blue", "blue", True), ("Blue", "dark blue", False), ("1e5", "100000", True),
        ("2009-2010", "2009-2010", True), ("2009-2010", "2009", False), ("", "", False),
        ("[3, 4]", "[3.1, 4]", True), ("[3, 4]", "[4, 3]", False), ("[3, 4]", "[3]", False),
        ("[Yes, No]", "[yes, no]", True), ("12", "", False), ("12", "12 13", False), ("inf", "inf", True),
        ("nan", "5", False), ("5", "nan", False),
        # notations that it does not read
        ("1234", "1,234", True), ("1,234", "1234", True), ("12.5", "$12.5", True), ("12.5", "12.5 million", True),
        ("12.5", "12.5.", True), ("Germany", "Germany.", True), ("United States", "The United States", True),
        ("[3, 4]", "The answer is [3, 4].", True), ("12.5", "**12.5**", True), ("-3", "\u22123", True),
        # sentences
        ("12.5", "The value is 12.5.", True), ("12.5", "The answer is 12.5 million people.", True),
        ("12.5%", "Answer: 12.5%", True), ("Yes", "Yes, the blue line is above the red one.", True),
        ("No", "The answer is no, since it fell in 2010.", True), ("Germany", "The answer is Germany.", True),
        ("Germany", "The country with the highest value is Germany.", True),
        ("6", "5 + 1 = 6.\n\nAnswer: **6**", True),
        ("5", "In 2010 it was 8 and in 2011 it was 3, so the difference is 5.", True), ("5", "\\boxed{5}", True),
        ("8", "In 2010 it was 8 and in 2011 it was 3, so the difference is 5.", False), ("5", '{"answer": 5}', True),
        ("Blue", "Answer: Blue (the highest bar)", True), ("14", "There are 14 bars.", True),
        ("Germany", "Not sure", False), ("5", "<think>The answer is 7.</think>5", True),
        ("18", "The total is 10 + 8 = 18.", True),
    ],
)  # fmt: skip
def test_relaxed_accuracy(reference, response, right):
    assert grade(reference, response) is right


def test_any_reference_is_right():
    assert grade("3", "four", "Four")
    assert not grade("3", "five", "Four")


@pytest.mark.parametrize(
    ("responses", "answer"),
    [
        (["12.5", "The value is 12.5.", "Answer: 12.50"], "12.5"),
        (["1,234", "1234", "The answer is $1,234."], "1234"),
        (["Yes", "yes.", "Yes, it is higher."], "yes"),
        (["Germany", "The answer is Germany."], "germany"),
        (["", " "], ""),
    ],
)
def test_final_answers_agree(responses, answer):
    assert {chartqa.final_answer(Sample("s", "", "", "1"), response) for response in responses} == {answer}
