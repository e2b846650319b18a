"""Where a question's images belong in its text. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLACE = re.compile(r"<image (\d{1,4})>")  # the place of image k in a question's text, k from 1


def place_images(text: str, n_images: int) -> tuple[list[dict[str, str]], list[int]]:
    """The content of the user turn, texts and image places in order, and the index of the image at each place.

    Images without a place in the text come first. An image placed twice is shown twice. `<image 9>` stays text if there
    is no ninth image.
    """
    pieces = PLACE.split(text)  # text, number, text, number, ..., text
    placed = [int(number) - 1 for number in pieces[1::2]]
    order = [i for i in range(n_images) if i not in placed]
    content: list[dict[str, str]] = [{"type": "image"} for _ in order]
    _add_text(content, pieces[0])
    for i, piece in zip(placed, pieces[2::2], strict=True):
        if 0 <= i < n_images:
            content.append({"type": "image"})
            order.append(i)
        else:
            _add_text(content, f"<image {i + 1}>")
        _add_text(content, piece)
    return content, order


def _add_text(content: list[dict[str, str]], text: str) -> None:
    """Append text, merging it with a last piece that is text."""
    if content and content[-1]["type"] == "text":
        content[-1]["text"] += text
    elif text:
        content.append({"type": "text", "text": text})


def unplaced(texts: Iterable[str], n_images: int) -> str:
    """Why a question with these texts cannot be asked with `n_images` images: it refers to others. "" when it can."""
    placed = {int(number) for text in texts for number in PLACE.findall(text)}
    if beyond := sorted(k for k in placed if k > n_images):
        return f"it places <image {beyond[0]}>, and its row has {n_images} images"
    return ""
