"""The only reader of responses: reasoning, special tokens, markup and character normalisation, for every dataset."""

# ruff: noqa: RUF001 - models write typographic signs

from __future__ import annotations

import time

import pytest

from extract.datasets import get_dataset
from extract.grading import chartqa, choices, exact, mathvision, mmmu
from extract.grading.reading.characters import unified
from extract.grading.reading.reading import readable
from extract.sample import Sample

ANIMALS = ("dog", "cat", "bird", "fish")
CHOICE = Sample("s", "", "", "B", (), ANIMALS)
RED = Sample("s", "", "", "red")
THOUGHT = "It may be a dog. The answer should be A. "

THOUGHTS = [  # {} is the reasoning; the answer is B
    pytest.param("[THINK]{}[/THINK]B", id="C18-mistral"), pytest.param("◁think▷{}◁/think▷B", id="C18-kimi"),
    pytest.param("<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>B", id="C18-gpt"),
    pytest.param("<reasoning>{}</reasoning>B", id="C18-reasoning"),
    pytest.param("<mm:think>{}</mm:think>B", id="C18-mm"),
    "<think>{}</think>B", "{}</think>B", "<thinking>{}</thinking>\n\nB", "<thought>{}</thought>B",
    "<reflection>{}</reflection>B", "<seed:think>{}</seed:think>B", "<THINK>{}</THINK>B", "<think >{}</think >B",
    "<|begin_of_thought|>{}<|end_of_thought|>\n<|begin_of_solution|>B<|end_of_solution|>",
    "<scratchpad>{}</scratchpad>B",
    "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>", "<unused94>thought\n{}<unused95>B",
    "<|channel>thought\n{}<channel|>B<turn|>", "analysis{}assistantfinalB", "<|inner_prefix|>{}<|inner_suffix|>B",
    "<seed:think>{}<seed:cot_budget_reflect>I used 5 tokens</seed:cot_budget_reflect>A?</seed:think>B",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
    "<Thinking>\n{}\n</Thinking>\n<Answer>B</Answer>", "Here is my thought process:\n{}\nHere is my response:\nB",
    "<SUMMARY>x</SUMMARY><CAPTION>y</CAPTION><REASONING>{}</REASONING><CONCLUSION>B</CONCLUSION>",
    "<|think|>{}<|end|><|begin|>assistant<|content|>B<|end|>", "```thinking\n{}\n```\nB",
    '<details type="reasoning" done="true"><summary>Thought for 3 seconds</summary>{}</details>B',
    "&lt;think&gt;{}&lt;/think&gt;B", "<antThinking>{}</antThinking>B", "<longcat_think>{}</longcat_think>B",
    "<think>\n{}\n</think>\n\n<answer>\nB\n</answer>", "<think>{}\n<answer>B</answer>", "<analysis>{}</analysis>B",
    "<rationale>{}</rationale>B", "<think>{}<think>again</think>B", "<think>{}</thinking>B", "[think]{}[/think]B",
    "<thinking>{}<reflection>hm</reflection>more A</thinking><output>B</output>", "<｜think｜>{}<｜/think｜>B",
    "<|im_start|>think\n{}<|im_start|>answer\nB", "<thoughts>{}</thoughts>B", "<思考>{}</思考>B",
    "<inner_monologue>{}</inner_monologue>B", "<chain_of_thought>{}</chain_of_thought>B", "〈think〉{}〈/think〉B",
    "B<think>{}</think>", '<think budget="100">{}</think>B', "<|think_start|>{}<|think_end|>B", "<plan>{}</plan>B",
    "<think>{}</think><think>A again</think>B",
    # long names, other families
    *(f"<{long}>{{}}</{long}>B" for long in ["think_never_used_51bce0c785ca2f68081bfa7d91973934", "x_" * 38 + "think"]),
    "<ctrl94>thought\n{}<ctrl95>B", "[THINKING]{}[/THINKING]B", "<|begin_of_plan|>{}<|end_of_plan|>B",
    "[PLAN]{}[/PLAN]B",
    # damaged tags
    "<think>{}</ think>B", "<think>{}<\\/think>B", "<think>{}<think>B", "< think >{}</ think >B", "◁think▷{}◁think▷B",
    "[THINK]{}[\\/THINK]B", "◁ think ▷{}◁/ think ▷B", "[THINK]{}[THINK]B",
    # an answer after reasoning that never ends
    "<think>{}<|begin_of_box|>B<|end_of_box|>", "<think>{} [ANSWER] B", "<think>{} [CONCLUSION] B",
]  # fmt: skip
SECTIONS = [  # may come before an answer, and hold it if nothing follows
    "self_check", "solution_process", "caption", "description", "perception", "summary", "look", "observe", "step",
    "check", "review", "explanation", "observation", "plan", "verify", "critique", "SUMMARY", "step_1",
    "image_description",
]  # fmt: skip
UNENDED = [
    pytest.param("<think>It may be a cat. The answer could be B. But let me double-check the ears", id="C19"),
    "[THINK]The answer is B", "◁think▷ The answer is B", "<|channel|>analysis<|message|>The answer is B",
    "<|begin_of_thought|>The answer is B", "<unused94>thought\nThe answer is B", "analysisThe answer is B",
    "<think_never_used_51bce0c785ca2f68081bfa7d91973934>The answer is B", "<ctrl94>thought\nThe answer is B",
    "<thinking>x<reflection>y</reflection> The answer is B", "<think>I put it in <answer> tags: B",
    "<think>The answer is B<|im_end|>", "<thought>B",
    "<reasoning>The answer is B", "<|START_THINKING|>The answer is B", "<|channel>thought\nThe answer is B",
    "<think>The answer is B</think>", "Here is my thought process:\nThe answer is B", "```thinking\nThe answer is B",
]  # fmt: skip
RED_RESPONSES = [
    pytest.param("<think>It looks red.</think>\n\nred", id="C20-thought"),
    pytest.param("red<|im_end|>", id="C20-token"),
    pytest.param("red</s>", id="C20-eos"), pytest.param("<|begin_of_box|>red<|end_of_box|>", id="C20-box"),
    "red", "red<|eot_id|>", "red<end_of_turn>", "[/INST] red", "red<|return|>", "red<eos><pad><pad>", "<s> red</s>",
    "red<|endoftext|>", "<|im_start|>assistant\nred<|im_end|>", "red<｜end▁of▁sentence｜>", "**red**", "`red`",
    "*red*",
    "<|start_header_id|>assistant<|end_header_id|>\n\nred<|eot_id|>", "_red_", "red.", "Red!", "<answer>red</answer>",
    "\\boxed{red}", "$\\text{red}$", "\\text{red}", "<b>red</b>", "<p>red</p>", "red<br>", "red<end_of_utterance>",
    "[|assistant|]red[|endofturn|]", "ASSISTANT: red", "<start_of_turn>model\nred<end_of_turn>", "```\nred\n```",
    "red<|im_end|>\n<|im_start|>user\nWhat is blue?", "[INST] q [/INST] red</s>", "<response>red</response>",
    "<|im_start|>user\nWhat is blue?<|im_end|>\n<|im_start|>assistant\nred<|im_end|>", "<|assistant|>red<|end|>",
    "red<0x0A>", "# red", "> red", "<final_answer>red</final_answer>", "[answer]red[/answer]", "<unused3>red",
    "red [EOS]",
    "<|channel|>final<|message|>red", "<CONCLUSION> red </CONCLUSION>", "The <answer>red</answer>.", "\\(red\\)",
    "red</answer>", "red[UNUSED_TOKEN_145]", "red<EOS_TOKEN>", "red\nUser: next?", "red\n\n### Human: x",
    "assistant\nred",
    "model\n\nred", "<colour>red</colour>", "<caption>A blue sea.</caption>\nred", "<caption>red</caption></s>",
    "red\nHUMAN: x", "red\n\n### Instruction:\nx", "red</answer></answer>", "red<END_OF_TURN>",
    "[ANSWER] red", "[ANALYSIS] It is not blue. [FINAL ANSWER]: red [END]",
    "red<|eom_id|>", "red<eot>", "\ufeffred", "red\r\n", "{\"answer\": \"red\"}",
]  # fmt: skip
SAME = [
    pytest.param("café", "cafe\u0301", id="C26-nfd"), pytest.param("don't", "don’t", id="C26-apostrophe"),
    pytest.param("-5", "−5", id="C26-minus"), pytest.param("5", "５", id="C26-wide"),
    pytest.param("red", "“red”", id="C26-quotes"), pytest.param("red", "red\u200b", id="C26-zero-width"),
    ("<5", "<5"), ("a < b > c", "a < b > c"), ("[1, 2]", "[1, 2]"), ("a<b and c>d", "a<b and c>d"), ("x^2", "x²"),
    ("H2O", "H₂O"), ("H2O", "H$_2$O"), ("H₂O", "H_{2}O"), ("½", "1/2"), ("5–10", "5-10"), ("2 * 3 * 4", "2 * 3 * 4"),
    ("a*b*c", "a*b*c"), ("snake_case_name", "snake_case_name"), ("fine", "ﬁne"), ("São Paulo", "Sa\u0303o Paulo"),
    ("5", "٥"), ("५", "5"), ("Straße", "STRASSE"), ("C#", "C#"), ("<C>", "<C>"), ("5 > 3", "5 > 3"),
    ("A[0]", "A[0]"), ("$50", "$50"), ("|x|<5", "|x|<5"), ("<b", "<b"), ("f(x)", "f(x)"),
    ("10:30", "10:30"), ("[x]", "[x]"), ("cm^2", "cm²"),
    ("cm²", "㎝²"), ("naïve", "nai\u0308ve"), ("Ω", "\u2126"), ("(a, b)", "(a, b)"), ("3 1/2", "3½"), ("B", "Ｂ"),
    ("ABC", "𝐀𝐁𝐂"), ("3.5%", "٣٫٥٪"), ("soft", "so\u00adft"), ("a b", "a\u00a0b"), ("30°", "30º"),
    ("co-op", "co\u00adop"), ("co-op", "co-\u00adop"), ("10 °C", "10℃"), ("10 °C", "10°C"), ("5", "五"), ("5", "五。"),
    ("1000", "1 000"), ("1000", "1\u202f000"), ("1,234,567", "1 234 567"), ("α", "\\alpha"), ("2β", "$2\\beta$"),
    ("α-helix", "\\alpha-helix"), ("Na⁺", "Na+"), ("Ca²⁺", "Ca^{2+}"), ("Ca²⁺", "Ca2+"), ("Cl⁻", "$Cl^-$"),
]  # fmt: skip


