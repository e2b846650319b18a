"""Decides from the images which samples must stay on the same side of a split."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from extract.sample import Sample
from relope_jax.io import limits
from relope_jax.io.files import json_digest, sha256

MANY = 2000  # images above which hashing shows a progress bar

Key = tuple[str, str]  # ("given" | "id" | "image" | "question", value); samples that share a key belong together


def regroup(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with their final groups.

    Samples belong together when they share an image (the same bytes, whatever the file's name), a group given by the
    dataset, or, without an image, the same question and choices. This is transitive. The group's name is the one given
    by the dataset, else a sample's id; of several, the first in alphabetical order.
    """
    digests = _digests(sorted({image for sample in samples for image in sample.images}))
    keys = [_keys(sample, digests) for sample in samples]
    first = _connect(keys)
    return [dataclasses.replace(sample, group=first[own[0]][1]) for sample, own in zip(samples, keys, strict=True)]


def _keys(sample: Sample, digests: dict[Path, str]) -> list[Key]:
    keys = [("given", sample.group)] if sample.group else []
    # Named by ids rather than by image content, a group keeps its name (and its side) when a missing image is added.
    keys.append(("id", sample.sample_id))
    keys += [("image", digests[image]) for image in sample.images]
    if not sample.images and not sample.missing:
        keys.append(("question", _question_digest(sample)))
    return keys


def contents(sample: Sample) -> list[str]:
    """What two sides of a split must not share, also across stores: the SHA-256 of every image, or, without images, of
    the question and its choices."""
    return [image_digest(image) for image in sample.images] or [_question_digest(sample)]


def _question_digest(sample: Sample) -> str:
    """Many questions read "Which of these is true?", so the choices, in any order, are part of the digest."""
    return json_digest([sample.question, *sorted(sample.choices)])


def _connect(lists: Iterable[list[Key]]) -> dict[Key, Key]:
    """Maps every key to the first key, in sorted order, of its connected component; keys of one list are connected.

    That is a given group if there is one, else an id: the other kinds come later in alphabetical order.
    """
    parent: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for keys in lists:
        for key in keys:
            low, high = sorted((root(keys[0]), root(key)))
            parent[high] = low
    return {key: root(key) for key in parent}


def _digests(images: list[Path]) -> dict[Path, str]:
    bar = tqdm(images, desc="comparing images", unit="image", disable=len(images) <= MANY)
    return {image: image_digest(image) for image in bar}


def image_digest(image: Path) -> str:
    """SHA-256 of an image file, cached as long as the file's size and time of change stay the same."""
    try:
        status = image.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= limits.IMAGE.bytes:
            return _read_digest(image, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        pass
    # Absent, not a file, or too large: the extraction will report it. Until then the path identifies it.
    return hashlib.sha256(str(image).encode()).hexdigest()


@functools.cache
def _read_digest(image: Path, size: int, changed: int) -> str:
    return sha256(image)
