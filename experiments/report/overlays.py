"""The Attention Probe's weights on the images of example test prompts, with right and wrong answers side by side, and
the image's total share of attention."""

from __future__ import annotations

import dataclasses
import hashlib
import html

import numpy as np
import pyarrow.compute as pc

from experiments.report.drawing import to_svg
from experiments.report.figures import attention_overlay
from extract.imaging.images import LeftOut, decode_image
from extract.text import shortened
from relope_jax.errors import ReLopeError
from relope_jax.io import limits
from relope_jax.io.files import read_bytes
from relope_jax.metrics.intervals import Z_95
from relope_jax.run import Router, Run
from relope_jax.states.view import ReadableStore

METHOD = "attention_probe"
LEVELS = (("highest score", 1.0), ("middle score", 0.5), ("lowest score", 0.0))  # among right or among wrong answers
MEASURED = 200  # test prompts used for the average attention
STATE_BYTES = 2**28  # of states per chunk


@dataclasses.dataclass(frozen=True)
class Overlay:
    """One example: question, answer, the probe's score, and the picture, or the reason for its absence, as HTML."""

    right: bool
    level: str
    question: str
    answer: str
    response: str
    score: float
    image_share: float
    picture: str


@dataclasses.dataclass(frozen=True)
class Attention:
    """Pairs of examples, and a sentence on the image's share of attention over a sample of the split."""

    examples: list[Overlay]
    sentence: str


def attention_overlays(run: Run, store: ReadableStore, seed: int) -> Attention:
    """The report's section on the Attention Probe's weights."""
    table = run.scores.filter(
        (pc.field("method") == METHOD) & (pc.field("seed") == seed) & (pc.field("split") == "test")
    )
    row_of = {sample_id: i for i, sample_id in enumerate(store.column("sample_id"))}
    rows = np.array([row_of[name] for name in table["sample_id"].to_pylist()])
    scores, labels = table["score"].to_numpy(), table["label"].to_numpy()
    chosen = choose(scores, labels)
    router = run.restore(METHOD, seed)
    weights = attention(router, store, rows[[i for _, i in chosen]])
    examples = [
        _overlay(level, bool(labels[i]), store.samples.slice(rows[i], 1).to_pylist()[0], float(scores[i]), weight)
        for (level, i), weight in zip(chosen, weights, strict=True)
    ]
    measured = np.sort(np.random.default_rng(0).permutation(len(rows))[:MEASURED])  # the same in every report
    return Attention(examples, share_sentence(router, store, rows[measured], labels[measured]))


def choose(scores: np.ndarray, labels: np.ndarray) -> list[tuple[str, int]]:
    """Choose one right and one wrong answer per level, without repeating prompts."""
    order = {label: np.flatnonzero(labels == label)[np.argsort(scores[labels == label])] for label in (1, 0)}
    taken: set[int] = set()
    chosen = []
    for level, quantile in LEVELS:
        for label in (1, 0):
            if len(order[label]):
                i = int(order[label][round(quantile * (len(order[label]) - 1))])
                chosen += [(level, i)] if i not in taken else []
                taken.add(i)
    return chosen


