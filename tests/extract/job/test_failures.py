"""Failures of the model are narrowed down to their samples, which are listed and left out; the others are extracted."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from extract.backbone import narrowing
from extract.backbone.narrowing import is_out_of_memory, narrowed
from extract.datasets.jsonl import JSONL
from extract.job import extraction, part
from extract.job.health import spread
from extract.job.open import open_or_extract
from extract.plan import Extraction
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from relope_jax.states.store import Store
from tests.extract import tiny_models as tiny
from tests.extract.job.plans import asking, contents, end_often, save_pictures
from tests.selection import first

UNKNOWN = "<beyond>"  # a token of the tokenizer for which the tiny LLaVA has no embedding: the forward pass fails


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory) -> Path:
    """A tiny LLaVA whose tokenizer has more tokens than its embedding has rows."""
    folder = tmp_path_factory.mktemp("llava")
    tiny.save_llava(folder, copy.deepcopy(toy.tokenizer))
    tokenizer = copy.deepcopy(toy.tokenizer)
    tokenizer.add_tokens([UNKNOWN])
    template = (folder / "chat_template.jinja").read_text()
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def ask(folder: Path, model: Path, questions: list[str], **extract) -> Extraction:
    """These questions, each about its own picture."""
    names = [f"{i}.png" for i in range(len(questions))]
    save_pictures(folder, {name: (40, 28 + i) for i, name in enumerate(names)})
    rows = [{"question": question, "image": name} for question, name in zip(questions, names, strict=True)]
    return asking(folder, model, rows, **extract)


def reasons(store: Store) -> dict[str, str]:
    return {entry["sample_id"]: entry["reason"] for entry in store.manifest.failed}


@pytest.mark.parametrize("error", [ValueError, RuntimeError, IndexError, KeyError, AssertionError, ZeroDivisionError])
@pytest.mark.parametrize("bad", [set(), {0}, {63}, {5, 6}, {0, 17, 40}, set(range(64))], ids=str)
def test_a_failure_is_narrowed_in_few_runs(bad, error):
    runs = []

    def run(items):
        runs.append(items)
        if bad.intersection(items):
            raise error("of these")
        return list(items)

    found = list(narrowed(range(64), run))
    assert [i for items, _, _ in found for i in items] == list(range(64))  # in order, each once
    assert {items[0] for items, result, _ in found if result is None} == bad
    assert all(reason and len(items) == 1 for items, result, reason in found if result is None)
    assert all(result == list(items) and not reason for items, result, reason in found if result is not None)
    assert len(runs) <= 1 + 2 * len(bad) * math.log2(64)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), ReLopeError("x"), KeyboardInterrupt()]
)
def test_what_is_no_fault_of_a_sample_is_not_narrowed(error):
    runs = []

    def run(items):
        runs.append(items)
        raise error

    with pytest.raises(type(error)):
        list(narrowed([1, 2, 3], run))
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("split_with_sizes expects split_sizes to sum exactly to 32"), False),
        (ValueError("out of memory of past events"), False),
    ],
)
def test_lost_memory_is_told_from_other_failures(error, expected):
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize("token_budget", [1, 4096])
def test_failing_forward_pass_leaves_out_its_sample(llava, tmp_path, token_budget, capsys):
    questions = ["what is this?"] * 11
    good = [q for i, q in enumerate(questions) if i not in (3, 7)]
    questions[3] = questions[7] = f"what does {UNKNOWN} mean, and why is it longer than the others?"
    store = open_or_extract(ask(tmp_path, llava, questions, token_budget=token_budget))
    assert list(reasons(store)) == ["q03", "q07"]
    assert reasons(store)["q03"].startswith("the model fails on it: IndexError: ")
    assert len(store.samples) == len(store.states()) == len(store.output_embedding()) == len(good)
    assert {piece.token_budget for piece in store.manifest.parts} == {token_budget}  # other errors leave it alone
    out = capsys.readouterr().out
    assert "2 samples are left out (2 the model fails on it)" in out
    assert "left out q03: the model fails on it: IndexError" in out


def test_lost_memory_and_failing_samples_are_told_apart(llava, tmp_path, monkeypatch):
    """Both in one part: the budget shrinks until the batch fits and no further, and one sample is left out."""
    run, sizes = part.PartExtractor._run, []

    def limited(self, queries, inputs, gathered):
        sizes.append(len(queries))
        if len(queries) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        run(self, queries, inputs, gathered)

    monkeypatch.setattr(part.PartExtractor, "_run", limited)
    questions = ["what is this?"] * 12
    questions[4] = f"what {UNKNOWN}?"
    store = open_or_extract(ask(tmp_path, llava, questions))
    assert list(reasons(store)) == ["q04"]
    assert len(store.samples) == 11
    assert sizes[:3] == [12, 6, 3]
    assert max(sizes[2:]) == 3
    (piece,) = store.manifest.parts
    assert piece.token_budget >= 3 * store.column("n_tokens").max()


def test_a_restart_and_other_batches_give_the_same_store(llava, tmp_path, monkeypatch):
    """Failures are stored with their part. Which samples are left out does not depend on their batches."""
    questions = ["what is this?", f"{UNKNOWN}?", "and this?", "is it red?", f"or {UNKNOWN}?", "blue?"]
    plan = ask(tmp_path, llava, questions, part_size=2)
    whole = open_or_extract(plan)
    extract, calls = part.PartExtractor.extract, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(*args, **kwargs)

    monkeypatch.setattr(part.PartExtractor, "extract", interrupted)
    again = dataclasses.replace(plan, store=tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        open_or_extract(again)
    open_or_extract(again)
    assert contents(again.store) == contents(Path(whole.path))


def test_image_that_the_tower_fails_on_is_left_out(toy, tmp_path):
    """C47: in a batch of its own, a picture of one merged token fails in transformers' patch merger."""
    model = tiny.save_mistral3(tmp_path / "mistral", copy.deepcopy(toy.tokenizer))
    save_pictures(tmp_path, {"1.png": (1, 1), "2.png": (60, 90), "3.png": (40, 40), "4.png": (14, 14)})
    rows = [{"question": "what is this?", "image": f"{i}.png"} for i in (1, 2, 3, 4)]
    store = open_or_extract(asking(tmp_path, model, rows, token_budget=1))
    assert list(reasons(store)) == ["q00", "q03"]
    assert "the model fails on it: RuntimeError: split_with_sizes" in reasons(store)["q00"]
    assert store.column("sample_id").tolist() == ["q01", "q02"]


