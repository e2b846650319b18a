"""Asks every question of a store, grades the answers and publishes them."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Container, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from extract.answers.cache import Cache
from extract.answers.collect import Collected, collect
from extract.answers.content import Captions, Question, question_content
from extract.answers.endings import count_endings, incomplete_line
from extract.answers.endpoint import Endpoint
from extract.answers.local import InProcess
from extract.answers.request import styles_of, token_limit
from extract.answers.styles import CONFIDENCE, answer_text, stated_percent
from extract.answers.table import Read, refuse_other_settings, require_writable, settings_of, table_names, write_answers
from extract.datasets import Dataset, get_dataset
from extract.imaging.images import LeftOut
from extract.plan import Extraction
from extract.queries.variants import Variant, load_captions, parse_variant
from extract.sample import Sample
from extract.spec import AnswerSpec, DatasetSpec
from relope_jax.errors import ReLopeError
from relope_jax.io.place import open_place
from relope_jax.states.answers import Answers
from relope_jax.states.view import ReadableStore


def answer(
    plan: Extraction, spec: AnswerSpec, store: ReadableStore, limit_setting: str = "answers.max_tokens"
) -> Answers:
    """Ask the questions of `store` as set in `spec`, grade the answers and publish them.

    Args:
      limit_setting: the setting of `spec.max_tokens`, for the message about answers that are cut off.

    Raises:
      ReLopeError: the store, server or settings cannot be used. Answers received so far stay in the cache.
    """
    place, dataset = open_place(store.path), get_dataset(plan.dataset.name)
    variant = parse_variant(plan.dataset.variant)
    require_model(spec)
    small = None if spec.base_url else InProcess(plan.model)
    if small and spec.extra_fields:
        raise ReLopeError("answers.extra has fields for a server's requests: leave it empty, or give answers.base_url")
    spec = dataclasses.replace(spec, model=plan.model.name) if small else spec
    settings = settings_of(spec, small.source if small else spec.base_url, str(variant))
    refuse_other_settings(place, spec.name, settings)
    require_writable(place, spec.name)
    old_tables = table_names(place, spec.name)
    samples, read = samples_of(store, dataset, plan.dataset, spec.splits), reader(spec, dataset, store)
    captions = _captions(store, plan.dataset, samples) if variant.needs_captions else {}
    collected = Collected(spec)
    total = len(samples) * len(styles_of(spec)) * max(spec.samples, 1)
    # In random order, different in every process: bad questions do not cluster, and processes that share a cache rarely
    # request the same answer.
    order = samples if small else random.sample(samples, len(samples))
    shown = _answers_of(store) if spec.ask == CONFIDENCE else None
    questions = functools.partial(_questions, dataset, order, variant, captions, shown, collected)
    with Cache(spec.cache) as cache, tqdm(total=total, desc="asking", unit="answer", smoothing=0.05) as bar:
        if small:
            small.collect(questions, cache, collected, bar)
        else:
            with Endpoint(spec) as endpoint:
                collect(questions, endpoint, cache, collected, bar)
    collected.require_enough(total)
    answers = write_answers(place, settings, read, samples, collected, old_tables)
    report(answers, collected, limit_setting)
    return answers


def require_model(spec: AnswerSpec) -> None:
    """Raise ReLopeError with the models that the server offers, when no model is set."""
    if spec.model or not spec.base_url:
        return
    with Endpoint(spec) as endpoint:
        offered = ", ".join(endpoint.models()) or "none, or it does not say"
    raise ReLopeError(f"name the model with --config.answers.model=...; {spec.base_url} offers: {offered}")


def samples_of(store: ReadableStore, dataset: Dataset, spec: DatasetSpec, splits: tuple[str, ...]) -> list[Sample]:
    """The dataset's samples that are in the store and in these splits, in the store's order."""
    chosen = store.samples.filter(pc.is_in(store.samples["split"], pa.array(splits)))
    wanted = chosen["sample_id"].to_pylist()
    samples = {sample.sample_id: sample for sample in dataset.load(spec)}
    if lost := [sample_id for sample_id in wanted if sample_id not in samples]:
        raise ReLopeError(f"{spec.name} lacks {len(lost)} samples of {store.path}, the first '{lost[0]}'")
    return [samples[sample_id] for sample_id in wanted]


def reader(spec: AnswerSpec, dataset: Dataset, store: ReadableStore) -> Read:
    """The function that turns a response into a final answer and a label. The response "" is not graded."""
    if spec.ask != CONFIDENCE:

        def read(sample: Sample, style: str, response: str) -> tuple[str, int]:
            if not response:
                return "", 0
            answer = answer_text(style, response)
            if not (final := dataset.final_answer(sample, answer)):  # no answer in the announced part: use everything
                answer, final = response, dataset.final_answer(sample, response)
            return final, int(dataset.grade(sample, answer))

        return read
    labels = dict(zip(store.column("sample_id"), store.column("label"), strict=True))
    return lambda sample, style, response: (stated_percent(response), int(labels[sample.sample_id]))


def _answers_of(store: ReadableStore) -> dict[str, str]:
    """The small model's greedy answers, which the style "confidence" asks about."""
    return dict(zip(store.column("sample_id"), store.column("response"), strict=True))


def _captions(store: ReadableStore, spec: DatasetSpec, samples: list[Sample]) -> dict[str, tuple[str, ...]]:
    """Text that replaced the images: the captions in the file, else the small model's own captions of single images."""
    own = dict(zip(store.column("sample_id"), store.column("caption"), strict=True))
    captions = {sample.sample_id: (own[sample.sample_id],) for sample in samples if len(sample.images) == 1}
    return captions | (load_captions(spec.captions) if spec.captions else {})


def _questions(
    dataset: Dataset,
    samples: Sequence[Sample],
    variant: Variant,
    captions: Captions,
    answers: dict[str, str] | None,
    collected: Collected,
    only: Container[str] | None,
) -> Iterator[Question]:
    """The questions of all samples or of those in `only`, one at a time because their images would fill the memory.

    Args:
      answers: the answer to show with each sample's question; None shows none.
    """
    for sample in samples:
        if only is not None and sample.sample_id not in only:
            continue
        try:
            question = question_content(dataset, sample, variant, captions)
        except LeftOut as reason:
            collected.leave_out(sample.sample_id, reason)
        else:
            yield dataclasses.replace(question, answer=answers[sample.sample_id]) if answers else question


def report(answers: Answers, collected: Collected, limit_setting: str) -> None:
    """Print how many answers arrived, how many are missing or incomplete, and what they cost."""
    totals, paid = collected.totals, collected.paid
    for entry in collected.left_out[:5]:
        print(f"left out {entry['sample_id']}: {entry['reason']}")
    if collected.left_out:
        print(f"{len(collected.left_out)} answers are left out; the same command tries them again")
    endings = count_endings(
        zip(*(answers.table[name].to_pylist() for name in ("finish_reason", "response")), strict=True)
    )
    if line := incomplete_line(endings, *token_limit(collected.spec, limit_setting)):
        print(line)
    print(
        f"answers '{answers.name}': accuracy {answers.settings['accuracy']:.3f} of {len(answers.table)} answers, "
        f"{totals.prompt_tokens} prompt and {totals.completion_tokens} answer tokens, {totals.cost:.4g} $; "
        f"this run paid for {paid.answers} of {totals.answers} answers: {paid.cost:.4g} $"
    )
    if totals.uncounted:
        print(f"{totals.uncounted} answers came without token counts: their cost is unknown and not in the sum")
