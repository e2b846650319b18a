"""Answers, log-probabilities and output embeddings against one plain forward pass per row, without cache or padding.
Both sides compute in float32 with different summation orders: 1e-4 absolute leaves a wide margin for values of about 1
to 10."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from extract.backbone.capture import Capture
from extract.backbone.generate import Generated, Sampling, caption_images, generate, stable_seed
from extract.backbone.load import Backbone, load_backbone
from extract.backbone.prompts import build_inputs
from extract.backbone.shared_prefill import SharedPrefill
from extract.backbone.template import PALIGEMMA
from extract.spec import ModelSpec
from relope_jax.errors import ReLopeError
from tests.extract import tiny_models as tiny

pytestmark = pytest.mark.filterwarnings(  # raised by PaliGemma's processor's own code
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

STEPS = 6
CASES = {
    "llava": (tiny.save_llava, load_backbone, "sdpa"),
    "qwen2_5_vl": (tiny.save_qwen2_5_vl, load_backbone, "sdpa"),
    "gemma3": (tiny.save_gemma3, load_backbone, "sdpa"),
    "paligemma2": (tiny.save_paligemma2, load_backbone, "eager"),  # caps the logits after the output head
    # With sdpa its vision tower attends causally unless an image in the batch is padded, so rows depend on each other.
    "phi4_multimodal": (tiny.save_phi4_multimodal, tiny.load_phi4, "eager"),
}


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


QUERIES = [
    ("what is this?", picture(0, (60, 90))),
    ("a much longer question about the second picture, which has another shape", picture(1, (110, 70))),
    ("no image here, but as long as it takes to have Phi-4 use the rotary frequencies of long prompts", None),
    ("and what is this?", picture(2, (56, 56))),
]


class Subject(NamedTuple):
    backbone: Backbone
    queries: list


@pytest.fixture(scope="module")
def load(toy, tmp_path_factory):
    def loaded(name: str) -> Subject:
        save, loader, attention = CASES[name]
        folder = save(tmp_path_factory.mktemp("tiny"), copy.deepcopy(toy.tokenizer))
        backbone = loader(ModelSpec(name=str(folder), device="cpu", attention=attention))
        return Subject(backbone, [q for q in QUERIES if q[1] is not None or name != "paligemma2"])

    return loaded


@pytest.fixture(scope="module", params=CASES)
def subject(request, load) -> Subject:
    return load(request.param)


@pytest.fixture(scope="module")
def llava(load) -> Subject:
    return load("llava")


@pytest.fixture
def tokens(monkeypatch):
    """Records the tokens that the model's own `generate` produces, newest last."""
    returned = []

    def spy(subject: Subject) -> list[torch.Tensor]:
        original = subject.backbone.model.generate

        def generate(**kwargs: Any) -> torch.Tensor:
            output = original(**kwargs)
            returned.append(output[:, kwargs["input_ids"].shape[1] :])
            return output

        monkeypatch.setattr(subject.backbone.model, "generate", generate)
        return returned

    return spy


@pytest.fixture
def ends(monkeypatch):
    def set_ends(subject: Subject, ends: int | list[int] | None, pad: int | None) -> None:
        monkeypatch.setattr(subject.backbone.model.generation_config, "eos_token_id", ends)
        monkeypatch.setattr(subject.backbone.model.generation_config, "pad_token_id", pad)

    return set_ends


