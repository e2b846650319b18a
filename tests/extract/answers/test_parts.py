"""The parts of answering: messages, styles, requests, the cache, settings."""

from __future__ import annotations

import base64
import dataclasses
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extract.answers.cache import Cache
from extract.answers.content import Question, decode, message, question_content
from extract.answers.request import Request, Response, requests_for
from extract.answers.styles import DIRECT, STEPS, answer_text, styled
from extract.datasets import get_dataset
from extract.imaging.images import LeftOut
from extract.queries.variants import Variant
from extract.sample import Sample
from extract.spec import AnswerSpec
from relope_jax.errors import ReLopeError
from tests import ROOT

RESPONSE = Response("red", [-0.1, -0.2], 10, 2, "stop", "m", "fp")


@pytest.mark.parametrize(
    ("text", "n_images", "shown"),
    [
        ("what?", 1, ["0", "what?"]),
        ("is <image 1> or <image 2> red?", 2, ["is ", "0", " or ", "1", " red?"]),
        ("<image 2> and <image 2>", 2, ["0", "1", " and ", "1"]),
        ("a <image 3> b", 1, ["0", "a <image 3> b"]),
        ("<image 0>x<image 1>", 1, ["<image 0>x", "0"]),
    ],
)
def test_images_stand_where_the_text_says(text, n_images, shown):
    content = message(text, [str(i) for i in range(n_images)])["content"]
    assert [piece["text"] if piece["type"] == "text" else piece["image_url"]["url"] for piece in content] == shown


def test_message_interleaves_and_passes_detail_on():
    assert message("hi", ()) == {"role": "user", "content": "hi"}
    content = message("a <image 1> b", ("data:1",), "low")["content"]
    assert content == [
        {"type": "text", "text": "a "},
        {"type": "image_url", "image_url": {"url": "data:1", "detail": "low"}},
        {"type": "text", "text": " b"},
    ]