@pytest.mark.parametrize("response", THOUGHTS)
def test_thoughts_are_no_answers(response):
    assert choices.final_answer(CHOICE, response.replace("{}", THOUGHT)) == "B"


@pytest.mark.parametrize("response", UNENDED)
def test_a_thought_without_an_end_holds_no_answer(response):
    assert choices.final_answer(CHOICE, response) == ""
    assert not choices.grade(CHOICE, response)


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize(
    "form",
    [
        "<{0}>{1}</{0}>B",
        "<{0}>\n{1}\n</{0}>\nThe answer is B.",
        "<{0}>{1}</{0}>\n<{0}>{1}</{0}>\n<answer>B</answer>",
        "<{0}>{1}</{0}>\n\n**B**<|im_end|>",
        "Let me see.\n<{0}>{1}</{0}>\nB",
        "[{0}]{1}[/{0}] B",
        "<all><{0}>{1}</{0}>B</all>",
    ],
)
def test_sections_before_an_answer_are_none(name, form):
    response = form.format(name, THOUGHT)
    assert get_dataset("aokvqa").final_answer(CHOICE, response) == "B"


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize(
    "form",
    [
        "<{0}>It flies, so B is right.</{0}>",
        "<{0}>It flies, so B is right.</{0}><|im_end|>",
        "<{0}>So the answer is B.",
        "<{0}>B</{0}>",
        "<{0}>It flies, so B is right.</{0}></s>",
        "<{0}>B is right</{0}><｜end▁of▁sentence｜>",
        "<look>A dog?</look><{0}>The answer is B.</{0}>",
        "<{0}>A bird: \\boxed{{B}}</{0}>\nI hope this helps.",
    ],
)
def test_a_section_that_nothing_follows_is_the_answer(name, form):
    assert get_dataset("aokvqa").final_answer(CHOICE, form.format(name)) == "B"


