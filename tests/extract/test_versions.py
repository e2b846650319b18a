"""Every manual version number in a store's identity, with the outputs that it covers.

A store only records the number, so changed outputs without a new number would mix two kinds of labels or states in one
store. The responses and images are fixed here; a new case in another test needs no new number.
"""

# ruff: noqa: RUF001 - models write typographic signs

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from extract import grading, toy
from extract.datasets import DATASETS
from extract.imaging import images
from extract.sample import Sample
from extract.spec import TOY_MLLM
from extract.toy.build import assemble
from extract.toy.weights import Trained
from tests.extract.imaging.pictures import colours, encoded, png, turned_exif

GRADERS = (1, "7a3a7dcfd57dce33")
READING = (2, "c1aba833e8963ba6")
TOY = (1, "a27f7fc7ebdd3c91")
LOGITS = [13.107, -1.074, 4.032, 3.135, 1.108, 0.815, 0.843, 4.349, 0.526, 5.566]  # of TOY; last bits may differ

SAMPLES = [
    Sample("s", "", "How long is it?", "C", (), ("10 cm", "11 cm", "12 cm", "13 cm", "110 cm")),
    Sample("s", "", "Which animal?", "B", (), ("dog", "cat", "bird", "none of the above")),
    Sample("s", "", "How much?", "A", (), (r"$\frac{1}{2}$", r"$\frac{3}{4}$", r"$2 \sqrt{3}$", "$1: 4$")),
    Sample("s", "", "Is it?", "Yes", (), ("Yes", "No")),
    Sample("s", "", "How many?", "12", (), (), ("12.5", "twelve")),
    Sample("s", "", "What part?", r"\frac{1}{2}"),
    Sample("s", "", "What share?", "25%"),
    Sample("s", "", "Where?", "(3,-4)"),
    Sample("s", "", "Which country?", "United States", (), (), ("USA",)),
    Sample("s", "", "Which?", "[3, 4]"),
]
RESPONSES = [
    "", "?", "B", "c.", "(C)", "C) 12 cm", "12 cm", "12", "**C**", "$\\text{(C)}$", "{C}", "C</s>", "Option C", "`C`",
    "Answer: C", "The answer is C.", "**Answer:** C", "### Answer\n\nC", "The final answer is: $\\boxed{C}$", "答案是B",
    "La respuesta correcta es B.", "Ответ: В", "정답은 B입니다.", "الإجابة هي B", "The answer is not B.",
    "Both A and B", "A or B", "A/B", "I'm not sure, but I would guess B.", "It is not A.", "none of the above", "cat",
    "It is a cat.",
    "<think>The answer is A.</think>B", "<think>The answer is B", "<answer>C</answer>", '{"answer": "C"}',
    '```json\n{"reasoning": "3 times 4", "answer": "12 cm"}\n```', "A. 10 cm\nB. 11 cm\nC. 12 cm\nD. 13 cm",
    "A. The length is 10 cm because C is too long.", "Wait, I forgot a side. So the answer is 12.", "12.4", "-12",
    "twelve", "1 2", "12%", "0.5", "1/2", "\\frac12", "$\\dfrac{1}{2}$", "50%", ".5", "x = 1/2", "2\\sqrt{3}", "3.46",
    "√12", "1:4", "0.25", "25", "25%", "26 %", "(3, -4)", "\\left(3,-4\\right)", "x=3, y=-4", "(3,4)", "3 and 4",
    "[3.1, 4]", "[4, 3]", "Yes", "yes, the blue line is above.", "No, it isn't.", "Yes or no", "USA",
    "the United States",
    "United States.\n\nExplanation: it has the highest bar at 12.", "The country is the United States", "red", "１２",
    "12 people", "5 + 7 = 12", "In 2010 it was 8 and in 2011 it was 20, so the difference is 12.",
    "12\n\nThere are 20.", "20\nTherefore 20 - 8 = 12",
    "12<|im_end|>\n<|im_start|>user\nNext?", "<s> 12</s>", "12 million", "1,200", "–12",
]  # fmt: skip