def forward(subject: Subject, row: int, tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """log p `[tokens, vocabulary]` and final states `[tokens, d]` of a row at the positions that predict `tokens`."""
    inputs = build_inputs(subject.backbone, [subject.queries[row]])
    n = inputs["input_ids"].shape[1]
    new = torch.tensor([tokens[:-1]], dtype=torch.long)
    kinds = {  # of new tokens: attended to, and in PaliGemma outside of the bidirectional prefix
        "input_ids": new,
        "attention_mask": torch.ones_like(new),
        "token_type_ids": torch.full_like(new, subject.backbone.model.config.model_type == PALIGEMMA),
        "mm_token_type_ids": torch.zeros_like(new),
    }
    for name in kinds.keys() & inputs.keys():
        inputs[name] = torch.cat([inputs[name], kinds[name]], dim=1)
    states = []
    hook = subject.backbone.decoder.norm.register_forward_hook(lambda _m, _a, out: states.append(out))
    with torch.inference_mode():
        logits = subject.backbone.model(**inputs, use_cache=False).logits
    hook.remove()
    return logits[0, n - 1 :].log_softmax(dim=-1), states[0][0, n - 1 :]


def check(subject: Subject, generated: Generated, returned: torch.Tensor, lengths: list[int]) -> None:
    """Everything in `generated` equals the results of the plain forward pass of each row."""
    for row, (answer, n) in enumerate(zip(generated.answers, lengths, strict=True)):
        ids = returned[row, :n].tolist()
        log_p, states = forward(subject, row, ids)
        assert answer.n_tokens == n
        assert answer.token_logprobs.dtype == np.float32
        assert answer.text == subject.backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()
        np.testing.assert_allclose(answer.token_logprobs, log_p[range(n), ids], atol=1e-4, rtol=0)
        entropy = -(log_p[0].exp() * log_p[0]).sum()
        np.testing.assert_allclose(answer.first_token_entropy, entropy, atol=1e-4, rtol=0)
        np.testing.assert_allclose(generated.output_embedding[row], states.mean(dim=0), atol=1e-4, rtol=0)


def hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_greedy(subject, tokens, ends):
    """Left-padded prompts of different lengths without end tokens."""
    returned = tokens(subject)
    ends(subject, None, 0)
    inputs = build_inputs(subject.backbone, subject.queries)
    subject.backbone.model.generate(**inputs, max_new_tokens=1)  # transformers leaves hooks in some vision towers
    before = hooks(subject.backbone.model)
    assert len(set(inputs["attention_mask"].sum(dim=1).tolist())) > 2
    generated = generate(subject.backbone, inputs, STEPS)
    assert hooks(subject.backbone.model) == before
    assert generated.output_embedding.shape == (len(subject.queries), 32)
    assert generated.output_embedding.dtype == np.float32
    assert len({tuple(row) for row in returned[-1].tolist()}) > 1
    check(subject, generated, returned[-1], [STEPS] * len(subject.queries))


@pytest.mark.parametrize("several", [False, True])
def test_early_end(subject, tokens, ends, several):
    """The second token of one row is made the end; then two rows' at two steps, with padding that is itself an end."""
    returned = tokens(subject)
    ends(subject, None, 0)
    inputs = build_inputs(subject.backbone, subject.queries)
    free = generate(subject.backbone, inputs, STEPS)
    sequences = returned[0].tolist()
    chosen = [sequences[0][1], sequences[1][2]] if several else sequences[0][1]
    ends(subject, chosen, sequences[0][1])
    generated = generate(subject.backbone, inputs, STEPS)

    stops = set(chosen) if several else {chosen}
    lengths = [next((i + 1 for i, token in enumerate(row) if token in stops), STEPS) for row in sequences]
    assert lengths[0] <= 2
    assert len(set(lengths)) > 1
    check(subject, generated, returned[1], lengths)
    for answer, whole in zip(generated.answers, free.answers, strict=True):
        np.testing.assert_allclose(answer.token_logprobs, whole.token_logprobs[: answer.n_tokens], atol=1e-5)


def test_sampled_log_probabilities_are_the_models_own(subject, tokens, ends):
    returned = tokens(subject)
    ends(subject, None, 0)
    inputs = build_inputs(subject.backbone, subject.queries)
    sampling = Sampling(tuple(range(len(subject.queries))), temperature=2.0, top_p=0.8)
    generated = generate(subject.backbone, inputs, STEPS, sampling=sampling)
    check(subject, generated, returned[0], [STEPS] * len(subject.queries))


def test_greedy_is_what_generate_says_and_capture_sees(llava):
    """Inside `Capture`, as in an extraction."""
    backbone = llava.backbone
    inputs = build_inputs(backbone, llava.queries)
    with Capture(backbone, [2], inputs["attention_mask"]) as capture:
        generated = generate(backbone, inputs, STEPS)
    with torch.inference_mode(), Capture(backbone, [2], inputs["attention_mask"]) as plain:
        output = backbone.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    texts = backbone.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [answer.text for answer in generated.answers] == [text.strip() for text in texts]
    np.testing.assert_array_equal(capture.states(2).last_hidden, plain.states(2).last_hidden)


def test_hooks_are_removed_after_a_failure(llava, monkeypatch):
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(llava.backbone.model, "generate", fail)
    before = hooks(llava.backbone.model)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(llava.backbone, build_inputs(llava.backbone, llava.queries), STEPS)
    assert hooks(llava.backbone.model) == before


def test_a_bfloat16_model_is_summed_in_float32(llava):
    model = copy.deepcopy(llava.backbone.model).to(torch.bfloat16)
    half = dataclasses.replace(llava.backbone, model=model, decoder=model.get_decoder())
    generated = generate(half, build_inputs(half, llava.queries), STEPS)
    assert generated.output_embedding.dtype == generated.answers[0].token_logprobs.dtype == np.float32
    embedding = torch.from_numpy(generated.output_embedding)
    assert not torch.equal(embedding, embedding.bfloat16().float())  # means have more digits than bfloat16


def test_a_shared_prefill_is_computed_once_and_changes_nothing(subject, ends):
    """Bitwise, because it is the same computation: greedy, then sampled, then greedy again without any trace."""
    ends(subject, None, 0)
    inputs, model = build_inputs(subject.backbone, subject.queries), subject.backbone.model
    seeds = [tuple(range(first, first + len(subject.queries))) for first in (10, 20)]
    draws = [None, *(Sampling(each, temperature=2.0) for each in seeds), None]
    apart = [generate(subject.backbone, inputs, STEPS, sampling=sampling) for sampling in draws]
    widths, shared, own = [], SharedPrefill(), vars(model).get("forward")
    hook = subject.backbone.decoder.register_forward_hook(lambda _m, _a, out: widths.append(out[0].shape[1]))
    together = [generate(subject.backbone, inputs, STEPS, sampling=sampling, shared=shared) for sampling in draws]
    hook.remove()
    assert widths == [inputs["input_ids"].shape[1]] + [1] * (STEPS - 1) * len(draws)
    assert vars(model).get("forward") is own
    assert len({tuple(answer.text for answer in one.answers) for one in apart}) == 3
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(one.output_embedding, other.output_embedding)
        for answer, same in zip(one.answers, other.answers, strict=True):
            assert (answer.text, answer.first_token_entropy) == (same.text, same.first_token_entropy)
            np.testing.assert_array_equal(answer.token_logprobs, same.token_logprobs)


def test_sampling_follows_from_the_seed(llava):
    inputs = build_inputs(llava.backbone, llava.queries)

    def texts(seed: int) -> list[str]:
        sampling = Sampling(tuple(range(seed, seed + len(llava.queries))))
        answers = generate(llava.backbone, inputs, STEPS, sampling=sampling).answers
        return [answer.text for answer in answers]

    torch.manual_seed(1)
    one = texts(5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert texts(5) == one
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # the global random state is not used
    assert set(texts(15)).isdisjoint(one)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampling_draws_from_the_stated_distribution(llava, monkeypatch, temperature):
    """The mean of log p over 400 samples is within 5 standard errors of its expectation under softmax(logits / T),
    whatever filters and penalties the model's own generation config sets."""
    leaking = {"top_k": 1, "min_p": 0.9, "typical_p": 0.1, "top_h": 0.1, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5,
               "repetition_penalty": 50.0, "temperature": 0.01, "top_p": 0.1, "no_repeat_ngram_size": 1}  # fmt: skip
    for name, value in leaking.items():
        monkeypatch.setattr(llava.backbone.model.generation_config, name, value)
    query = next(i for i, (_, image) in enumerate(llava.queries) if image is None)
    log_p = forward(llava, query, [0])[0][0].double()
    drawn = (log_p / temperature).softmax(dim=-1)
    mean = (drawn * log_p).sum()
    deviation = (drawn * (log_p - mean) ** 2).sum().sqrt()
    inputs = build_inputs(llava.backbone, [llava.queries[query]] * 400)
    answers = generate(llava.backbone, inputs, 1, sampling=Sampling(tuple(range(400)), temperature)).answers
    found = np.array([answer.token_logprobs[0] for answer in answers])
    assert abs(found.mean() - float(mean)) < 5 * float(deviation) / np.sqrt(400)
    assert found.std() > 0.7 * float(deviation)  # typical_p would keep the mean and cut both tails


def test_no_freedom_is_greedy(llava):
    inputs = build_inputs(llava.backbone, llava.queries)
    greedy = [answer.text for answer in generate(llava.backbone, inputs, STEPS).answers]
    seeds = tuple(range(len(llava.queries)))
    for sampling in (Sampling(seeds, top_p=0.0), Sampling(seeds, temperature=1e-4)):
        drawn = generate(llava.backbone, inputs, STEPS, sampling=sampling).answers
        assert [answer.text for answer in drawn] == greedy


def test_wrong_settings_are_one_line():
    for temperature in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ReLopeError, match=r"sampling\.temperature is .*; it must be above 0"):
            Sampling((1,), temperature=temperature)
    with pytest.raises(ReLopeError, match=r"sampling\.top_p is 1\.1; it must be from 0 to 1"):
        Sampling((1,), top_p=1.1)


def test_stable_seed():
    seeds = {stable_seed(0), stable_seed(1), stable_seed("0"), stable_seed(0, "a", "b"), stable_seed(0, "b", "a")}
    assert len(seeds) == 5
    assert stable_seed(0, "a") == stable_seed(0, "a") == 3057973756231466050  # recorded once: the same in every process


def test_captions(subject):
    images = [image for _, image in subject.queries if image is not None]
    captions = caption_images(subject.backbone, images, max_new_tokens=4)
    assert len(captions) == len(images)
    assert all(isinstance(caption, str) for caption in captions)
    assert caption_images(subject.backbone, []) == []