PLACEHOLDERS = {
    "llava": ["<image>"],
    "idefics3": ["<image>", "<fake_token_around_image>"],
    "qwen2_vl": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "qwen2_5_vl": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "qwen3_vl": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "gemma3": ["<image_soft_token>", "<start_of_image>", "<end_of_image>"],
    "paligemma2": ["<image>"],
    "mistral3": ["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
    "pixtral": ["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
    "phi4_multimodal": ["<image>"],
}


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("family", first(3, PLACEHOLDERS))
@pytest.mark.parametrize("variant", ["", "question_only"])
def test_placeholder_in_a_question_is_left_out(toy, tmp_path, monkeypatch, family, variant):
    """C47: a question that contains one of the model's own image tokens, whatever they are, cannot be asked."""
    if family == "paligemma2" and variant:
        pytest.skip("PaliGemma cannot take a question without an image")
    if family == "phi4_multimodal":
        monkeypatch.setattr(extraction, "load_backbone", tiny.load_phi4)
    model = getattr(tiny, f"save_{family}")(tmp_path / "model", copy.deepcopy(toy.tokenizer))
    tokens = PLACEHOLDERS[family]
    questions = ["what is this?", "and that?", "is <b>it</b> a [link] or |a pipe|?"]
    questions += [f"what does {token} mean?" for token in tokens] + [f"<image 1>{tokens[0]}{tokens[0]}"]
    plan = ask(tmp_path, model, questions)
    if family == "paligemma2":
        plan = dataclasses.replace(plan, model=dataclasses.replace(plan.model, attention="eager"))
    store = open_or_extract(dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, variant=variant)))
    assert store.column("sample_id").tolist() == ["q00", "q01", "q02"]
    assert all("the model's image placeholder" in reason for reason in reasons(store).values())
    assert len(reasons(store)) == len(tokens) + 1


