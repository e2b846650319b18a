"""What a task of the suite draws and how it becomes a dataset: deterministic, one file per image, written once."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from PIL import Image

from extract.datasets.base import Dataset
from extract.datasets.reading.images import save_image
from extract.grading import choices as multiple_choice
from extract.grading import exact
from extract.sample import Sample
from extract.spec import DatasetSpec
from relope_jax.io.files import write_text

CAPTIONS = "captions.jsonl"  # next to the images; for the variant "caption"
CHOICES = "{question}\nChoices: {choices}"

Material = TypeVar("Material")


class SceneQuestion(NamedTuple):
    """A question about a scene. With `choices`, the answer is the text of one of them.

    Attributes:
      asked: whether the dataset contains it. Toy MLLMs are also trained on other questions: ambiguous ones, and ones
        about scenes that resemble training scenes.
    """

    text: str
    answer: str
    choices: tuple[str, ...] = ()
    asked: bool = True


@dataclasses.dataclass(frozen=True)
class Scene:
    """A drawing (None for questions without an image) and the questions about it.

    Attributes:
      caption: what it shows.
      words: what each cell shows, row by row from the top left; a toy MLLM's projector is aligned to these words.
    """

    image: Image.Image | None
    questions: tuple[SceneQuestion, ...]
    caption: str = ""
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task(Generic[Material]):
    """One task of the suite.

    Attributes:
      version: incremented whenever the same seed gives other scenes, so that old images and stores are not reused.
      material: pieces of real data, one per scene. Every other piece is reserved for training the toy MLLMs, so that no
        question is about a piece seen in training.
      draw: the scene of one piece. All its randomness comes from the generator passed in.
    """

    name: str
    version: int
    material: Callable[[], Sequence[Material]]
    draw: Callable[[Material, random.Random], Scene]

    def load(self, spec: DatasetSpec) -> list[Sample]:
        """All questions about pieces that no toy MLLM was trained on, in a fixed order."""
        folder = self.folder(spec)
        samples, captions = [], []
        for number, piece in enumerate(shuffled(self, "questions")):
            scene = self.draw(piece, random.Random(f"{self.name}-{self.version}-{number}"))
            if not any(question.asked for question in scene.questions):
                continue
            images = () if scene.image is None else (save_image(_png(scene.image), folder, ".png"),)
            group = f"{self.name}-{number:04d}"
            for k, question in enumerate(scene.questions):
                if not question.asked:
                    continue
                sample_id = f"{group}-{k}"
                samples.append(Sample(sample_id, group, question.text, question.answer, images, question.choices))
                if scene.caption:
                    captions.append(json.dumps({"id": sample_id, "caption": scene.caption}) + "\n")
        if captions:
            write_text(folder / CAPTIONS, "".join(captions))
        return samples

    def folder(self, spec: DatasetSpec) -> Path:
        """The folder of the images."""
        return Path(spec.image_cache) / f"{self.name}-{self.version}"

    def captions(self, spec: DatasetSpec) -> str:
        """The file of captions, for a task whose scenes have captions; written by `load`."""
        path = self.folder(spec) / CAPTIONS
        if not path.exists():
            self.load(spec)
        return str(path)

    def training_scenes(self, rng: random.Random) -> Callable[[], Scene]:
        """An endless source of scenes for training a toy MLLM, from the pieces reserved for it."""
        pieces = shuffled(self, "training")
        return lambda: self.draw(rng.choice(pieces), rng)


def shuffled(task: Task[Material], use: str) -> list[Material]:
    """The pieces for "questions" or for "training" in a fixed random order."""
    pieces = list(task.material())
    random.Random(f"{task.name}-pieces").shuffle(pieces)
    return pieces[0::2] if use == "questions" else pieces[1::2]


def prompt(sample: Sample) -> str:
    """The question with its choices, if any."""
    return ask(sample.question, sample.choices)


def ask(question: str, choices: Sequence[str]) -> str:
    """The user turn of a question with its choices, if any."""
    return CHOICES.format(question=question, choices=", ".join(choices)) if choices else question


def grade(sample: Sample, response: str) -> bool:
    """By choice if there are choices, else by the same words."""
    return multiple_choice.grade(sample, response) if sample.choices else exact.grade(sample, response)


def final_answer(sample: Sample, response: str) -> str:
    """The choice's letter, or the normalised words."""
    return multiple_choice.final_answer(sample, response) if sample.choices else exact.final_answer(sample, response)


def dataset(task: Task[Material]) -> Dataset:
    """The registry entry of a task."""
    return Dataset(
        name=task.name,
        load=task.load,
        prompt=prompt,
        grade=grade,
        final_answer=final_answer,
        prompt_template=f"{task.version}|{CHOICES}",
    )


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
