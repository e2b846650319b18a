"""Multiple choice: the letter given by responses in the styles of many models."""

# ruff: noqa: RUF001 - models write typographic signs

from __future__ import annotations

import pytest

from extract.grading import choices
from extract.sample import Sample

LENGTHS = ("10 cm", "11 cm", "12 cm", "13 cm", "110 cm")
ANIMALS = ("cat", "dog", "a big dog", "Both A and B", "none of the above")
DRAWN = ("A", "B", "C", "D", "E")
TEN = tuple(f"{10 * k} m" for k in range(1, 11))
VALUES = (r"$\frac{1}{2}$", r"$\frac{3}{4}$", r"$2 \sqrt{3}$", r"$6 \pi$", "$1: 4$")
CITIES = ("Paris", "Lyon", "Nice", "Not enough information")
YES_NO = ("Yes", "No")
MATTER = ("solid", "liquid", "gas")
ROMAN = ("I only", "II only", "I and II", "neither I nor II")
NUMBERS = ("1", "2", "3", "4", "5")
SENTENCES = ("The plant grows faster because of light.", "The plant dies.", "The water evaporates.", "Nothing happens")

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
    ("**Answer**\n(C)", LENGTHS, "C"), ("Answer: \\( C \\)", LENGTHS, "C"),
    ("Answer: \\(\\boxed{C}\\)", LENGTHS, "C"), ("Answer: $C$", LENGTHS, "C"),
    ("Answer: \\( \\text{C} \\)", LENGTHS, "C"), ("ANSWER: (c)", LENGTHS, "C"),
    ("So the length is $\\boxed{12}$ cm.", LENGTHS, "C"), ("\\boxed{\\text{C}}", LENGTHS, "C"),
    ("\\boxed{\\textbf{(C)}\\ 12 \\text{ cm}}", LENGTHS, "C"), ("\\boxed{\\text{Answer: } C}", LENGTHS, "C"),
    ("$\\boxed{\\mathrm{C}}$", LENGTHS, "C"), ("\\boxed{12\\,\\mathrm{cm}}", LENGTHS, "C"),
    ("\\boxed{C", LENGTHS, "C"), ("Therefore, the correct option is (C) 12 cm.", LENGTHS, "C"),
    ("The correct answer is option C.", LENGTHS, "C"), ("Thus, the correct choice is **C**: 12 cm.", LENGTHS, "C"),
    ("The best answer is: C", LENGTHS, "C"),
    ("Based on the image, the answer to the question is clearly C.", LENGTHS, "C"),
    ("The answer is 12 cm.", LENGTHS, "C"), ("The answer is approximately 12 cm, not 13 cm.", LENGTHS, "C"),
    ("Final Answer: The final answer is $\\boxed{C}$. I hope it is correct.", LENGTHS, "C"),
    ("The answer is:\n\n\\[\n\\boxed{C}\n\\]", LENGTHS, "C"), ("Answer:\n\nC", LENGTHS, "C"),
    ("<think>Maybe A? The answer is B.</think>\n\n<answer>C</answer>", LENGTHS, "C"),
    ("<answer> C </answer>", LENGTHS, "C"), ("<think>the answer is B</think>C", LENGTHS, "C"),
    ("<|begin_of_box|>C<|end_of_box|>", LENGTHS, "C"), ('{"answer": "C"}', LENGTHS, "C"),
    ('```json\n{"reasoning": "A is too short", "answer": "C"}\n```', LENGTHS, "C"),
    ('Here it is:\n{"reasoning": "the answer is A?", "final_answer": "C"}', LENGTHS, "C"),
    ('{"answer": "C", "explanation": "B is too short, so the answer B is wrong"}', LENGTHS, "C"),
    ("答案：C", LENGTHS, "C"), ("所以正确答案是C。", LENGTHS, "C"), ("故选：Ｃ", LENGTHS, "C"),
    ("因此选C", LENGTHS, "C"),
    ("I would choose C.", LENGTHS, "C"), ("I'd go with (C).", LENGTHS, "C"), ("We select option C", LENGTHS, "C"),
    ("My final answer is C", LENGTHS, "C"), ("My answer is C) 12 cm", LENGTHS, "C"), ("Answer - C", LENGTHS, "C"),
    ("Correct answer: C", LENGTHS, "C"), ("Correct option: C. 12 cm", LENGTHS, "C"),
    ("The answer should be C", LENGTHS, "C"), ("#### C", LENGTHS, "C"), ("The final answer is (C).", LENGTHS, "C"),
    ("The answer would be C, 12 cm.", LENGTHS, "C"), ("The answer is \"C\".", LENGTHS, "C"),
    ("The answer is 'C'", LENGTHS, "C"), ("The answer is C because A is short", LENGTHS, "C"),
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
    ("The letter is hidden.\nSo we get C", DRAWN, "C"), ("Picture C shows it.", DRAWN, "C"),
    ("figure (c)", DRAWN, "C"), ("The answer is figure C.", DRAWN, "C"), ("The correct figure is C", DRAWN, "C"),
    # texts
    ("dog", ANIMALS, "B"), ("The dog.", ANIMALS, "B"), ("It is a dog.", ANIMALS, "B"), ("A big dog", ANIMALS, "C"),
    ("The answer is a dog.", ANIMALS, "B"), ("The answer is the big dog.", ANIMALS, "C"), ("A cat", ANIMALS, "A"),
    ("Both A and B", ANIMALS, "D"), ("The answer is both A and B.", ANIMALS, "D"),
    ("None of the above.", ANIMALS, "E"), ("The answer is none of the above", ANIMALS, "E"),
    ("D. Both A and B", ANIMALS, "D"), ("**dog**", ANIMALS, "B"),
    ("The animal in <image 1> is a cat.", ANIMALS, "A"), ("The image shows a dog, not a cat.", ANIMALS, "B"),
    ("A", ANIMALS, "A"), ("A.", ANIMALS, "A"), ("A because it purrs", ANIMALS, "A"), ("Answer: A", ANIMALS, "A"),
    # ten choices: I is a letter and a pronoun
    ("Answer: I", TEN, "I"), ("I. 90 m", TEN, "I"), ("I think the answer is J.", TEN, "J"), ("I", TEN, "I"),
    ("I believe it is 30 m.", TEN, "C"), ("Answer: I. 90 m", TEN, "I"), ("Answer: $F$", TEN, "F"),
    ("(J) 100 m", TEN, "J"), ("I would say 100 m", TEN, "J"),
    ("Answer: H (given the scale in the picture)", TEN, "H"),
    # values
    ("0.5", VALUES, "A"), ("1/2", VALUES, "A"), ("\\dfrac34", VALUES, "B"), ("$2\\sqrt3$", VALUES, "C"),
    ("6π", VALUES, "D"), ("The area is $A = \\pi r^2 = 6\\pi \\approx 18.85$", VALUES, "D"), ("1:4", VALUES, "E"),
    ("50%", VALUES, "A"), ("The ratio is 1 : 4.", VALUES, "E"), ("2*sqrt(3)", VALUES, "C"), ("75 %", VALUES, "B"),
    ("three quarters, B", VALUES, "B"),
    # more styles, more kinds of choices
    ("*C*", LENGTHS, "C"), ("C\n\nC", LENGTHS, "C"), ("C C C", LENGTHS, "C"), ("Answer:C", LENGTHS, "C"),
    ("answer: c", LENGTHS, "C"), ("Ans: C", LENGTHS, "C"), ("Ans. C", LENGTHS, "C"), ("Choice C", LENGTHS, "C"),
    ("The length of the side is 12 cm, so the answer is:\n\nC) 12 cm", LENGTHS, "C"),
    ("AB = 5 cm, BC = 7 cm. Then AC = 12 cm.\n\nTherefore, the correct answer is **(C) 12 cm**.", LENGTHS, "C"),
    ("The total is 5 + 7 = 12 cm. So the correct option is C: 12 cm.\n\nLet me know if you need more!", LENGTHS, "C"),
    ("The answer is C.\n\nExplanation: Option A is too small. Option B is wrong, D is wrong.", LENGTHS, "C"),
    ("C\n\nExplanation: A is 10 cm, which is too short; B is not correct.", LENGTHS, "C"),
    ("Sure! The answer is C", LENGTHS, "C"), ("Based on the information given, I'd say it's C.", LENGTHS, "C"),
    ("It's C", LENGTHS, "C"), ("it is (c)", LENGTHS, "C"), ("I think it's C) 12 cm", LENGTHS, "C"),
    ("The correct answer is letter C", LENGTHS, "C"), ("The correct answer is (C)12 cm", LENGTHS, "C"),
    ("Correct Answer: (C)", LENGTHS, "C"), ("Answer: Option C", LENGTHS, "C"), ("Answer: Choice (C)", LENGTHS, "C"),
    ("Answer: The length is 12 cm", LENGTHS, "C"), ("Answer: The correct choice is C", LENGTHS, "C"),
    ("The answer to this question is option (C), 12 cm.", LENGTHS, "C"),
    ('The answer is option C: "12 cm".', LENGTHS, "C"), ("The answer is (C)\n", LENGTHS, "C"),
    ("So the answer is $\\boxed{\\text{(C) } 12 \\text{ cm}}$.", LENGTHS, "C"), ("\\boxed{C. 12 cm}", LENGTHS, "C"),
    ("\\boxed{\\text{C) 12 cm}}", LENGTHS, "C"), ("The answer is **C**, because 10 + 2 = 12.", LENGTHS, "C"),
    ("Final answer - C", LENGTHS, "C"), ("Final Answer → C", LENGTHS, "C"), ("=> C", LENGTHS, "C"),
    ("Answer => C", LENGTHS, "C"), ("Therefore, option C.", LENGTHS, "C"), ("Thus option (C) 12 cm", LENGTHS, "C"),
    ("which is choice (C).", LENGTHS, "C"), ("Choose C.", LENGTHS, "C"), ("Select C", LENGTHS, "C"),
    ("My choice: C", LENGTHS, "C"), ("I choose (C) because it fits", LENGTHS, "C"),
    ("The answer is A, no wait, it is C.", LENGTHS, "C"),
    ("Initially I thought the answer is A. However, the correct answer is C.", LENGTHS, "C"),
    ("Option A: 10 cm is too short.\nOption C: 12 cm is correct.\nOption D: 13 cm is too long.", LENGTHS, "C"),
    ("A) No\nB) No\nC) Yes, 12 cm\n\nSo the final answer is C", LENGTHS, "C"),
    ("Neither A nor B fits; the answer is C.", LENGTHS, "C"),
    ("The answer can't be A or B, so it must be C.", LENGTHS, "C"),
    ("It can't be A. It can't be B. So it's C.", LENGTHS, "C"),
    ("Eliminating A, B, D and E, we are left with C.", LENGTHS, "C"), ("Paris", CITIES, "A"),
    ("The capital is Paris.", CITIES, "A"),
    ("The city shown in the picture is Paris, the capital of France.", CITIES, "A"),
    ("Not enough information", CITIES, "D"), ("There is not enough information to decide.", CITIES, "D"),
    ("Paris is the capital of France, so the answer is Paris.", CITIES, "A"),
    ("It cannot be Lyon; it is Paris.", CITIES, "A"), ("Nice.", CITIES, "C"),
    ("The answer is Nice because it is by the sea, unlike Paris.", CITIES, "C"), ("yes", YES_NO, "A"),
    ("No, it is not.", YES_NO, "B"), ("Yes, it is.", YES_NO, "A"), ("The answer is no.", YES_NO, "B"),
    ("No", YES_NO, "B"), ("A. Yes", YES_NO, "A"), ("Answer: B", YES_NO, "B"), ("a gas", MATTER, "C"),
    ("The air is a gas.", MATTER, "C"), ("Air is a gas, not a liquid.", MATTER, "C"),
    ("The answer is C. gas", MATTER, "C"), ("A solid", MATTER, "A"), ("A liquid", MATTER, "B"),
    ("I only", ROMAN, "A"), ("Answer: I and II", ROMAN, "C"), ("I and II", ROMAN, "C"),
    ("The correct answer is II only.", ROMAN, "B"), ("Only I is true, so the answer is A.", ROMAN, "A"),
    ("neither I nor II", ROMAN, "D"), ("3", NUMBERS, "C"), ("The answer is 3.", NUMBERS, "C"),
    ("There are 3 apples.", NUMBERS, "C"), ("(C) 3", NUMBERS, "C"), ("C. 3", NUMBERS, "C"), ("three", NUMBERS, "C"),
    ("There are three of them.", NUMBERS, "C"), ("Counting: 1, 2, 3. So there are 3 circles.", NUMBERS, "C"),
    ("The plant dies.", SENTENCES, "B"), ("The answer is B. The plant dies.", SENTENCES, "B"),
    ("The plant grows faster because of light", SENTENCES, "A"),
    ("The correct answer is: The water evaporates.", SENTENCES, "C"),
    ("Without water, the plant dies.", SENTENCES, "B"), ("nothing happens", SENTENCES, "D"),
    ("The correct figure is shown in option D.", DRAWN, "D"), ("Figure D", DRAWN, "D"),
    ("The cat is in box B.", DRAWN, "B"), ("Image E", DRAWN, "E"), ("The shape labelled C.", DRAWN, "C"),
    ("$C$", DRAWN, "C"), ("\\(C\\)", DRAWN, "C"), ("\\text{C}", DRAWN, "C"),
    ("The picture that matches is the third one (C).", DRAWN, "C"), ("E", DRAWN, "E"), ("e)", DRAWN, "E"),
    ("A is the largest.", DRAWN, "A"), ("A", DRAWN, "A"), ("The letter A", DRAWN, "A"),
    ('{"answer":"C","confidence":0.9}', DRAWN, "C"), ("{'answer': 'C'}", DRAWN, "C"),
    ('[{"answer": "C"}]', DRAWN, "C"), ('```json\n{"answer": "(C)"}\n```', DRAWN, "C"), ("answer=C", DRAWN, "C"),
    ("<answer>\\boxed{C}</answer>", DRAWN, "C"), ("<answer>The answer is C</answer>", DRAWN, "C"),
    ("Answer: <C>", DRAWN, "C"), ("Answer: [C]", DRAWN, "C"), ("The final answer is: $\\boxed{C}$", DRAWN, "C"),
    ("**Final Answer**\n\n\\[ \\boxed{C} \\]", DRAWN, "C"), ("**Answer**: **C**", DRAWN, "C"), ("__C__", DRAWN, "C"),
    ("Réponse : C", DRAWN, "C"), ("La respuesta correcta es C.", DRAWN, "C"),
    ("Die richtige Antwort ist C.", DRAWN, "C"), ("Ответ: C", DRAWN, "C"), ("正确答案：C", DRAWN, "C"),
    ("选项C", DRAWN, "C"), ("答案为C。", DRAWN, "C"), ("因此，答案是 (C)。", DRAWN, "C"), ("故答案为：C", DRAWN, "C"),
    ("I'm not sure, but I would guess B.", DRAWN, "B"), ("I don't know, maybe B", DRAWN, "B"),
    ("Probably B", DRAWN, "B"), ("Most likely B.", DRAWN, "B"), ("The answer is E)", DRAWN, "E"),
    ("The correct answer is **E**", DRAWN, "E"), ("The answer is “E”.", DRAWN, "E"),
    ("The answer is that the length is C", DRAWN, "C"),
    ("The scale shows 3 cm per unit, and there are 4 units. Therefore the length is 3*4=12cm.", LENGTHS, "C"),
]  # fmt: skip
UNSETTLED = [
    ("", LENGTHS), (" ", LENGTHS), ("?", LENGTHS), ("I cannot see the image.", LENGTHS),
    ("I'm sorry, I can't help.", TEN), ("Both A and B", LENGTHS), ("A or B", LENGTHS), ("Answer: A, E", LENGTHS),
    ("The answer is either C or D.", LENGTHS), ("A. 10 cm\nB. 11 cm\nC. 12 cm\nD. 13 cm", LENGTHS),
    ("(A) 10 cm (B) 11 cm (C) 12 cm (D) 13 cm", LENGTHS), ("A, b, c, d", DRAWN), ("A and e", DRAWN), ("Z", LENGTHS),
    ("F", LENGTHS), ("1012 cm", LENGTHS), ("-12 cm", LENGTHS), ("9 cm", LENGTHS), ("12.5 cm", LENGTHS),
    ("The answer is not B.", LENGTHS), ("The answer cannot be A.", LENGTHS), ("bird", ANIMALS),
    ("A big elephant", DRAWN), ("It is a triangle ABC.", DRAWN), ("<image2>", LENGTHS), ("image1", LENGTHS),
    ("As an AI language model, I do not see pictures", TEN), ("Option 2", DRAWN), ("I don't know.", TEN),
    ("2/3", VALUES), ("A or possibly B, it is hard to tell", LENGTHS), ("A and B", DRAWN), ("Either A or B.", DRAWN),
    ("A/B", DRAWN), ("The options are A, B, C, D.", DRAWN), ("I can't determine", DRAWN), ("None", DRAWN),
    ("Unable to determine from the image.", DRAWN), ("A triangle has three sides.", DRAWN),
    ("As shown, the triangle is big.", DRAWN), ("The image shows a cat sitting.", DRAWN), ("Not A", DRAWN),
    ("It is not A.", DRAWN), ("All of them", DRAWN), ("A, B, C, D, E", DRAWN), ("ABCDE", DRAWN), ("AB", DRAWN),
    ("A B C D E", DRAWN), ("10 cm or 12 cm", LENGTHS), ("between 10 cm and 12 cm", LENGTHS),
    ("The answer is 14 cm", LENGTHS), ("The answer is 120 cm", LENGTHS), ("Answer:", DRAWN),
    ("The answer is", DRAWN), ("Answer: None of the above", DRAWN), ("Answer: N/A", DRAWN),
    ("Please provide the image.", DRAWN), ("The answer is B or C, hard to say", DRAWN), ("Lyon and Paris", CITIES),
    ("Option F", DRAWN), ("(A) (B) (C) (D) (E)", DRAWN), ("The answer could be A, B or C", DRAWN),
    ("What is the length of side AB?", LENGTHS), ("", DRAWN),
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
