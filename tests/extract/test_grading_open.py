"""Open questions: the number, expression or words that responses in the styles of many models settle on."""

from __future__ import annotations

import pytest

from extract.grading import mathvision, mmmu
from extract.sample import Sample

NUMBERS = [
    # direct
    ("60", "60"), ("60", "60."), ("60", "$60$"), ("60", "60 cm"), ("60", "60°"), ("60", "sixty"), ("24", "twenty-four"), ("6", "Six"), ("6", "six."),
    ("60", "$60^\\circ$"), ("60", "x = 60"), ("\\frac{3}{4}", "3/4"), ("\\frac{3}{4}", "$\\dfrac{3}{4}$"), ("13", "x^2 + y^2 = 13"),
    # announced
    ("60", "The answer is 60."), ("60", "Answer: 60"), ("60", "**Answer:** 60 cm"), ("60", "**Answer:** $60$"),
    ("60", "Therefore, the answer is $\\boxed{60}$."), ("60", "\\[ \\boxed{60^\\circ} \\]"), ("60", "\\boxed{x = 60}"),
    ("60", "The final answer is: $\\boxed{60}$. I hope it is correct."), ("60", "### Final Answer\n\n$$60$$"),
    ("60", "Final Answer:\n\\[\n60 \\text{ cm}^2\n\\]"), ("\\frac{3}{4}", "Final answer: $\\frac{3}{4}$"), ("60", "#### 60"),
    ("60", "<think>it is 59, the answer is 59</think>The area is 60."), ("60", "<answer>60</answer>"), ("60", "答案是60。"),
    ("60", '{"answer": 60}'), ("60", '```json\n{"reasoning": "3 times 20", "answer": "60 cm"}\n```'), ("60", "答案：60"),
    ("\\frac{3}{4}", '{"answer": "\\\\frac{3}{4}"}'), ("60", "The answer is 60 because 3 * 20 = 60."), ("60", "Answer: 60 (3 times 20)"),
    ("60", "The answer is 60, where r = 3."), ("60", "The correct answer is 60 square units."), ("60", "The answer: 60!"),
    ("60", "So the final answer is\n\n$$\n60.\n$$"), ("60", "The answer is not 50 but 60."), ("60", "Answer = 60"),
    ("60", "The answer is 50. Wait, I forgot a side. So the answer is 60."), ("60", "\\boxed{50} is wrong, so \\boxed{60}."),
    ("12\\pi", "The area is $\\boxed{12\\pi \\approx 37.7}$."), ("12\\pi", "The answer is approximately 37.70 square units."),
    ("12\\pi", "Answer: $A = 12\\pi \\approx 37.68$"), ("2\\sqrt{3}-2", "\\boxed{2(\\sqrt{3}-1)}"), ("(3,-4)", "\\boxed{(3,-4)}"),
    ("1:2", "The ratio a:b is \\boxed{1:2}."), ("3.5", "\\boxed{3 \\frac{1}{2}}"), ("12000", "The answer is 12,000 dollars."),
    ("$\\boxed{\\frac{3}{4}}$", "Answer: 0.75"), ("C", "The answer is C."), ("C", "(C)"), ("C", "\\boxed{C}"), ("20", "\\boxed{20\\%}"),
    ("8\\sqrt{3}{squareinches}", "\\boxed{8\\sqrt{3}} square inches"), ("525/2", "The answer is 262.5."), ("60", "**60**"),
    # sentences
    ("60", "? should be replaced with 60."), ("60", "There are 60 different ways."), ("60", "So there are 60 in total."),
    ("60", "The measure of angle 3 is 60 degrees."), ("60", "Adding the sides, we get 10 + 20 + 30 = 60 cm."),
    ("60", "The sides are 10 and 20.\nThe perimeter equals $60$ cm."), ("60", "Thus x = 60.\n\nHope this helps!"),
    ("60", "Thus, it takes 3 men 60 days."), ("6", "There are six triangles in the picture."), ("-5", "The value of y is -5."),
    ("60", "In <image1>, the number is 60."), ("60", "The area is 3 × 20 = 60 cm²."), ("0.5", "The probability is .5"),
]  # fmt: skip
NOT_60 = [
    "", " ", "I cannot see the image.", "Sorry, the image with 60 is unclear.", "61", "6", "600", "160", "60.5", "-60", "1/60",
    "The answer is 61, not 60.", "60, no: the answer is 59.", "The answer is 59. (60 would be too many.)", "A", "<image60>",
    "The answer is not 60.", "image60", "\\boxed{59}", "x60", "(60, 61)", "60 and 61", "\\boxed{60x}", "60%%%60", "sixteen",
]  # fmt: skip


@pytest.mark.parametrize("grader", [mathvision, mmmu])
@pytest.mark.parametrize(("reference", "response"), NUMBERS)
def test_right(grader, reference, response):
    sample = Sample("s", "", "", reference)
    assert grader.grade(sample, response)
    assert grader.final_answer(sample, response) != ""
    assert not grader.grade(Sample("s", "", "", "71"), response)


@pytest.mark.parametrize("grader", [mathvision, mmmu])
@pytest.mark.parametrize("response", NOT_60)
def test_wrong(grader, response):
    assert not grader.grade(Sample("s", "", "", "60"), response)


@pytest.mark.parametrize(
    ("references", "response", "right"),
    [
        (("Transformation",), "Transformation", True), (("Transformation",), "bacterial transformation", True),
        (("Transformation",), "The answer is transformation.", True), (("Transformation",), "conjugation", False),
        (("Transformation",), "It is not transformation.", False), (("Transformation",), "", False),
        (("Transformation",), "At first it looks like transformation.\nThe process is conjugation.", False),
        (("$MgS$", "MgS"), "MgS", True), (("$MgS$", "MgS"), "The compound is $MgS$.", True), (("$MgS$",), "\\boxed{\\text{MgS}}", True),
        (("Tampa", "Florida"), "Tampa, Florida", True), (("embryonic",), "Embryonic stage", True),
        (("C",), "C", True), (("C",), "Step c", True), (("A",), "A cell", True), (("A",), "This is a cell", False), (("C",), "Right", False),
        (("24/7", "3.429"), "24/7 ft/s", True), (("24/7", "3.429"), "3.43", True), (("24/7", "3.429"), "3.5", False),
        (("2000000",), "$2,000,000", True), (("2000000",), "2 million", True), (("-120",), "-120°", True), (("8.4",), "8.40 V", True),
        (("24.32",), "24.31", False), (("0.286",), "28.6%", True), (("0.9965",), "1", False), (("0.9965",), "0.997", True),
        (("10",), "The current is 10 A.", True), (("60",), "The total comes to $60.00 in all.", True), (("0.3",), "Answer: 0.30 kW", True),
        (("30.0",), "30", True), (("trans-1-Chloro-4-methylcyclohexane",), "Trans", False), (("1/64",), "1/4", False), (("1.06",), "0", False),
    ],
)  # fmt: skip
def test_mmmu_open_questions(references, response, right):
    assert mmmu.grade(Sample("s", "", "", references[0], accepted=references[1:]), response) is right


def test_equal_answers_are_counted_together():
    responses = ["60", "The answer is 60 cm.", "\\boxed{60.0}", "So x = $60^\\circ$."]
    assert {mathvision.final_answer(Sample("s", "", "", "5"), response) for response in responses} == {"60"}
    words = ["Transformation", "The answer is transformation.", "transformation"]
    assert {mmmu.final_answer(Sample("s", "", "", "x-ray"), response) for response in words} == {"transformation"}
