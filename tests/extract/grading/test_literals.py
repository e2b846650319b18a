"""References and choices that contain tags, tokens or code marks are data, which is kept in a response."""

# ruff: noqa: RUF001 - typographic signs

from __future__ import annotations

import json

import pytest

from extract.datasets import get_dataset
from extract.grading import choice_index, multiple_choice, reference_index
from extract.grading.reading.reading import readable
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.errors import ReLopeError

MARKS = [
    "<p>", "<br>", "<div>", "<h1>Title</h1>", "<a href='x'>link</a>", "<explanation>", "<plan>", "<think>", "</think>",
    "[MASK]", "[SEP]", "[INST]", "<s>", "</s>", "<unk>", "<|im_end|>", "__init__", "`code`", "# title", "_init_",
    "~~x~~",
    "*x*", "**x**", "&lt;", "&amp;", "image1", "image2.png", "<image>", "> 5", "model: X", "Response: 200", "gpt: 4",
    "<answer>", "List<s>", "a <b>bold</b> move", "use `x` or `y`",
]  # fmt: skip
OPTIONS = [
    ("<b>", "<i>", "<strong>", "<em>"), ("<a>", "<p>", "<div>", "<table>"), ("<ul>", "<ol>", "<li>"),
    ("<img>", "<text>"),
    ("<section>", "<output>", "<response>"), ("<analysis>", "<plan>", "<think>", "<explanation>"), ("<h1>", "<h2>"),
    ("[MASK]", "[SEP]", "[CLS]", "[PAD]"), ("<unk>", "<pad>"), ("<s>", "</s>"), ("&lt;", "&gt;", "&amp;"),
    ("«", "»", "‹", "›"), ("List<s>", "List<t>"), ("<|im_start|>", "<|im_end|>"), ("__init__", "init", "_init_"),
    ("# title", "## title"), ("<answer>", "<final>"), ("<think>", "</think>"), ("image1.png", "image2.png"),
]  # fmt: skip
NAMING = [  # the response that means the choice {0}, whose letter is {1}
    "{0}", "`{0}`", "The answer is {0}.", "The answer is `{0}`.", "{1}", "{1}. {0}", "The answer is {1}.", "**{1}**",
    "<think>The answer is A? No, it is not.</think>{1}", "<think>A?</think>\n\n{0}", "<answer>{1}</answer>",
    "The answer is {1}.<|im_sep|>", "{0}\n",
]  # fmt: skip


@pytest.mark.parametrize("name", ["jsonl", "easy_vqa", "digit_sums"])
@pytest.mark.parametrize("text", MARKS)
def test_a_response_that_is_the_reference_is_right(name, text):
    dataset, sample = get_dataset(name), Sample("s", "", "", text)
    for response in (text, f" {text}\n", f"<think>Perhaps blue.</think>\n{text}", f"{text}<|return|>"):
        assert dataset.grade(sample, response), response
        assert dataset.final_answer(sample, response) == dataset.final_answer(sample, text) != ""
    assert not dataset.grade(sample, "blue")
    assert not dataset.grade(sample, "")


@pytest.mark.parametrize("name", ["aokvqa", "jsonl", "mmmu"])
@pytest.mark.parametrize("form", NAMING)
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_choices_with_marks_are_found(name, form, options):
    dataset = get_dataset(name)
    for index, option in enumerate(options):
        letter = "ABCD"[index]
        sample = Sample("s", "", "", letter, (), options)
        assert dataset.final_answer(sample, form.format(option, letter)) == letter
        assert dataset.grade(sample, form.format(option, letter))


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("<STRONG>", "C"), ("&lt;strong&gt;", "C"), ("\\boxed{<strong>}", "C"), ("<answer><strong></answer>", "C"),
        ("```html\n<strong>\n```", "C"), ("It is the <strong> tag, not <b>.", "C"), ('{"answer": "<strong>"}', "C"),
        ("<p>The answer is <strong>.</p>", "C"), ("<think>Not <strong>, so <b>: A</think>It is <strong>", "C"),
        ("The `<strong>` element is right: <strong>text</strong>.", "C"), ("<b>Answer:</b> <strong>", "C"),
        ("<strong>B</strong>", "B"), ("<b>C</b>", "C"), ("The answer is <strong>B</strong>.", "B"), ("<b> or <i>", ""),
    ],
)  # fmt: skip
def test_a_tag_around_text_is_no_choice(response, letter):
    sample = Sample("s", "", "", "C", (), ("<b>", "<i>", "<strong>", "<em>"))
    assert get_dataset("aokvqa").final_answer(sample, response) == letter


