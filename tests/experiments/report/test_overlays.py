"""Attention overlays: which prompts are shown, and the text about the image's share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from PIL import Image

from experiments.report import overlays
from experiments.report.overlays import Attention, Overlay, attention_overlays, choose, to_html
from relope_jax.io.files import sha256

LENGTH = 10  # tokens per prompt
N = 40


def made(image: str | None, digest: str = ""):
    """A run and its store. The image, at tokens 2 to 5, gets 0.4 of the attention for right answers, 0.2 for wrong."""
    labels = np.arange(N) % 2
    tokens = 4 if image else 0
    digest = digest or (sha256(Path(image)) if image and Path(image).is_file() else "0" * 64)
    samples = pa.table(
        {
            "sample_id": [f"s{i}" for i in range(N)],
            "question": ["<script>alert(1)</script> " + "long " * 400] * N,
            "answer": ["a"] * N,
            "response": ["<b>r</b>"] * N,
            "images": [[image] if image else []] * N,
            "contents": [[digest]] * N,
            "image_start": [2] * N,
            "image_tokens": [tokens] * N,
            "grid_height": [2 if image else 0] * N,
            "grid_width": [2 if image else 0] * N,
            "n_tokens": [LENGTH] * N,
        }
    )

    def weights(rows):
        share = np.where(labels[rows] == 1, 0.4, 0.2) + 0.001 * (rows % 3)
        found = np.repeat((1 - share)[:, None] / 6, LENGTH, axis=1)
        found[:, 2:6] = share[:, None] / 4
        return list(found)

    store = SimpleNamespace(
        samples=samples,
        column=lambda name: samples[name].to_numpy(),
        states=lambda rows: rows,
        block=SimpleNamespace(spec=SimpleNamespace(hidden_size=2**20)),
    )
    order = np.random.default_rng(0).permutation(N)  # the scores are not in the store's order
    scores = pa.table(
        {
            "sample_id": [f"s{i}" for i in order],
            "method": ["attention_probe"] * N,
            "seed": [0] * N,
            "split": ["test"] * N,
            "score": order / N,
            "label": labels[order],
        }
    )
    run = SimpleNamespace(scores=scores, restore=lambda method, seed: SimpleNamespace(attention=weights))
    return run, store


def test_right_and_wrong_answers_at_every_level():
    scores, labels = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7]), np.array([1, 0, 1, 0, 1, 0])
    chosen = choose(scores, labels)
    assert [(level, int(labels[i])) for level, i in chosen[:2]] == [("highest score", 1), ("highest score", 0)]
    assert [scores[i] for _, i in chosen] == [0.8, 0.9, 0.3, 0.7, 0.1, 0.2]
    assert choose(scores[:2], np.array([1, 1])) == [("highest score", 1), ("middle score", 0)], "no prompt twice"


def test_pairs_with_pictures_and_the_image_share(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (3000, 1500), "red").save(path)
    attention = attention_overlays(*made(str(path)), seed=0)
    assert [(e.right, e.level.split()[0]) for e in attention.examples] == [
        (right, level) for level in ("highest", "middle", "lowest") for right in (True, False)
    ]
    assert all(abs(e.image_share - (0.4 if e.right else 0.2)) < 0.01 for e in attention.examples)
    assert "gets 40.1% of the attention if the answer is right (20 prompts) and 20.1% if it is wrong (20)" in (
        attention.sentence
    )
    assert "a difference of +20.0 points" in attention.sentence
    assert "no significant difference" not in attention.sentence
    assert "share of the prompts' tokens is 40.0%" in attention.sentence
    page = to_html(attention)
    assert page.count("<svg") == page.count("class=card") == 6
    assert "<script>" not in page
    assert "<b>r</b>" not in page
    assert len(page) < 1_500_000, "large images are shown small"


def test_prompts_without_an_image_and_images_that_are_gone():
    attention = attention_overlays(*made(None), seed=0)
    assert attention.sentence == ""
    assert "no image in this prompt" in to_html(attention)
    gone = attention_overlays(*made("/none/<i>.png"), seed=0)
    assert "the image /none/&lt;i&gt;.png is not on this machine" in to_html(gone)


def test_the_picture_is_the_one_that_the_model_saw(tmp_path):  # C16 and C14
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 60), "red").save(path, exif=exif)
    (tmp_path / "torn.jpg").write_bytes(path.read_bytes()[:300])
    turned = overlays._picture(shown(path), np.ones(4))
    Image.new("RGB", (60, 120), "red").save(tmp_path / "upright.png")
    upright = overlays._picture(shown(tmp_path / "upright.png"), np.ones(4))
    Image.new("RGB", (120, 60), "red").save(tmp_path / "flat.png")
    flat = overlays._picture(shown(tmp_path / "flat.png"), np.ones(4))
    assert sizes_of_images(turned) == sizes_of_images(upright) != sizes_of_images(flat)
    torn = overlays._picture(shown(tmp_path / "torn.jpg"), np.ones(4))
    assert torn.startswith(f"<p>unreadable image {tmp_path}/torn.jpg")


def shown(path: Path) -> dict:
    """A prompt from a store that was made from this image."""
    return {"images": [str(path)], "contents": [sha256(path)], "grid_height": 2, "grid_width": 2}


def test_a_picture_that_the_store_was_not_made_of_does_not_get_into_the_report(tmp_path):
    """The store may come from elsewhere and name any file on this machine, and the report is passed on."""
    private, own = tmp_path / "private.png", tmp_path / "own.png"
    Image.new("RGB", (120, 60), "red").save(private)
    Image.new("RGB", (120, 60), "blue").save(own)
    assert "<image" in overlays._picture(shown(own), np.ones(4))
    for digests in ([sha256(own)], ["0" * 64], [None], [], None, [sha256(private)[:63]]):
        page = overlays._picture(shown(private) | {"contents": digests}, np.ones(4))
        assert page == f"<p>{private} is not the image that the store was made from</p>"
    linked = tmp_path / "link.png"
    linked.symlink_to(private)
    assert "is not the image" in overlays._picture(shown(own) | {"images": [str(linked)]}, np.ones(4))
    whole = attention_overlays(*made(str(private), sha256(own)), seed=0)
    assert "is not the image" in to_html(whole)
    assert "<svg" not in to_html(whole)


def test_odd_images_of_a_store_are_a_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    sample = shown(tmp_path / "x.png")
    odd = [str(tmp_path / "pipe"), "/dev/zero", "/proc/self/environ", str(tmp_path), "nul\0.png", "x" * 9000, None,
           "https://host/x.png", "\ud800", ""]  # fmt: skip
    for images in [*([name] for name in odd), [], None]:
        page = overlays._picture(sample | {"images": images}, np.ones(4))
        assert page.startswith("<p>")
        assert "not on this machine" in page or "not the image that the store was made from" in page
        assert len(page) < 400
    for height, width in ((None, 2), (-2, -2), (0, 0), (4, 4)):
        page = overlays._picture(sample | {"grid_height": height, "grid_width": width}, np.ones(4))
        assert page == "<p>the image's tokens do not form one grid</p>"


def test_a_file_above_the_limit_is_not_shown(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with open(tmp_path / "x.png", "ab") as file:
        file.truncate(2**20 + 1)
    monkeypatch.setenv("RELOPE_MAX_IMAGE_MB", "1")
    assert "not on this machine" in overlays._picture(shown(tmp_path / "x.png"), np.ones(4))


def sizes_of_images(svg: str) -> list[tuple[str, ...]]:
    return [tuple(re.findall(r'(?:width|height)="([^"]+)"', tag)) for tag in re.findall(r"<image [^>]*>", svg)]


def test_a_missing_partner_leaves_its_place_empty():
    one = Overlay(False, overlays.LEVELS[0][0], "q", "a", "r", 0.5, 0.1, "<p>none</p>")
    assert "<h3>Wrong answers</h3><div></div><figure class=card>" in to_html(Attention([one], ""))
