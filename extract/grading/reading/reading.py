"""The only reader of responses: returns what a model says to the user, without reasoning, special tokens and markup."""

from __future__ import annotations

import re

from extract.grading.reading.characters import unified
from extract.grading.reading.literals import read_with
from extract.grading.reading.sections import without_sections
from extract.grading.reading.thoughts import without_thoughts

_MAX_LENGTH, _START, _END = 200_000, 1_000, 4_000  # characters: in total, and kept at each end
_LOOP = re.compile(r"(.)\1{30,}", re.DOTALL)  # thousands of blanks
IMAGE = re.compile(r"<\s*image[\s_]*\d*\s*>|\bimage\d+\b", re.IGNORECASE)

# What begins the turn of a role, before its name: "<|im_start|>user", "<|user|>", "[|user|]"
_TURN = (
    r"(?:<\|(?:im_start|start_header_id|start|begin|turn|role)\|?>|<start_of_turn>|\[\|"
    r"|<\|(?=user|human|system|assistant))"
)
_ECHO = re.compile(  # the prompt before the response
    rf"\A\s*(?:<s>\s*)?(?:{_TURN}\s*(?:user|system|human)\b.*?{_TURN}\s*(?:assistant|model)\b|\[INST\].*?(?=\[/INST\]))",
    re.DOTALL,
)
_NEXT_TURN = re.compile(
    rf"{_TURN}\s*(?:user|human)\b|\[INST\]|\n[ \t]*(?:#{{1,4}}[ \t]*)?(?:User|USER|Human|HUMAN)[ \t]*:"
    r"|\n[ \t]*#{1,4}[ \t]*Instruction[ \t]*:"
)
_OWN_TURN = re.compile(
    rf"{_TURN}\s*(?:assistant|model)\b(?:\|?[>\]])?|\A\s*#*\s*(?:assistant|response|gpt|model)\s*:(?=\s)"
    r"|\A\s*(?:(?:assistant|model)[ \t]*\n\s*)+",
    re.IGNORECASE,
)
# What encloses an answer: <final_answer>, <|begin_of_box|>, <CONCLUSION>, [answer]...[/answer]
_ANSWER = r"(?:(?:final|correct|short)[_ ]?)?(?:answer|ans|conclusion|choice|result)|final"
_ANSWER_SIGN = re.compile(
    rf"<\|?\s*(/|end_(?:of_)?)?(?:(?:begin|start)_(?:of_)?)?(?:{_ANSWER}|(?<=_of_)box)(_end)?(?:_start)?\s*\|?>",
    re.IGNORECASE,
)
_ANSWER_IN_SQUARES = re.compile(rf"\[({_ANSWER})\]((?:(?!\[\1\]).)*?)\[/\1\]", re.DOTALL | re.IGNORECASE)
_AFTER_ANSWER = re.compile(r"(?<=</answer>)(?![ \t]*(?:\n|\Z))")  # the text after it becomes a separate line
_CLOSING_ANSWERS = re.compile(r"(?:</answer>\s*)+")
# "[PLAN] look. [ANSWER] B": up to the next heading
_ANSWER_HEADING = re.compile(
    r"(?<!\S)\[(?:FINAL[ _]ANSWER|ANSWER|CONCLUSION|Final Answer|Answer|Conclusion)\]:?(?=\s)"
    r"(.*?)(?=\s\[/?[A-Z][A-Z _]{2,}\]|\Z)",
    re.DOTALL,
)
# Special tokens of all families, by their form: <|im_end|>, <end_of_turn>, <unused7>, [|endofturn|], [/INST]; and </s>.
_SPECIAL = re.compile(
    r"<\|[\w/▁ .:-]{1,40}\|?>|<[\w▁]{1,40}\|>|\[\|\w{1,40}\|\]|<</?SYS>>"
    r"|</?(?!image)[a-z]{2,}\d*(?:[_:][A-Za-z0-9]+)+/?>|</?[A-Z]{2,}(?:_[A-Z0-9]+)+>"
    r"|<(?:unused|ctrl|loc|seg|extra)_?\d+>|<0x[0-9A-F]{2}>|\[UNUSED_TOKEN_\d+\]"
    r"|</?(?:s|n|eos|bos|pad|unk|sep|cls|mask|eot|eod|eom|EOS|BOS|PAD|UNK|EOT|endoftext|turn|assistant|user|model|img"
    r"|response|output|solution|text|md|think\w*)/?>"
    r"|\[/?(?:INST|SYS|SEP|CLS|PAD|UNK|EOS|BOS|EOT|IMG|IMG_END|IMG_BREAK|TOOL_CALLS|gMASK|MASK|PREFIX|SUFFIX)\]"
)
_BREAK = re.compile(
    r"<br\s*/?>|</?(?:p|div|li|ul|ol|tr|h[1-6]|pre|blockquote|section)(?:\s[^<>\n]{0,80})?>", re.IGNORECASE
)
_RAISED = re.compile(r"<sup>([-+\dn]+)</sup>", re.IGNORECASE)
_HTML = re.compile(
    r"</?(?:su[bp]|em|strong|span|font|code|mark|small|big|center|table|tbody|td|th|tt|kbd|a|math|del|ins)"
    r"(?:\s[^<>\n]{0,80})?>",
    re.IGNORECASE,
)
_PAIR = re.compile(r"<([bius])>((?:(?!<\1>).)*?)</\1>", re.DOTALL)  # a single <b> may be an answer
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'", "#39": "'", "nbsp": " "}
_ENTITY = re.compile(rf"&({'|'.join(_ENTITIES)});")
_FENCE = re.compile(r"^\s*```\w*[ \t]*$", re.MULTILINE)
_MARKUP = re.compile(r"\*\*|__(?!_)|~~|`+|^\s*(?:#+|>)\s", re.MULTILINE)
# "*red*", "_red_"; neither "2 * 3 * 4" nor "a*b*c"
_EMPHASIS = re.compile(
    r"(?<![\w*\\)}])\*(?=[^\s*])([^*\n]{1,200})(?<=[^\s*])\*(?![\w*({])"
    r"|(?<!\w)_(?=[^\W_])([^_\n]{1,200})(?<=[^\s_])_(?!\w)"
)