def require_version(where: str, version: int, outputs: object, recorded: tuple[int, str]) -> None:
    """Fail with instructions if `outputs` are not those recorded for `version`, the number called `where`."""
    found = hashlib.sha256(json.dumps(outputs).encode()).hexdigest()[:16]
    if version == recorded[0]:
        assert found == recorded[1], f"outputs changed: bump {where} and write {(version + 1, found)} here"
    assert (version, found) == recorded, f"{where} was bumped: write {(version, found)} here"


def test_graders():
    graders = {(dataset.grade, dataset.final_answer): name for name, dataset in reversed(DATASETS.items())}
    assert len(graders) >= 6
    outputs = [
        (name, [[(bool(grade(s, r)), final_answer(s, r)) for r in RESPONSES] for s in SAMPLES])
        for (grade, final_answer), name in sorted(graders.items(), key=lambda item: item[1])
    ]
    for _, verdicts in outputs:
        assert {True, False} == {right for row in verdicts for right, _ in row}  # the responses do test the grader
    require_version("VERSION in extract/grading/__init__.py", grading.VERSION, outputs, GRADERS)


def test_image_reading():
    """Lossless formats only, because decoders of lossy ones may differ by a step."""
    rgb = Image.fromarray(colours())
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(colours()[:, :, 0]))
    grey = np.arange(48, dtype=np.uint16).reshape(6, 8)
    files = [
        *(encoded(rgb, "PNG", exif=turned_exif(n)) for n in range(1, 9)),
        *(encoded(image, "PNG") for image in (rgb, alpha, alpha.convert("LA"), rgb.convert("L"), rgb.convert("1"))),
        encoded(rgb.quantize(16), "PNG", transparency=3),
        encoded(rgb.quantize(16), "GIF", transparency=3),
        *(encoded(Image.fromarray(grey * scale), "PNG") for scale in (1, 100, 1300)),
        *(encoded(Image.fromarray(grey.astype(np.float32) / scale), "TIFF") for scale in (47, 1, 0.1)),
        encoded(rgb.convert("CMYK"), "TIFF"),
        encoded(rgb, "BMP"),
        encoded(alpha, "WEBP", lossless=True, exact=True),
        png(2, 0, [b"\x1b\x1b"] * 4, 8, (b"tRNS", b"\0\1")),
    ]
    pictures = [images.decode_image(data) for data in files]
    outputs = [(picture.size, hashlib.sha256(picture.tobytes()).hexdigest()) for picture in pictures]
    assert len({digest for _, digest in outputs}) > 15
    require_version("READING in extract/imaging/images.py", images.READING, outputs, READING)


@pytest.mark.slow
def test_toy():
    """Names and shapes of all weights, ids and pixels of a prompt, and logits up to rounding. The model is assembled
    here, because an already assembled one in `models/` would hide a change."""
    model, processor = assemble(Trained.load(TOY_MLLM))
    picture = Image.fromarray(np.kron(colours()[:32, :32], np.ones((3, 3, 1), np.uint8)))
    inputs = processor(
        text=processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour is it?"}]}],
            add_generation_prompt=True,
        ),
        images=[picture],
        return_tensors="pt",
    )
    weights = sorted((name, list(tensor.shape)) for name, tensor in model.state_dict().items())
    pixels = (inputs["pixel_values"] * 1000).round().int().tolist()
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1, ::5000].double().numpy()
    where = "VERSION in extract/toy/__init__.py"
    require_version(where, toy.VERSION, [weights, inputs["input_ids"].tolist(), pixels], TOY)
    found = [round(float(value), 3) for value in logits]
    assert np.allclose(found, LOGITS, atol=0.01), f"outputs changed: bump {where} and write LOGITS = {found} here"
