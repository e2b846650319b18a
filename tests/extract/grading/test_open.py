"""Open questions: the number, expression or words given by responses in the styles of many models."""

# ruff: noqa: RUF001 - models write typographic signs

from __future__ import annotations

import time

import pytest

from extract.grading import chartqa, mathvision, mmmu
from extract.sample import Sample

NUMBERS = [
    # direct
    ("60", "60"), ("60", "60."), ("60", "$60$"), ("60", "60 cm"), ("60", "60°"), ("60", "sixty"),
    ("24", "twenty-four"), ("6", "Six"), ("6", "six."), ("60", "$60^\\circ$"), ("60", "x = 60"),
    ("\\frac{3}{4}", "3/4"), ("\\frac{3}{4}", "$\\dfrac{3}{4}$"), ("13", "x^2 + y^2 = 13"),
    # announced
    ("60", "The answer is 60."), ("60", "Answer: 60"), ("60", "**Answer:** 60 cm"), ("60", "**Answer:** $60$"),
    ("60", "Therefore, the answer is $\\boxed{60}$."), ("60", "\\[ \\boxed{60^\\circ} \\]"),
    ("60", "\\boxed{x = 60}"), ("60", "The final answer is: $\\boxed{60}$. I hope it is correct."),
    ("60", "### Final Answer\n\n$$60$$"), ("60", "Final Answer:\n\\[\n60 \\text{ cm}^2\n\\]"),
    ("\\frac{3}{4}", "Final answer: $\\frac{3}{4}$"), ("60", "#### 60"),
    ("60", "<think>it is 59, the answer is 59</think>The area is 60."), ("60", "<answer>60</answer>"),
    ("60", "答案是60。"), ("60", '{"answer": 60}'),
    ("60", '```json\n{"reasoning": "3 times 20", "answer": "60 cm"}\n```'), ("60", "答案：60"),
    ("\\frac{3}{4}", '{"answer": "\\\\frac{3}{4}"}'), ("60", "The answer is 60 because 3 * 20 = 60."),
    ("60", "Answer: 60 (3 times 20)"), ("60", "The answer is 60, where r = 3."),
    ("60", "The correct answer is 60 square units."), ("60", "The answer: 60!"),
    ("60", "So the final answer is\n\n$$\n60.\n$$"), ("60", "The answer is not 50 but 60."), ("60", "Answer = 60"),
    ("60", "The answer is 50. Wait, I forgot a side. So the answer is 60."),
    ("60", "\\boxed{50} is wrong, so \\boxed{60}."), ("12\\pi", "The area is $\\boxed{12\\pi \\approx 37.7}$."),
    ("12\\pi", "The answer is approximately 37.70 square units."), ("12\\pi", "Answer: $A = 12\\pi \\approx 37.68$"),
    ("2\\sqrt{3}-2", "\\boxed{2(\\sqrt{3}-1)}"), ("(3,-4)", "\\boxed{(3,-4)}"),
    ("1:2", "The ratio a:b is \\boxed{1:2}."), ("3.5", "\\boxed{3 \\frac{1}{2}}"),
    ("12000", "The answer is 12,000 dollars."), ("$\\boxed{\\frac{3}{4}}$", "Answer: 0.75"),
    ("C", "The answer is C."), ("C", "(C)"), ("C", "\\boxed{C}"), ("20", "\\boxed{20\\%}"),
    ("8\\sqrt{3}{squareinches}", "\\boxed{8\\sqrt{3}} square inches"), ("525/2", "The answer is 262.5."),
    ("60", "**60**"),
    # sentences
    ("60", "? should be replaced with 60."), ("60", "There are 60 different ways."),
    ("60", "So there are 60 in total."), ("60", "The measure of angle 3 is 60 degrees."),
    ("60", "Adding the sides, we get 10 + 20 + 30 = 60 cm."),
    ("60", "The sides are 10 and 20.\nThe perimeter equals $60$ cm."), ("60", "Thus x = 60.\n\nHope this helps!"),
    ("60", "Thus, it takes 3 men 60 days."), ("6", "There are six triangles in the picture."),
    ("-5", "The value of y is -5."), ("60", "In <image1>, the number is 60."),
    ("60", "The area is 3 × 20 = 60 cm²."), ("0.5", "The probability is .5"),
    # more styles, references of MathVision
    ("15", "The total number of cubes is 15."), ("15", "We have $3 \\times 5 = 15$ cubes."),
    ("15", "Therefore, there are $\\boxed{15}$ cubes in total."),
    ("15", "Thus, the final answer is: \\( \\boxed{15} \\)."), ("15", "So, the number is 15.\n\n**Answer: 15**"),
    ("15", "**15**"), ("15", "The answer is $15$ cm$^2$."), ("15", "15 \\, \\text{cm}^2"),
    ("15", "\\boxed{15 \\text{ cm}^2}"), ("15", "\\boxed{15\\ \\mathrm{cm^2}}"),
    ("15", "\\boxed{15 \\text{ square units}}"), ("15", "\\boxed{\\text{15 cm}}"), ("15", "\\boxed{\\mathbf{15}}"),
    ("15", "Hence the value of $x$ is $\\boxed{x=15^\\circ}$."), ("15", "$$\\boxed{15}$$"), ("15", "\\fbox{15}"),
    ("15", "The answer is \\( 15 \\)."), ("15", "$\\angle ABC = 15^\\circ$"), ("15", "∠ABC = 15°"),
    ("15", "the angle is 15 deg"), ("\\frac{3}{4}", "\\boxed{\\dfrac{3}{4}}"),
    ("\\frac{3}{4}", "The probability is $\\frac{3}{4}$."), ("\\frac{3}{4}", "The probability is 3/4 or 75%."),
    ("\\frac{3}{4}", "0.75"), ("\\frac{3}{4}", "75%"), ("\\frac{3}{4}", "The answer is three-fourths, or 3/4."),
    ("\\frac{3}{4}\\pi{inches}", "\\boxed{\\frac{3\\pi}{4}} inches"), ("525/2", "\\boxed{\\frac{525}{2}}"),
    ("55/2", "27.5 square units"), ("1250\\pi", "The volume is $1250\\pi$ cubic units."),
    ("1250\\pi", "$1250\\pi \\approx 3926.99$"), ("1250\\pi", "3926.99"),
    ("27000-4500\\pi", "\\boxed{27000 - 4500\\pi}"), ("22+12\\sqrt{2}", "\\boxed{22 + 12\\sqrt{2}}"),
    ("22+12\\sqrt{2}", "The perimeter is 2(11+6√2)."), ("96\\pi+120", "\\boxed{24(4\\pi + 5)}"),
    ("5+\\sqrt{19}", "5 + √19"), ("$\\frac{3 \\sqrt{6}}{2}$", "\\frac{3}{2}\\sqrt{6}"),
    ("$\\frac{7^3}{2^{12} 13^2}$", "\\boxed{\\frac{343}{692224}}"), ("$\\frac{90}{23}^{\\circ}$", "\\frac{90}{23}"),
    ("$\\pi-2$", "π − 2"), ("$4-2 \\sqrt{3}$", "\\boxed{2(2-\\sqrt{3})}"), ("45^2", "2025"),
    ("1:2", "\\boxed{\\frac{1}{2}}"), ("1:2", "The ratio is 1 to 2, i.e. 1:2."), ("(3,-4)", "(3,-4)"),
    ("(3,-4)", "The coordinates are $(3,-4)$."), ("(3,-4)", "The answer is (3, -4)."), ("(3,-4)", "C = (3,-4)"),
    ("10", "Since each has 5 we need 5+5 = 10 of them."), ("10", "x = 10 or so"), ("10", "10 (ten)"), ("10", "Ten."),
    ("10", "The answer is ten."), ("10", "It's 10."), ("10", "It takes 10 minutes"), ("100", "100%"),
    ("6", "x_1 = 6"), ("2", "The answer is two (2)."), ("30", "Answer: 30 mph"), ("4.5", "4 1/2"),
    ("4.5", "\\frac{9}{2}"), ("4.5", "four and a half, 4.5"),
    ("7", "The smallest number of marbles is 7, since 6 is not enough."), ("7", "We need at least 7."),
    ("1000", "1,000"), ("1000", "10^3"), ("-3", "-3"), ("-3", "The slope is $-3$."), ("-3", "y = -3"),
    ("-3", "Answer: $-3$"), ("-3", "Answer: -3"), ("-3", "The answer is -3."), ("-3", "\\boxed{-3}"),
    ("-3", "minus 3"), ("8", "\\boxed{8}\n\nThis is because 4 + 4 = 8 and 9 is too large."),
    ("8", "**Step 1:** 3 rows.\n**Step 2:** 5 more.\n\n**Conclusion:** 8"),
    ("8", "So the total = 3 + 5 = 8 squares."), ("8", "Result: 8"), ("8", "The correct value is 8"),
    ("8", "The solution is 8."), ("8", "Thus, $n = 8$."), ("8", "The total is 3 + 5 = **8**."),
    ("8", '{"answer": "8"}'), ("8", '{"final_answer": 8}'), ("8", "```\n8\n```"), ("8", "答案是 8 。"),
    ("8", "所以答案为\\boxed{8}。"), ("8", "因此，正确答案是：8"), ("8", "共有8个。"), ("24", "4! = 24"),
    ("24", "The number of ways is $4! = 24$."), ("120", "5!=120 ways"), ("62.8", "62.8 square cm"),
    ("62.8", "$20\\pi \\approx 62.8$"), ("14.6", "14.6"), ("2.37", "about 2.37"), ("4.0", "4"), ("8.0", "8 units"),
    ("11 ", "11"),
]  # fmt: skip
NOT_60 = [
    "", " ", "I cannot see the image.", "Sorry, the image with 60 is unclear.", "61", "6", "600", "160", "60.5",
    "-60", "1/60", "The answer is 61, not 60.", "60, no: the answer is 59.",
    "The answer is 59. (60 would be too many.)", "A", "<image60>", "The answer is not 60.", "image60", "\\boxed{59}",
    "x60", "(60, 61)", "60 and 61", "\\boxed{60x}", "60%%%60", "sixteen",
]  # fmt: skip
OTHERS = [
    ("15", "The answer is 16, not 15."), ("15", "151"), ("15", "1.5"), ("15", "15/2"), ("15", "\\frac{15}{2}"),
    ("15", "15\\sqrt{2}"), ("15", "15\\pi"), ("15", "x15"), ("15", "-15"), ("15", "Between 15 and 16"),
    ("15", "15 or 16"), ("15", "15, 16"), ("15", "I can't see 15."), ("15", "15x"), ("15", "2^15"), ("3/4", "3"),
    ("3/4", "4/3"), ("3/4", "0.7"), ("3/4", "34"), ("2\\pi", "2"), ("1:2", "2:1"), ("(3,-4)", "(3,4)"),
    ("(3,-4)", "-4"), ("100", "1"), ("0.5", "5%"), ("5", "5%5"),
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


@pytest.mark.parametrize(("reference", "response"), OTHERS)
def test_another_number_is_wrong(reference, response):
    assert not mathvision.grade(Sample("s", "", "", reference), response)


@pytest.mark.parametrize(
    ("references", "response", "right"),
    [
        (("Transformation",), "Transformation", True), (("Transformation",), "bacterial transformation", True),
        (("Transformation",), "The answer is transformation.", True), (("Transformation",), "conjugation", False),
        (("Transformation",), "It is not transformation.", False), (("Transformation",), "", False),
        (("Transformation",), "At first it looks like transformation.\nThe process is conjugation.", False),
        (("$MgS$", "MgS"), "MgS", True), (("$MgS$", "MgS"), "The compound is $MgS$.", True),
        (("$MgS$",), "\\boxed{\\text{MgS}}", True), (("Tampa", "Florida"), "Tampa, Florida", True),
        (("embryonic",), "Embryonic stage", True), (("C",), "C", True), (("C",), "Step c", True),
        (("A",), "A cell", True), (("A",), "This is a cell", False), (("C",), "Right", False),
        (("24/7", "3.429"), "24/7 ft/s", True), (("24/7", "3.429"), "3.43", True), (("24/7", "3.429"), "3.5", False),
        (("2000000",), "$2,000,000", True), (("2000000",), "2 million", True), (("-120",), "-120°", True),
        (("8.4",), "8.40 V", True), (("24.32",), "24.31", False), (("0.286",), "28.6%", True),
        (("0.9965",), "1", False), (("0.9965",), "0.997", True), (("10",), "The current is 10 A.", True),
        (("60",), "The total comes to $60.00 in all.", True), (("0.3",), "Answer: 0.30 kW", True),
        (("30.0",), "30", True), (("trans-1-Chloro-4-methylcyclohexane",), "Trans", False),
        (("1/64",), "1/4", False), (("1.06",), "0", False),
    ],
)  # fmt: skip
def test_mmmu_open_questions(references, response, right):
    assert mmmu.grade(Sample("s", "", "", references[0], accepted=references[1:]), response) is right


def test_equal_answers_are_counted_together():
    responses = ["60", "The answer is 60 cm.", "\\boxed{60.0}", "So x = $60^\\circ$."]
    assert {mathvision.final_answer(Sample("s", "", "", "5"), response) for response in responses} == {"60"}
    words = ["Transformation", "The answer is transformation.", "transformation"]
    assert {mmmu.final_answer(Sample("s", "", "", "x-ray"), response) for response in words} == {"transformation"}


@pytest.mark.parametrize(
    "loop",
    ["\n", " ", "a ", "\\boxed{", "the answer is not ", "(", "1,", "C. ", "B is ", "\\ ", "answer:\n", "{", "5%", "2^"],
)
@pytest.mark.parametrize("options", [(), ("10 cm", "11 cm", "a dog")])
def test_a_response_that_loops_is_graded_quickly(loop, options):
    sample = Sample("s", "", "", "A" if options else "60", (), options)
    start = time.perf_counter()
    assert not mathvision.grade(sample, loop * (20_000 // len(loop)))
    assert time.perf_counter() - start < 3


FIRST = [
    pytest.param("18\n\nExplanation: there are 20 in total.", id="C27-paragraph"),
    pytest.param("18\nThere are 20 circles.", id="C27-line"),
    pytest.param("18. There are 20 circles and 2 are red.", id="C27-sentence"),
    "18 circles\n\nThere are 20 circles in the picture and 2 are red.", "18 cm. The side is 20 minus 2.",
    "**18**\n\nThe total is 20 circles.", "$18$\n\nThe number of circles is 20.", "18 (there are 20 in total)",
    "18, because 20 minus 2.", "18 because 20 - 2 = 18", "18 - there are 20 circles",
    "\\(18\\)\n\nWe counted 20 circles.",
    "Eighteen\n\nThere are 20 circles.", "18\n\n解释：一共有20个圆。", "18.\n\nReason: 20 circles minus 2.",
    pytest.param("18\n\n**Explanation:**\n1. Count 20\n2. Subtract 2", id="C27-list"),
    pytest.param("18\nReason: 20 total", id="C27-reason"), pytest.param("18; there are 20 in all", id="C27-semicolon"),
    pytest.param("18。一共有20个圆。", id="C27-chinese"), pytest.param("18 (20 minus 2)", id="C27-brackets"),
    "18 (10 plus 8)", "18 cm (20 cm minus 2 cm)", "18\n\nBecause there are 20 circles.", "18: there are 20 circles",
    "18\n\n**Reasoning**: 20 circles, 2 of which are red.", "18。总共20个，红色2个。", "18，因为一共有20个圆。",
    "18\n\nReason:\n- 20 total\n- 2 red", "18\n\nStep 1: there are 20.\nStep 2: 2 are red.",
    "18\n\nThere are 20 circles, so 2 of them are red.", "18\n\nExplanation: 20 minus 2 gives 18.",
    "18!\nThere are 20 circles.", "18 triangles, 3 of them small", "18.0\n\nExplanation: there are 20 in total.",
]  # fmt: skip
LAST = [
    "20\nTherefore 20 - 2 = 18",
    "20 circles minus 2 is 18",
    "x = 20\ny = 2\nThe difference is 18.",
    "20 + 2 = 22\nThe result minus 4 equals 18.",
    "20 circles.\nSo 18",
    "2 circles are red, so 18",
    "20\n18",
    "16\n\n17\n\n18\n\nThe number 18 comes next, so 18.",
    "10 red, 8 blue, so 18",
    "1. There are 20 circles.\n2. Two are red.\n3. The rest is 18.",
]


@pytest.mark.parametrize("grader", [mathvision, mmmu, chartqa])
@pytest.mark.parametrize("response", FIRST + LAST)
def test_a_number_before_its_explanation_or_after_its_steps(grader, response):
    assert grader.grade(Sample("s", "", "", "18"), response)
    assert not grader.grade(Sample("s", "", "", "71"), response)


@pytest.mark.parametrize("grader", [mathvision, mmmu])
@pytest.mark.parametrize(
    "response",
    [
        "10 V.\nAdding the 2 V source gives 12 V.",
        "2 cm.\nThe area of the shape is then 12 square centimetres.",
        "3\nrows times 4 columns makes 12 cells.",
        "10 V\nTogether with the 2 V source this comes to 12 V.",
        "3 m.\nThe volume equals 12 cubic metres.",
        "20.\nSubtracting 8 leaves 12.",
        "6\n6 * 2 = 12",
        "5\nThe rows are 3 and the columns 4, which makes 12.",
        "8 apples\nAdd 4, thus twelve.",
        "10 cm.\nThe sum is therefore 12 cm.",
    ],
)
def test_a_later_result_outdoes_a_given_value_on_the_first_line(grader, response):
    assert grader.grade(Sample("s", "", "", "12"), response)


@pytest.mark.parametrize("grader", [mathvision, mmmu])
def test_brackets_are_a_factor_unless_they_hold_the_same_value(grader):
    assert grader.grade(Sample("s", "", "", "18"), "18 (20 - 2)")
    assert grader.grade(Sample("s", "", "", "18"), "The total is 18 (20 minus 2).")
    assert grader.grade(Sample("s", "", "", "18"), "2 (10 - 1)")


@pytest.mark.parametrize("grader", [mmmu, chartqa])
@pytest.mark.parametrize(
    "response",
    [
        "Sure!\nThe country is Germany.",
        "Okay, let's see.\nThe country shown here is Germany.",
        "This is a map.\nThe marked country must be Germany.",
        "Okay.\nIt is Germany.",
        "Hello!\nIt is Germany.",
        "Map analysis\nThe country is Germany.",
        "Looking at the map.\nIt shows Germany.",
        "Let me see.\nIt is Germany.",
        "Map overview\nThe marked country is Germany.",
        "Step 1\nThe country is Germany.",
        "Great question!\n\nThe country is Germany.",
        "European countries.\nIt is Germany.",
        "Interesting map.\nThe country is clearly Germany.",
        "A map of Europe\nThe red country is Germany.",
        "Yes, of course!\nThe country is Germany.",
    ],
)
def test_a_greeting_a_heading_or_a_sentence_before_the_answer_is_none(grader, response):
    assert grader.grade(Sample("s", "", "", "Germany"), response)


def test_words_named_at_the_end_outdo_a_heading():
    assert mmmu.grade(Sample("s", "", "", "Baroque"), "Style analysis\nThe light makes it Baroque.")


@pytest.mark.parametrize("grader", [mmmu, chartqa])
@pytest.mark.parametrize(
    "response",
    [
        "Yes.\nThe blue bar is at 12.",
        "Yes\n\nThe blue bar is higher.",
        "Yes, it is. The blue bar is at 12.",
        "No other bar matters.\nYes, it is.",
        "So we compare.\nYes, it is higher.",
        "No line is above.\nSo yes.",
    ],
)
def test_yes_before_its_explanation_or_at_the_end(grader, response):
    assert grader.grade(Sample("s", "", "", "Yes"), response)
    assert not grader.grade(Sample("s", "", "", "No"), response)


@pytest.mark.parametrize("grader", [mmmu, chartqa])
@pytest.mark.parametrize(
    "response",
    [
        "Germany\n\nExplanation: France is lower.",
        "Germany.\nIt lies above France.",
        "Germany\n\nBecause its bar is higher than France's.",
        "Germany\nReason: France is lower",
        "Germany\n\nGermany is higher than France.",
        "**Germany**\n\nExplanation:\nThe bar of France is lower.",
        "Germany\n\nThis is because France is lower.",
    ],
)
def test_words_before_their_explanation(grader, response):
    assert grader.grade(Sample("s", "", "", "Germany"), response)
    assert not grader.grade(Sample("s", "", "", "France"), response)