@pytest.mark.parametrize(
    ("options", "answer", "index"),
    [
        (("__init__", "init"), "__init__", 0), (("__init__", "init"), "init", 1), (("a", "`a`"), "`a`", 1),
        (("a", "`a`"), "a", 0), (("model: T5", "T5"), "model: T5", 0), (("model: T5", "T5"), "T5", 1),
        (("<think>A</think>B", "B"), "<think>A</think>B", 0), (("b", "a"), "A", 0), (("b", "a"), "a", 1),
        (("B", "A"), "A", 1), (("10 cm", "12 cm"), "12", 1),
        (("cat", "dog"), "B", 1), (("cat", "dog"), "(b)", 1), (("cat", "dog"), "B.", 1), (("cat", "dog"), "B. dog", 1),
        (("cat", "dog"), "Dog ", 1), (("cafe\u0301", "the"), "café", 0), (("«", "»"), "»", 1), (("«", "»"), '"', None),
        (("cat", "dog"), "<b>dog</b>", None), (("cat", "dog"), "The answer is B", None), (("cat", "dog"), "C", None),
        (("cat", "dog"), "<think>A</think>B", None), (("cat", "dog"), "", None), (("$\\frac{1}{2}$", "2"), "1/2", 0),
    ],
)  # fmt: skip
def test_a_reference_is_no_response(options, answer, index):
    assert reference_index(answer, options) == index


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (("__init__", "init"), "__init__"),
        (("model: T5", "T5"), "model: T5"),
        (("`a`", "a"), "`a`"),
        (("# x", "x"), "# x"),
    ],
)
def test_the_label_of_a_marked_reference_is_right(options, answer):
    assert multiple_choice("A", answer, options)
    assert not multiple_choice("B", answer, options)
    assert choice_index(answer, options) == 0


@pytest.mark.parametrize(
    "answer", ["<h1>", "<p>", "<em>", "<s>", "<plan>", "<think>", "[SEP]", "&lt;", "«", "__init__"]
)
def test_rows_with_marks_load(tmp_path, answer):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": "Which?", "answer": wanted, "choices": [answer, "<h2>"]} for wanted in (answer, [answer, "B"])]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    first, second = get_dataset("jsonl").load(DatasetSpec(name="jsonl", path=str(path)))
    dataset = get_dataset("jsonl")
    assert dataset.grade(first, "A")
    assert not dataset.grade(first, "B")
    assert dataset.grade(second, "B")


def test_a_reference_that_is_no_choice_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"question": "Which?", "answer": "<b>cat</b>", "choices": ["cat", "dog"]}), encoding="utf-8"
    )
    with pytest.raises(ReLopeError, match=r"rows\.jsonl:1.* neither a choice nor one of A, B"):
        get_dataset("jsonl").load(DatasetSpec(name="jsonl", path=str(path)))


def test_only_the_marks_of_the_choices_stay():
    assert readable("<b>red</b> <s> `blue` [SEP] __x__", keep=("<s>", "a [SEP]")) == "red <s> blue [SEP] x"
    assert readable("image1 or image12", keep=("image1",)) == "image1 or image12"
    assert readable("<B> <b>", keep=("<b>",)) == "<B> <b>"