def test_grader_that_fails_leaves_out_its_sample(llava, tmp_path, monkeypatch):
    """Unlike the forward pass, it fails after the states were computed."""

    def grade(sample, response):
        return 1 / (sample.sample_id != "q02") > 0

    monkeypatch.setattr(extraction, "get_dataset", lambda name: dataclasses.replace(JSONL, grade=grade))
    model = shutil.copytree(llava, tmp_path / "model")
    end_often(model, every=1)  # truncated answers are not graded
    store = open_or_extract(ask(tmp_path, model, ["what is this?"] * 5))
    assert reasons(store) == {"q02": "its answer cannot be graded: ZeroDivisionError: division by zero"}
    assert len(store.samples) == len(store.states()) == 4


@pytest.mark.parametrize("text", ["bad \ud83d emoji", "\udc80", "end \udfff"])
@pytest.mark.parametrize("field", ["question", "answer", "choices"])
def test_broken_unicode_never_reaches_the_tokenizer(llava, tmp_path, monkeypatch, text, field):
    """C48: readers refuse it; if some gets past them, the sample is left out, whichever the field."""
    plan = ask(tmp_path, llava, ["what is this?"] * 4)
    load = JSONL.load

    def broken(spec):
        first, *rest = load(spec)
        return [dataclasses.replace(first, **{field: (text,) if field == "choices" else text}), *rest]

    monkeypatch.setattr(extraction, "get_dataset", lambda name: dataclasses.replace(JSONL, load=broken))
    store = open_or_extract(plan)
    assert list(reasons(store)) == ["q00"]
    assert "surrogate" in reasons(store)["q00"]


def test_prompt_longer_than_the_positions_is_left_out_and_counted(llava, tmp_path, capsys):
    """M4: 512 positions, 3 of them for the answer; the last prompt fills them exactly."""
    save_pictures(tmp_path, {f"{i}.png": (40, 40) for i in range(5)})

    def rows(n: int) -> list[dict]:
        words = [1, 2, n, n + 1, 1000]
        return [{"question": "a" + " a" * (count - 1), "image": f"{i}.png"} for i, count in enumerate(words)]

    short = open_or_extract(asking(tmp_path, llava, rows(100)))
    base = short.column("n_tokens")[0] - 1  # tokens of everything but the question
    fits = 512 - 3 - base
    plan = dataclasses.replace(asking(tmp_path, llava, rows(fits)), store=tmp_path / "filled")
    store = open_or_extract(plan)
    assert store.column("n_tokens").max() == 509
    assert reasons(store) == {
        "q03": "longer than the model's positions: 510 tokens and 3 for the answer, 512 positions",
        "q04": f"longer than the model's positions: {base + 1000} tokens and 3 for the answer, 512 positions",
    }
    assert "2 samples are left out (2 longer than the model's positions)" in capsys.readouterr().out


def overflowing(folder: Path, tokenizer, words: list[str]) -> Path:
    """A tiny LLaVA that overflows when it reads one of these words."""
    tiny.save_llava(folder, copy.deepcopy(tokenizer))
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        for word in words:
            for token in tokenizer(word, add_special_tokens=False)["input_ids"]:
                model.get_input_embeddings().weight[token] = torch.inf
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("labelled", [False, True], ids=["generated", "labels-from-a-store"])
def test_states_that_are_not_finite_leave_out_their_sample(toy, llava, tmp_path, labelled, monkeypatch):
    model = overflowing(tmp_path / "model", toy.tokenizer, [" overflow"])
    questions = ["what is this?", "an overflow", "and that?", "is it red?", "no overflow", "blue?"]
    plan = ask(tmp_path, model, questions)
    if labelled:
        monkeypatch.setattr("extract.job.labels.differing", lambda *_: [])  # accept another model's answers here
        labels = open_or_extract(dataclasses.replace(plan, model=ModelSpec(str(llava)), store=tmp_path / "labels"))
        plan = dataclasses.replace(plan, extract=dataclasses.replace(plan.extract, labels_from=labels.path))
    store = open_or_extract(plan)
    assert list(reasons(store)) == ["q01", "q04"]
    assert all("states are not finite" in reason for reason in reasons(store).values())
    assert len(store.samples) == 4
    store.states().require_finite(store.column("sample_id").tolist())


def test_model_that_overflows_always_ends_the_run_with_one_line(toy, tmp_path):
    model = overflowing(tmp_path / "model", toy.tokenizer, ["assistant"])
    plan = ask(tmp_path, model, ["what is this?"] * 30, part_size=5)
    for _ in range(2):
        with pytest.raises(ReLopeError, match=r"every sample failed \(\d+ were tried\), the first: its states are not"):
            open_or_extract(plan)
    assert not list(plan.store.glob("parts/*"))