def readable(response: str, keep: tuple[str, ...] = (), keep_images: bool = False) -> str:
    """The response without reasoning, image placeholders, special tokens and markup, its characters normalised.

    Whatever encloses an answer becomes <answer>...</answer>. `keep` are the choices or references: their tags, tokens,
    code marks and image placeholders are kept. To keep the patterns fast, loops of one character are shortened and only
    both ends of a very long response are read.
    """
    text = unified(_LOOP.sub(r"\1", response))
    keep_images = keep_images or any(IMAGE.search(literal) for literal in keep)
    return read_with(_clean_with_images if keep_images else _clean, text, keep)


def _clean(text: str) -> str:
    return _cleaned(text, IMAGE)


def _clean_with_images(text: str) -> str:
    return _cleaned(text, None)


def _cleaned(text: str, images: re.Pattern[str] | None) -> str:
    text = _own_turn(without_thoughts(text)[-_MAX_LENGTH:])
    if "<" in text or "[" in text:
        text = _LOOP.sub(r"\1", _without_tokens(text))
    if len(text) > _START + _END:
        text = text[:_START] + "\n" + text[-_END:]
    text = images.sub("", text) if images else text
    return without_markup(_OWN_TURN.sub("", text)).strip()


def _own_turn(text: str) -> str:
    """The text without the prompt before the response and the turns after it."""
    text = _ECHO.sub("", text)
    if (turn := _NEXT_TURN.search(text)) and re.search(r"\w", _SPECIAL.sub("", text[: turn.start()])):
        text = text[: turn.start()]
    return _OWN_TURN.sub("", text)


def _without_tokens(text: str) -> str:
    """The text without special tokens, sections before the answer and HTML tags."""
    text = _ANSWER_IN_SQUARES.sub(r"<answer>\2</answer>", text)
    text = _ANSWER_HEADING.sub(r"<answer>\1</answer>", text)
    text = _ANSWER_SIGN.sub(lambda match: "</answer>" if match[1] or match[2] else "<answer>", text)
    text = _AFTER_ANSWER.sub("\n", text)
    opening = text.find("<answer>") if "<answer>" in text else len(text)
    text = _CLOSING_ANSWERS.sub("\n", text[:opening]) + text[opening:]  # a closing tag alone, as in "red</answer>"
    text = _SPECIAL.sub("", without_sections(text, _SPECIAL))
    return _HTML.sub("", _RAISED.sub(r"^{\1}", _PAIR.sub(r"\2", _BREAK.sub("\n", text))))


def without_markup(text: str) -> str:
    """The text without bold, italics, headings, quotation and code marks, with HTML escapes decoded."""
    if "&" in text:
        text = _ENTITY.sub(lambda match: _ENTITIES[match[1]], text)
    return _EMPHASIS.sub(r"\1\2", _MARKUP.sub("", _FENCE.sub("", text)))
