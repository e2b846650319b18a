"""Multiple choice: the letter that responses in the styles of many models settle on."""

from __future__ import annotations

import pytest

from extract.grading import choices
from extract.sample import Sample

LENGTHS = ("10 cm", "11 cm", "12 cm", "13 cm", "110 cm")
ANIMALS = ("cat", "dog", "a big dog", "Both A and B", "none of the above")
DRAWN = ("A", "B", "C", "D", "E")
TEN = tuple(f"{10 * k} m" for k in range(1, 11))
VALUES = (r"$\frac{1}{2}$", r"$\frac{3}{4}$", r"$2 \sqrt{3}$", r"$6 \pi$", "$1: 4$")

SETTLED = [
    # direct
    ("C", LENGTHS, "C"), ("c", LENGTHS, "C"), ("(C)", LENGTHS, "C"), ("C.", LENGTHS, "C"), ("[C]", LENGTHS, "C"),
    ("C) 12 cm", LENGTHS, "C"), ("C: 12 cm", LENGTHS, "C"), ("12 cm", LENGTHS, "C"), ("12cm", LENGTHS, "C"),
    ("12", LENGTHS, "C"), ("**C**", LENGTHS, "C"), ("$\\text{(C)}$", LENGTHS, "C"), ("{C}", LENGTHS, "C"),
    ("C\n", LENGTHS, "C"), ("C</s>", LENGTHS, "C"), ("Option C", LENGTHS, "C"), ("`C`", LENGTHS, "C"),
    ("(C) 12 cm\n\nThe two sides measure 10 cm and 2 cm.", LENGTHS, "C"), ("**C. 12 cm**", LENGTHS, "C"),
    ("C. The length is 12 cm because A is too short.", LENGTHS, "C"), ("12 centimeters", LENGTHS, "C"),
    # announced
    ("The answer is C.", LENGTHS, "C"), ("Answer: C", LENGTHS, "C"), ("**Answer:** C", LENGTHS, "C"),
    ("**Answer: C**", LENGTHS, "C"), ("Answer: **C. 12 cm**", LENGTHS, "C"), ("### Answer\n\nC", LENGTHS, "C"),
    ("**Answer**\n(C)", LENGTHS, "C"), ("Answer: \\( C \\)", LENGTHS, "C"), ("Answer: \\(\\boxed{C}\\)", LENGTHS, "C"),
    ("Answer: $C$", LENGTHS, "C"), ("Answer: \\( \\text{C} \\)", LENGTHS, "C"), ("ANSWER: (c)", LENGTHS, "C"),
    ("So the length is $\\boxed{12}$ cm.", LENGTHS, "C"), ("\\boxed{\\text{C}}", LENGTHS, "C"),
    ("\\boxed{\\textbf{(C)}\\ 12 \\text{ cm}}", LENGTHS, "C"), ("\\boxed{\\text{Answer: } C}", LENGTHS, "C"),
    ("$\\boxed{\\mathrm{C}}$", LENGTHS, "C"), ("\\boxed{12\\,\\mathrm{cm}}", LENGTHS, "C"), ("\\boxed{C", LENGTHS, "C"),
    ("Therefore, the correct option is (C) 12 cm.", LENGTHS, "C"), ("The correct answer is option C.", LENGTHS, "C"),
    ("Thus, the correct choice is **C**: 12 cm.", LENGTHS, "C"), ("The best answer is: C", LENGTHS, "C"),
    ("Based on the image, the answer to the question is clearly C.", LENGTHS, "C"),
    ("The answer is 12 cm.", LENGTHS, "C"), ("The answer is approximately 12 cm, not 13 cm.", LENGTHS, "C"),
    ("Final Answer: The final answer is $\\boxed{C}$. I hope it is correct.", LENGTHS, "C"),
    ("The answer is:\n\n\\[\n\\boxed{C}\n\\]", LENGTHS, "C"), ("Answer:\n\nC", LENGTHS, "C"),
    ("<think>Maybe A? The answer is B.</think>\n\n<answer>C</answer>", LENGTHS, "C"), ("<answer> C </answer>", LENGTHS, "C"),
    ("<think>the answer is B</think>C", LENGTHS, "C"), ("<|begin_of_box|>C<|end_of_box|>", LENGTHS, "C"),
    ('{"answer": "C"}', LENGTHS, "C"), ('```json\n{"reasoning": "A is too short", "answer": "C"}\n```', LENGTHS, "C"),
    ('Here it is:\n{"reasoning": "the answer is A?", "final_answer": "C"}', LENGTHS, "C"),
    ('{"answer": "C", "explanation": "B is too short, so the answer B is wrong"}', LENGTHS, "C"),
    ("答案：C", LENGTHS, "C"), ("所以正确答案是C。", LENGTHS, "C"), ("故选：Ｃ", LENGTHS, "C"), ("因此选C", LENGTHS, "C"),
    ("I would choose C.", LENGTHS, "C"), ("I'd go with (C).", LENGTHS, "C"), ("We select option C", LENGTHS, "C"),
    ("My final answer is C", LENGTHS, "C"), ("My answer is C) 12 cm", LENGTHS, "C"), ("Answer - C", LENGTHS, "C"),
    ("Correct answer: C", LENGTHS, "C"), ("Correct option: C. 12 cm", LENGTHS, "C"), ("The answer should be C", LENGTHS, "C"),
    ("#### C", LENGTHS, "C"), ("The final answer is (C).", LENGTHS, "C"), ("The answer would be C, 12 cm.", LENGTHS, "C"),
    ("The answer is \"C\".", LENGTHS, "C"), ("The answer is 'C'", LENGTHS, "C"), ("The answer is C because A is short", LENGTHS, "C"),
    ("Hence, option C is correct.", LENGTHS, "C"), ("Option C (12 cm) is the right one.", LENGTHS, "C"),
    ("Option (C) is the best choice here.", LENGTHS, "C"), ("C is the correct answer.", LENGTHS, "C"),
    ("Option A is incorrect.\nOption B is not correct.\nOption C is correct.\nOption D is incorrect.", LENGTHS, "C"),
    ("That gives 12 cm, which corresponds to option C.", LENGTHS, "C"), ("This matches option (C).", LENGTHS, "C"),
    # the last word counts
    ("The answer is A. Wait, I misread the scale. The answer is C.", LENGTHS, "C"),
    ("The answer is not B but C.", LENGTHS, "C"), ("The answer is C, not B.", LENGTHS, "C"),
    ("The answer is C rather than B", LENGTHS, "C"), ("It is not A. It must be C.", LENGTHS, "C"),
    ("First I thought of (A), but the sides add up to 12 cm.", LENGTHS, "C"),
    ("A. 10 cm: too short\nB. 11 cm: too short\nC. 12 cm: fits\n\nThe answer is C.", LENGTHS, "C"),
    ("A. 10 cm\nB. 11 cm\nC. 12 cm\nD. 13 cm\n\nAnswer: C", LENGTHS, "C"),
    ("Let me compute: 10 + 2 = 12.\nSo the length is 12 cm.", LENGTHS, "C"), ("... hence C.", LENGTHS, "C"),
    ("We have 3 sides of 4 cm. Therefore the perimeter is 12 cm (C).", LENGTHS, "C"),
    ("The letter is hidden.\nSo we get C", DRAWN, "C"), ("Picture C shows it.", DRAWN, "C"), ("figure (c)", DRAWN, "C"),
    ("The answer is figure C.", DRAWN, "C"), ("The correct figure is C", DRAWN, "C"),
    # texts
    ("dog", ANIMALS, "B"), ("The dog.", ANIMALS, "B"), ("It is a dog.", ANIMALS, "B"), ("A big dog", ANIMALS, "C"),
    ("The answer is a dog.", ANIMALS, "B"), ("The answer is the big dog.", ANIMALS, "C"), ("A cat", ANIMALS, "A"),
    ("Both A and B", ANIMALS, "D"), ("The answer is both A and B.", ANIMALS, "D"), ("None of the above.", ANIMALS, "E"),
    ("The answer is none of the above", ANIMALS, "E"), ("D. Both A and B", ANIMALS, "D"), ("**dog**", ANIMALS, "B"),
    ("The animal in <image 1> is a cat.", ANIMALS, "A"), ("The image shows a dog, not a cat.", ANIMALS, "B"),
    ("A", ANIMALS, "A"), ("A.", ANIMALS, "A"), ("A because it purrs", ANIMALS, "A"), ("Answer: A", ANIMALS, "A"),
    # ten choices: I is a letter and a pronoun
    ("Answer: I", TEN, "I"), ("I. 90 m", TEN, "I"), ("I think the answer is J.", TEN, "J"), ("I", TEN, "I"),
    ("I believe it is 30 m.", TEN, "C"), ("Answer: I. 90 m", TEN, "I"), ("Answer: $F$", TEN, "F"), ("(J) 100 m", TEN, "J"),
    ("I would say 100 m", TEN, "J"), ("Answer: H (given the scale in the picture)", TEN, "H"),
    # values
    ("0.5", VALUES, "A"), ("1/2", VALUES, "A"), ("\\dfrac34", VALUES, "B"), ("$2\\sqrt3$", VALUES, "C"), ("6π", VALUES, "D"),
    ("The area is $A = \\pi r^2 = 6\\pi \\approx 18.85$", VALUES, "D"), ("1:4", VALUES, "E"), ("50%", VALUES, "A"),
    ("The ratio is 1 : 4.", VALUES, "E"), ("2*sqrt(3)", VALUES, "C"), ("75 %", VALUES, "B"), ("three quarters, B", VALUES, "B"),
]  # fmt: skip
UNSETTLED = [
    ("", LENGTHS), (" ", LENGTHS), ("?", LENGTHS), ("I cannot see the image.", LENGTHS), ("I'm sorry, I can't help.", TEN),
    ("Both A and B", LENGTHS), ("A or B", LENGTHS), ("Answer: A, E", LENGTHS), ("The answer is either C or D.", LENGTHS),
    ("A. 10 cm\nB. 11 cm\nC. 12 cm\nD. 13 cm", LENGTHS), ("(A) 10 cm (B) 11 cm (C) 12 cm (D) 13 cm", LENGTHS),
    ("A, b, c, d", DRAWN), ("A and e", DRAWN), ("Z", LENGTHS), ("F", LENGTHS), ("1012 cm", LENGTHS), ("-12 cm", LENGTHS),
    ("9 cm", LENGTHS), ("12.5 cm", LENGTHS), ("The answer is not B.", LENGTHS), ("The answer cannot be A.", LENGTHS),
    ("bird", ANIMALS), ("A big elephant", DRAWN), ("It is a triangle ABC.", DRAWN), ("<image2>", LENGTHS), ("image1", LENGTHS),
    ("As an AI language model, I do not see pictures", TEN), ("Option 2", DRAWN), ("I don't know.", TEN), ("2/3", VALUES),
    ("A or possibly B, it is hard to tell", LENGTHS),
]  # fmt: skip


@pytest.mark.parametrize(("response", "options", "letter"), SETTLED)
def test_settled(response, options, letter):
    sample = Sample("s", "", "", letter, (), options)
    assert choices.final_answer(sample, response) == letter
    assert choices.grade(sample, response)
    for other in set("ABCDEFGHIJ"[: len(options)]) - {letter}:
        assert not choices.grade(Sample("s", "", "", other, (), options), response)


@pytest.mark.parametrize(("response", "options"), UNSETTLED)
def test_unsettled(response, options):
    sample = Sample("s", "", "", "A", (), options)
    assert choices.final_answer(sample, response) == ""
    assert not choices.grade(sample, response)
