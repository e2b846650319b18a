"""Greedy decoding is greedy and sampling samples, whatever a model's own generation config requests."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from extract.backbone.decoding import end_tokens
from extract.backbone.generate import Generated, Sampling, generate
from extract.backbone.load import load_backbone
from extract.backbone.prompts import build_inputs
from extract.spec import ModelSpec
from tests.extract import tiny_models

STEPS = 5
QUERIES = [("what is this?", None), ("and a question that is longer than the first one", None)]
HOSTILE = {
    "max_length": 1, "min_length": 400, "min_new_tokens": 5, "early_stopping": "never", "max_time": 1e-9,
    "stop_strings": ["a", "e"], "do_sample": True, "num_beams": 3, "use_mtp": True, "use_cache": False,
    "cache_implementation": "static", "cache_config": {"backend": "quanto"}, "max_cache_len": 1, "temperature": 9.0,
    "top_k": 1, "top_p": 0.01, "min_p": 0.9, "top_h": 0.1, "typical_p": 0.1, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5,
    "repetition_penalty": 50.0, "encoder_repetition_penalty": 9.0, "length_penalty": -9.0, "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1, "renormalize_logits": True, "forced_bos_token_id": 5, "forced_eos_token_id": 7,
    "remove_invalid_values": True, "exponential_decay_length_penalty": [1, 9.0], "token_healing": True,
    "guidance_scale": 9.0, "watermarking_config": {"bias": 50.0}, "num_return_sequences": 2, "penalty_alpha": 0.9,
    "output_attentions": True, "output_hidden_states": True, "output_scores": True, "output_logits": True,
    "return_dict_in_generate": True, "is_assistant": True, "assistant_confidence_threshold": 0.9,
    "assistant_early_exit": 1, "prompt_lookup_num_tokens": 3, "speculation_type": "dflash", "dola_layers": "high",
    "num_beam_groups": 3, "diversity_penalty": 9.0, "constraints": [1], "force_words_ids": [[5]], "low_memory": True,
    "prefill_chunk_size": 2, "decoder_start_token_id": 5, "transformers_version": "99.0", "disable_compile": True,
    "custom_generate": "somebody/else", "trust_remote_code": True, "generation_mode": "beam_search", "bos_token_id": -4,
    "pad_token_id": 10**9, "made_up": "field",
}  # fmt: skip


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory):
    folder = tiny_models.save_llava(tmp_path_factory.mktemp("llava"), copy.deepcopy(toy.tokenizer))
    return load_backbone(ModelSpec(name=str(folder), device="cpu"))


def by_hand(backbone, query, steps: int) -> tuple[list[int], list[float]]:
    """The argmax of one full forward pass per token, until an end token, with the log-probabilities."""
    inputs = build_inputs(backbone, [query])
    tokens, log_probs, ends = [], [], end_tokens(backbone)
    while len(tokens) < steps and not set(tokens) & set(ends):
        with torch.inference_mode():
            log_p = backbone.model(**inputs, use_cache=False).logits[0, -1].log_softmax(dim=-1)
        tokens.append(int(log_p.argmax()))
        log_probs.append(float(log_p.max()))
        for name, value in (("input_ids", tokens[-1]), ("attention_mask", 1)):
            inputs[name] = torch.cat([inputs[name], torch.tensor([[value]])], dim=1)
    return tokens, log_probs


def same(one: Generated, other: Generated) -> None:
    np.testing.assert_array_equal(one.output_embedding, other.output_embedding)
    for answer, twin in zip(one.answers, other.answers, strict=True):
        assert (answer.text, answer.finish_reason) == (twin.text, twin.finish_reason)
        assert answer.first_token_entropy == twin.first_token_entropy
        np.testing.assert_array_equal(answer.token_logprobs, twin.token_logprobs)


def banned(backbone, inputs) -> dict[str, object]:
    """Fields that forbid or favour exactly the tokens that a plain answer begins with."""
    first = [by_hand(backbone, query, 1)[0][0] for query in QUERIES]
    return {
        "suppress_tokens": first,
        "begin_suppress_tokens": first,
        "bad_words_ids": [[token] for token in first],
        "sequence_bias": [[[token], -99.0] for token in first],
    }


def test_greedy_answers_are_the_argmax_of_every_forward_pass(llava):
    generated = generate(llava, build_inputs(llava, QUERIES), STEPS)
    for answer, query in zip(generated.answers, QUERIES, strict=True):
        tokens, log_probs = by_hand(llava, query, STEPS)
        assert answer.text == llava.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        np.testing.assert_allclose(answer.token_logprobs, log_probs, atol=1e-4)


@pytest.mark.parametrize(
    "sampling", [None, Sampling(tuple(range(len(QUERIES))), temperature=1.3, top_p=0.9)], ids=["greedy", "sampled"]
)
@pytest.mark.parametrize(
    "field",
    [*HOSTILE, "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias", "all of them"],
)
def test_no_field_of_the_models_own_config_changes_an_answer(llava, monkeypatch, field, sampling):
    inputs = build_inputs(llava, QUERIES)
    plain = generate(llava, inputs, STEPS, sampling=sampling)
    fields = HOSTILE | banned(llava, inputs)
    fields = fields if field == "all of them" else {field: fields[field]}
    own = copy.deepcopy(llava.model.generation_config)
    for name, value in fields.items():
        setattr(own, name, value)
    monkeypatch.setattr(llava.model, "generation_config", own)
    before = dict(vars(own))
    same(generate(llava, inputs, STEPS, sampling=sampling), plain)
    assert llava.model.generation_config is own
    assert vars(own) == before


def test_every_field_that_transformers_knows_is_tried():
    tried = {*HOSTILE, "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias"}
    settings = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    own = {"eos_token_id", "max_new_tokens"}
    machine = {
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "max_matching_ngram_size",
        "assistant_lookbehind",
        "target_lookbehind",
        "assistant_ensemble_weight",
        "compile_config",
        "continuous_batching_config",
    }  # of the assistants above, and of other ways to run
    assert settings <= tried | own | machine


def test_the_models_own_config_is_back_after_a_failure(llava, monkeypatch):
    own = llava.model.generation_config

    def fail(**options):
        raise RuntimeError("no")

    monkeypatch.setattr(llava.model, "generate", fail)
    with pytest.raises(RuntimeError, match="no"):
        generate(llava, build_inputs(llava, QUERIES), STEPS)
    assert llava.model.generation_config is own


@pytest.mark.parametrize(
    ("given", "ends"),
    [(7, [7]), ([7, 9], [7, 9]), ([7, -1, 10**9, "x", None, True, 2.5, [8]], [7])],
)
def test_end_tokens_are_the_models_as_a_number_or_several(llava, monkeypatch, given, ends):
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", given)
    assert end_tokens(llava) == ends


@pytest.mark.parametrize("given", [None, [], "</s>", -1])
def test_a_model_that_names_no_end_ends_where_its_tokenizer_says(llava, monkeypatch, given):
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", given)
    assert end_tokens(llava) == [llava.tokenizer.eos_token_id]
    tokens, _ = by_hand(llava, QUERIES[0], STEPS)
    own, llava.tokenizer.eos_token = llava.tokenizer.eos_token, llava.tokenizer.convert_ids_to_tokens(tokens[2])
    try:
        answer = generate(llava, build_inputs(llava, QUERIES[:1]), STEPS).answers[0]
    finally:
        llava.tokenizer.eos_token = own
    assert (answer.n_tokens, answer.finish_reason) == (tokens.index(tokens[2]) + 1, "stop")