@pytest.mark.parametrize("n", [3, 7, 60])
@pytest.mark.parametrize("part_size", [2, 100])
def test_model_that_fails_on_everything_ends_early_and_publishes_nothing(llava, tmp_path, monkeypatch, n, part_size):
    plan = ask(tmp_path, llava, [f"what is {UNKNOWN}?"] * n, part_size=part_size)
    runs, run = [], part.PartExtractor._passed
    monkeypatch.setattr(part.PartExtractor, "_passed", lambda self, inputs: runs.append(1) or run(self, inputs))
    for _ in range(2):
        with pytest.raises(ReLopeError, match=r"^every sample failed .*the first: the model fails on it: IndexError"):
            open_or_extract(plan)
    assert not list(plan.store.glob("parts/*"))
    assert len(runs) <= 2 * 40  # not every sample, alone and in every batch
    rows = [json.loads(line) for line in Path(plan.dataset.path).read_text().splitlines()]
    assert len(rows) == n


@pytest.mark.parametrize("part_size", [2, 100])
def test_many_failures_in_front_do_not_end_a_run_that_works_later(llava, tmp_path, part_size):
    """The longest prompts come first, and here the first parts contain nothing else."""
    questions = [f"what is {UNKNOWN}, and what does it mean?"] * 20 + ["what is this?"] * 10
    store = open_or_extract(ask(tmp_path, llava, questions, part_size=part_size))
    assert len(store.samples) == 10
    assert list(reasons(store)) == [f"q{i:02d}" for i in range(20)]


def test_last_part_of_failures_alone_finishes_a_store(llava, tmp_path, monkeypatch):
    """After a restart nothing has worked in this process, but the published parts show that the model works."""
    plan = ask(tmp_path, llava, ["what is this?", "and that?", "or this?", f"{UNKNOWN}?"], part_size=3)
    extract, calls = part.PartExtractor.extract, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(*args, **kwargs)

    monkeypatch.setattr(part.PartExtractor, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_or_extract(plan)
    assert list(reasons(open_or_extract(plan))) == ["q03"]


def test_probes_are_from_everywhere():
    assert spread(range(1000), 4) == (125, 375, 625, 875)
    assert spread(range(3)) == (0, 1, 2)
    assert spread([]) == ()


def lose_accelerator(monkeypatch, on: str) -> list[int]:
    """Like a device-side assert: the forward pass fails, and the accelerator is unusable afterwards."""
    attempt, sizes = part.PartExtractor._attempt, []

    def failing(self, batch):
        sizes.append(len(batch))
        if any(sample.sample_id == on for sample in batch):
            monkeypatch.setattr(narrowing, "accelerator_is_lost", lambda: True)
            raise RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`")
        return attempt(self, batch)

    monkeypatch.setattr(part.PartExtractor, "_attempt", failing)
    return sizes


def test_lost_accelerator_is_one_line_and_restarts_find_the_sample(llava, tmp_path, monkeypatch):
    """The next process tries the suspect batch one by one, and the one after that leaves the sample out."""
    plan = ask(tmp_path, llava, ["what is this?"] * 9, part_size=4, token_budget=10_000)
    lines = []
    for _ in range(2):
        with monkeypatch.context() as process:
            lose_accelerator(process, on="q05")
            with pytest.raises(ReLopeError, match="the accelerator failed and this process") as stopped:
                open_or_extract(plan)
        lines.append(str(stopped.value))
    assert "device-side assert triggered" in lines[0]
    assert "tries the 4 samples of that batch one by one" in lines[0]
    assert "leaves out the sample q05" in lines[1]
    assert all("\n" not in line for line in lines)
    with monkeypatch.context() as process:
        sizes = lose_accelerator(process, on="q05")
        store = open_or_extract(plan)
    assert sizes == [1, 1, 1, 1]  # three suspects alone, then the last part
    assert list(reasons(store)) == ["q05"]
    assert reasons(store)["q05"].startswith("the accelerator fails on it: RuntimeError: CUDA error: device-side assert")
    assert len(store.samples) == 8
    assert not list(plan.store.glob("crashes/*"))