@pytest.mark.parametrize(("format", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_image_file_is_sent_as_it_is(tmp_path, format, mime):
    path = tmp_path / "image.dat"  # the content decides, not the name
    Image.new("RGB", (90, 50), "red").save(path, format)
    url = content_of(path).urls[0]
    assert url == f"data:image/{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"


@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_other_formats_are_sent_as_png_without_loss(tmp_path, format):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image", format)
    url = content_of(tmp_path / "image").urls[0]
    assert url.startswith("data:image/png;")
    assert np.array_equal(np.asarray(decode(url)), pixels)


def test_torn_image_is_left_out(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "image.png")
    data = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(LeftOut, match=r"unreadable image .*image.png"):
        content_of(tmp_path / "image.png")


def content_of(path: Path) -> Question:
    sample = Sample("s", "g", "what?", "red", (path,))
    return question_content(get_dataset("jsonl"), sample, Variant(), {})


@pytest.mark.parametrize(
    ("style", "response", "graded"),
    [
        (DIRECT, " red ", "red"),
        (DIRECT, "Answer: red", "Answer: red"),
        (STEPS, "First\nAnswer: red", "red"),
        (STEPS, "Answer: blue? No.\n**Final answer:** red\n", "red"),
        (STEPS, "answer:\n", "answer:"),
        (STEPS, "no such line", "no such line"),
    ],
)
def test_answer_that_is_graded(style, response, graded):
    assert answer_text(style, response) == graded


def test_braces_in_a_question_stay():
    assert styled(STEPS, "{x} {prompt}").startswith("{x} {prompt}\nThink")


def test_every_part_of_a_request_is_in_its_key():
    request = Request(Question("s", "what?", ("data:1",)), DIRECT, 0, {"model": "m", "seed": 0})
    others = [
        dataclasses.replace(request, question=Question("s", "what?", ("data:2",))),
        dataclasses.replace(request, question=Question("s", "who?", ("data:1",))),
        dataclasses.replace(request, style=STEPS),
        dataclasses.replace(request, index=1),
        dataclasses.replace(request, question=Question("t", "what?", ("data:1",))),
        dataclasses.replace(request, fields={"model": "n", "seed": 0}),
        dataclasses.replace(request, detail="low"),
    ]
    keys = {request.key("a"), request.key("b"), *(other.key("a") for other in others)}
    assert len(keys) == 9
    again = dataclasses.replace(request, fields={"seed": 0, "model": "m"})
    assert again.key("a") == request.key("a")


def test_greedy_and_sampled_requests():
    question = Question("s", "what?", ())
    (greedy,) = requests_for(question, AnswerSpec(model="m", logprobs=False))
    assert greedy.fields == {"model": "m", "max_tokens": 512, "seed": 0, "temperature": 0.0}
    sampled = list(requests_for(question, AnswerSpec(model="m", samples=2, seed=7, extra='{"max_tokens": 9, "n": 1}')))
    assert [(r.style, r.index, r.fields["seed"]) for r in sampled] == [
        (DIRECT, 0, 7),
        (DIRECT, 1, 8),
        (STEPS, 0, 7),
        (STEPS, 1, 8),
    ]
    assert sampled[0].fields.items() >= {"temperature": 1.0, "top_p": 1.0, "max_tokens": 9, "n": 1}.items()


def test_cache_keeps_responses_and_is_no_pickle(tmp_path):
    path = tmp_path / "deep" / "answers.sqlite"
    with Cache(path) as cache:
        assert cache.get("k") is None
        cache.put("k", RESPONSE)
        with Cache(path) as other:  # visible at once in another process
            assert other.get("k") == RESPONSE
    with sqlite3.connect(path) as rows:
        assert rows.execute("SELECT response FROM responses").fetchone()[0].startswith('{"text": "red"')
    rows.close()


def test_several_processes_share_a_cache(tmp_path):
    code = (
        "import sys; from extract.answers.cache import Cache; from extract.answers.request import Response\n"
        "with Cache(sys.argv[1]) as c:\n"
        "    for i in range(20): c.put(f'{sys.argv[2]}{i}', Response('x', None, 1, 1, 'stop', '', ''))"
    )
    path = str(tmp_path / "answers.sqlite")
    commands = [[sys.executable, "-c", code, path, name] for name in "ab"]
    processes = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    assert [process.wait() for process in processes] == [0, 0]
    with Cache(path) as cache:
        assert all(cache.get(f"{name}{i}") for name in "ab" for i in range(20))


def test_unusable_cache_gives_one_line(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(ReLopeError, match=r"cannot use the answer cache .*not a database; choose another file"):
        Cache(path)
    with pytest.raises(ReLopeError, match="cannot use the answer cache"):
        Cache(path / "below")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, "answers.name is '../x'"),
        ({"base_url": "localhost:8000"}, "answers.base_url must look like"),
        ({"base_url": "https://me:sk-secret@host/v1"}, "without credentials"),
        ({"base_url": "https://host/v1?key=sk-secret"}, "without credentials"),
        ({"base_url": "http://[::1/v1"}, "answers.base_url must look like"),
        ({"base_url": "http://host:99999999/v1"}, "answers.base_url must look like"),
        ({"base_url": "http:///v1"}, "answers.base_url must look like"),
        ({"splits": ()}, "answers.splits is empty"),
        ({"splits": ("tset",)}, r"answers.splits is 'tset' \(did you mean 'test'"),
        ({"image_detail": "lo"}, "answers.image_detail"),
        ({"samples": -1}, "answers.samples"),
        ({"concurrency": 0}, "answers.concurrency"),
        ({"timeout": 0}, "answers.timeout"),
        ({"top_p": 1.5}, "answers.top_p"),
        ({"extra": "{"}, "answers.extra"),
        ({"extra": "[1]"}, "answers.extra"),
        ({"extra": '{"top_k": NaN}'}, "answers.extra"),
        ({"extra": "[" * 100_000}, "answers.extra"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ReLopeError, match=message) as error:
        AnswerSpec(**changes)
    assert "secret" not in str(error.value)