@pytest.mark.parametrize(
    "response",
    [
        "The tag <explanation> encloses text. So the answer is B.", "List<Thought> answer B",
        "The tag <think> starts a thought. So the answer is B.", "It starts with `<think>`. The answer is B.",
        "The class Plan<Verification> is generic. The answer is B.", "Use a <reasoning> element: the answer is B.",
        "[REASONING] flies. The answer is B.", "[PLAN] look. [ANSWER] B", "[THOUGHT] It flies.\n[ANSWER]\nB",
        "[ANALYSIS] The animal flies. [CONCLUSION] B", "[Reasoning] A? [Answer] B", "**[ANSWER]** B",
        "[OBSERVE] dog. [THINK] A? [ANSWER] B", "It is <ref>a bird</ref><box>(1,2),(3,4)</box>. Answer: B",
        "<result>B</result> because A is no bird.", "<output>B</output>\nI hope this helps.",
    ],
)  # fmt: skip
def test_headings_types_and_mentions_hide_nothing(response):
    assert get_dataset("aokvqa").final_answer(CHOICE, response) == "B"


def test_sections_may_cross():
    assert readable("<a_b>\\boxed{B} <look>x</a_b>y</look> z") == "\\boxed{B} <look>x\ny</look> z"
    assert readable("<a_b>\\boxed{B}\n<look>x</a_b>y</look> z").split() == ["\\boxed{B}", "z"]