def attention(router: Router, store: ReadableStore, rows: np.ndarray) -> list[np.ndarray]:
    """The probe's weights on the prompts' tokens, computed in chunks of bounded size."""
    longest = int(np.max(store.column("n_tokens")))
    step = max(1, STATE_BYTES // (4 * longest * store.block.spec.hidden_size))
    parts = [rows[i : i + step] for i in range(0, len(rows), step)]
    return [weight for part in parts for weight in router.attention(store.states(part))]


def share_sentence(router: Router, store: ReadableStore, rows: np.ndarray, labels: np.ndarray) -> str:
    """A sentence on the share of attention on the image, for right and for wrong answers."""
    start, count = (np.nan_to_num(store.column(f"image_{name}")[rows]).astype(int) for name in ("start", "tokens"))
    with_image = count > 0
    rows, labels, start, count = rows[with_image], labels[with_image], start[with_image], count[with_image]
    sizes = [int((labels == label).sum()) for label in (1, 0)]
    if min(sizes) < 2:
        return ""
    weights = attention(router, store, rows)
    share = np.array([w[s : s + n].sum() for w, s, n in zip(weights, start, count, strict=True)])
    even = np.mean(count / np.array([len(weight) for weight in weights]))
    right, wrong = share[labels == 1], share[labels == 0]
    difference = right.mean() - wrong.mean()
    error = Z_95 * np.sqrt(right.var(ddof=1) / len(right) + wrong.var(ddof=1) / len(wrong))
    clear = "" if abs(difference) > error else ", so no significant difference"
    return (
        f"Over {len(rows)} test prompts, the image gets {right.mean():.1%} of the attention if the answer is right "
        f"({len(right)} prompts) and {wrong.mean():.1%} if it is wrong ({len(wrong)}): a difference of "
        f"{100 * difference:+.1f} points, 95% interval {100 * (difference - error):+.1f} to "
        f"{100 * (difference + error):+.1f}{clear}. The image's share of the prompts' tokens is {even:.1%}."
    )


def _overlay(level: str, right: bool, sample: dict, score: float, attention: np.ndarray) -> Overlay:
    start, count = sample["image_start"], sample["image_tokens"]
    on_image = attention[start : start + count] if count else np.zeros(0)
    return Overlay(
        right,
        level,
        sample["question"],
        sample["answer"],
        sample["response"],
        score,
        float(on_image.sum()),
        _picture(sample, on_image),
    )


def _picture(sample: dict, on_image: np.ndarray) -> str:
    if not len(on_image):
        return "<p>no image in this prompt</p>"
    height, width = (max(0, sample[f"grid_{side}"] or 0) for side in ("height", "width"))
    if height * width != len(on_image):
        return "<p>the image's tokens do not form one grid</p>"
    try:
        image = decode_image(_own_image(sample), sample["images"][0])
    except LeftOut as reason:
        return f"<p>{html.escape(str(reason))}</p>"
    return to_svg(attention_overlay(image, on_image.reshape(height, width)))


def _own_image(sample: dict) -> bytes:
    """The bytes of a prompt's first image.

    An untrusted store could name any file on this machine, and reports are shared. Therefore only files whose SHA-256
    is recorded in the store are shown. Raises LeftOut.
    """
    path, digest = ((sample.get(column) or [None])[0] for column in ("images", "contents"))
    try:
        data = read_bytes(path, limits.IMAGE)
    except (OSError, ValueError, TypeError, ReLopeError) as error:
        raise LeftOut(f"the image {shortened(path)} is not on this machine") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise LeftOut(f"{shortened(path)} is not the image that the store was made from")
    return data


def to_html(attention: Attention) -> str:
    """A grid: right answers on the left, wrong ones on the right, one row per level of the score."""
    cells = {(example.level, example.right): card(example) for example in attention.examples}
    rows = "".join(
        cells.get((level, right), "<div></div>")
        for level, _ in LEVELS
        if any((level, right) in cells for right in (True, False))
        for right in (True, False)
    )
    sentence = f"<p>{html.escape(attention.sentence)}</p>" if attention.sentence else ""
    return f"{sentence}{NOTE}<div class=pairs><h3>Right answers</h3><h3>Wrong answers</h3>{rows}</div>"


NOTE = (
    "<p class=note>The probe's weight on every image token, overlaid on the image. Before training it is uniform over "
    "all prompt tokens.</p>"
)


def card(overlay: Overlay) -> str:
    """One captioned picture."""
    e = html.escape
    return (
        f"<figure class=card>{overlay.picture}<figcaption><p><b>{e(overlay.level)}</b>: {overlay.score:.2f}</p>"
        f"<p class=long>{e(overlay.question)}</p>"
        f"<p class=long>answered <i>{e(overlay.response)}</i>, reference <i>{e(overlay.answer)}</i></p>"
        f"<p class=note>{overlay.image_share:.0%} of the attention is on the image</p></figcaption></figure>\n"
    )