def test_what_follows_a_type_stays():
    assert readable("class Plan<Verification> B") == "class Plan<Verification> B"


@pytest.mark.parametrize("name", ["jsonl", "easy_vqa", "digit_sums"])
@pytest.mark.parametrize("response", RED_RESPONSES)
def test_datasets_without_choices_read_the_same_responses(name, response):
    dataset = get_dataset(name)
    assert dataset.grade(RED, response)
    assert dataset.final_answer(RED, response) == "red"


@pytest.mark.parametrize("response", ["The answer is red.", "red or blue", "<think>red", "not red", "blue", "", "</s>"])
def test_other_words_are_no_exact_match(response):
    assert not exact.grade(RED, response)


@pytest.mark.parametrize(("answer", "response"), SAME)
def test_characters_that_look_alike_are_equal(answer, response):
    assert exact.grade(Sample("s", "", "", answer), response)
    assert exact.grade(Sample("s", "", "", response), answer)


@pytest.mark.parametrize(
    ("answer", "response"),
    [("5", "five"), ("5", "5.0"), ("2.50", "2.5"), ("1,234", "1234"), ("twenty-four", "24"), ("0.5", ".5")],
)
def test_numbers_are_compared_by_value(answer, response):
    sample, reverse = Sample("s", "", "", answer), Sample("s", "", "", response)
    assert exact.grade(sample, response)
    assert exact.grade(reverse, answer)
    assert exact.final_answer(sample, response) == exact.final_answer(sample, answer)


@pytest.mark.parametrize(
    ("answer", "response"), [("007", "7"), ("1,2", "12"), ("1.2.3", "1.23"), ("no one", "no 2"), ("5 cm", "5")]
)
def test_codes_lists_and_units_are_no_numbers(answer, response):
    assert not exact.grade(Sample("s", "", "", answer), response)


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        ("R&D", "R&amp;D"),
        ("x < 5", "x &lt; 5"),
        ("H2O", "H<sub>2</sub>O"),
        ("x^2", "x<sup>2</sup>"),
        ("red", "<i>red</i>"),
    ],
)
def test_html_is_read(answer, response):
    assert exact.grade(Sample("s", "", "", answer), response)


@pytest.mark.parametrize(
    ("answer", "response"),
    [("x^2", "x2"), ("5", "-5"), ("5", ".5"), ("2^3", "23"), ("50", "$50"), ("x²", "x2"), ("3½", "31/2"), ("<5", "5"),
     ("5", "5%"), ("H2O", "H^2O"), ("10²", "102")],
)  # fmt: skip
def test_signs_that_change_a_value_stay(answer, response):
    assert not exact.grade(Sample("s", "", "", answer), response)


@pytest.mark.parametrize(
    ("options", "response", "letter"),
    [
        pytest.param(("H₂O", "CO₂"), "H2O", "A", id="C26-subscript"),
        pytest.param(("H₂O", "CO₂"), "H$_2$O", "A", id="C26-latex"),
        pytest.param(("the\u0301", "cafe\u0301"), "café", "B", id="C26-nfd"),
        pytest.param(("5-10", "10-15"), "5–10", "A", id="C26-dash"),
        (("CO_2", "H_2O"), "The answer is CO₂.", "A"), (("x²", "x2"), "x^2", "A"), (("½", "¼"), "\\frac{1}{4}", "B"),
        (("don’t", "do"), "don't", "A"), (("10 m²", "12 m²"), "12 m^2", "B"),
        (("red", "blue"), "\u202ablue\u202c", "B"),
        (("1", "2", "3"), "③", "C"), (("a", "b"), "Ｂ", "B"), (("cat", "dog"), "🅱️", "B"),
        (("cat", "dog"), "Ответ: В", "B"),
        *[(("Na⁺", "Na", "Cl⁻", "Cl"), *case) for case in [
            ("Na+", "A"), ("Na", "B"), ("Cl-", "C"), ("Cl", "D"), ("Na^+", "A"), ("$Na^{+}$", "A"),
            ("$\\text{Cl}^-$", "C"),
            ("The answer is Na+.", "A"), ("It is Na+ here, I think", "A"), ("Na⁺", "A")]],
        (("Fe³⁺", "Fe²⁺"), "$\\mathrm{Fe}^{2+}$", "B"), (("Fe³⁺", "Fe²⁺"), "Fe3+", "A"),
        *[(("α", "β", "γ", "δ"), *case) for case in [
            ("$\\alpha$", "A"), ("\\beta", "B"), ("\\(\\gamma\\)", "C"), ("The angle is $\\delta$.", "D"), ("α", "A")]],
        (("$\\alpha$", "$\\beta$"), "The angle is β.", "B"), (("一", "二", "三"), "二", "B"),
    ],
)  # fmt: skip
def test_choices_in_other_characters(options, response, letter):
    assert choices.final_answer(Sample("s", "", "", letter, (), options), response) == letter


@pytest.mark.parametrize(
    ("grader", "reference", "response"),
    [
        pytest.param(mmmu, "H2O", "H₂O", id="C26-mmmu"),
        pytest.param(chartqa, "São Paulo", "Sa\u0303o Paulo", id="C26"),
        pytest.param(chartqa, "18-29", "18–29", id="C26-chartqa"),
        pytest.param(mathvision, "5", "٥", id="C26-arabic"),
        pytest.param(mathvision, "5", "५", id="C26-devanagari"),
        (mathvision, "x^2", "x²"),
        (mathvision, "-5", "–5"),
        (mathvision, "7/2", "3½"),
        (chartqa, "12.5", "١٢٫٥"),
        (mathvision, "1/1000", "10⁻³"),
        (mmmu, "MgS", "ＭｇＳ"),
    ],
)
def test_open_answers_in_other_characters(grader, reference, response):
    assert grader.grade(Sample("s", "", "", reference), response)
    assert not grader.grade(Sample("s", "", "", "71"), response)


@pytest.mark.parametrize("grader", [choices, exact, mathvision, mmmu, chartqa])
def test_a_lone_surrogate_raises_nothing(grader):
    for sample in (CHOICE, RED, Sample("s", "", "", "5")):
        assert "\ud83d" not in grader.final_answer(sample, "5 B red \ud83d")
        assert grader.grade(sample, "\ud83d") is False


def test_reading_twice_changes_nothing():
    texts = [str(case.values[0] if hasattr(case, "values") else case) for case in THOUGHTS + RED_RESPONSES]
    for text in texts:
        assert readable(readable(text)) == readable(text)
        assert unified(unified(text)) == unified(text)


@pytest.mark.parametrize(
    "loop",
    ["<think>", "</think>", "<|", "[", "◁think▷", "<a ", "&lt;think", "```thinking\n", "*a ", "²", "[Reasoning]",
     "[ANSWER]",
     "[ANSWER] ", "<answer>", "</answer>", "<caption>", "<caption></caption>", "</caption>", "<b>", "`<b>`", "\nUser:",
     "List<Thought>", "<|begin_of_box|>", "assistant\n"],
)  # fmt: skip
def test_a_loop_of_signs_is_read_quickly(loop):
    for options in (ANIMALS, ("<b>", "<think>")):
        start = time.perf_counter()
        choices.grade(Sample("s", "", "", "B", (), options), loop * (50_000 // len(loop)))
        assert time.perf_counter() - start < 1.5
