"""Models, adapters, encoders and datasets from the hub come from one commit, which is known and part of identities."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path

import huggingface_hub
import pytest

from extract.backbone import load
from extract.backbone.load import decoder_depth, load_backbone
from extract.datasets import get_dataset
from extract.job import extraction
from extract.job.embeddings import encoder_identity, encoder_source, load_encoder
from extract.job.extraction import make_identity
from extract.model_files import hub
from extract.source import adapter_source
from extract.spec import DatasetSpec, ModelSpec
from relope_jax.errors import ReLopeError
from tests.extract import tiny_models as tiny
from tests.extract.backbone.test_backbone import save_adapter
from tests.extract.job.plans import tiny_plan
from tests.extract.model_files.hub_cache import COMMIT, OTHER, cache_repository

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def llava(toy, tmp_path_factory) -> Path:
    """A tiny model with an adapter in the subfolder `lora`."""
    folder = tiny.save_llava(tmp_path_factory.mktemp("llava"), copy.deepcopy(toy.tokenizer))
    save_adapter(load_backbone(ModelSpec(name=str(folder), device="cpu")).model, ["q_proj", "v_proj"], folder / "lora")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache without a hub, as with HF_HUB_CACHE and HF_HUB_OFFLINE=1."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for function in (hub.commit_of, hub.dataset_commit, decoder_depth):
        function.cache_clear()
    yield tmp_path / "hub"
    for function in (hub.commit_of, hub.dataset_commit, decoder_depth):
        function.cache_clear()


@pytest.fixture
def models(cache, llava, tmp_path) -> Path:
    """Two commits of a model. Only the newer one has an adapter, and `main` points to it."""
    older = shutil.copytree(llava, tmp_path / "older", ignore=shutil.ignore_patterns("lora"))
    cache_repository(cache, "org/llava", older, OTHER, ref="old")
    cache_repository(cache, "org/llava", llava, COMMIT)
    return cache


def on_hub(**fields: str) -> ModelSpec:
    return ModelSpec(**{"name": "org/llava", "device": "cpu"} | fields)


def test_a_model_and_its_adapter_come_from_one_commit(models):
    adapted = load_backbone(on_hub(adapter="lora"))
    assert adapted.commit == COMMIT
    assert any("lora_A" in name for name, _ in adapted.model.named_parameters())
    assert load_backbone(on_hub(revision="old")).commit == OTHER
    with pytest.raises(ReLopeError, match="no adapter 'lora': neither that folder nor"):  # although `main` has one
        load_backbone(on_hub(adapter="lora", revision="old"))


def test_the_commit_of_model_and_adapter_is_in_the_identity(models, toy, tmp_path):
    (tmp_path / "plan").mkdir()
    plan = dataclasses.replace(tiny_plan(tmp_path / "plan", toy.tokenizer), model=on_hub(adapter="lora"))
    dataset, samples, splits = extraction.chosen_samples(plan.dataset)
    identity = make_identity(plan, load_backbone(plan.model), dataset, samples, splits)
    assert (identity.commit, identity.adapter) == (COMMIT, "lora") == (COMMIT, adapter_source(plan.model))


def test_the_depth_of_a_model_on_the_hub_needs_no_weights(models):
    for weights in models.rglob("*.safetensors"):
        weights.unlink()
    assert decoder_depth(on_hub()) == 3


@pytest.mark.parametrize("revision", ["main", "v9"])
def test_a_model_that_neither_hub_nor_cache_has_is_one_line(cache, revision):
    with pytest.raises(ReLopeError, match=r"neither a folder, nor in the local cache.*--config\.model\.name") as error:
        load_backbone(on_hub(revision=revision))
    assert "\n" not in str(error.value)


def test_an_encoder_is_pinned_to_a_commit_that_is_in_its_identity(cache):
    folder = cache_repository(cache, "org/encoder", Path(encoder_source("")), COMMIT)
    cache_repository(cache, "org/encoder", Path(encoder_source("")), OTHER, ref="v2")
    for revision, commit in (("main", COMMIT), ("v2", OTHER), (OTHER, OTHER)):
        assert encoder_identity("org/encoder", revision) == f"org/encoder {commit[:12]}"
        assert load_encoder("org/encoder", revision)(["a"]).shape == (1, 384)
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(ReLopeError, match="does not pool by the mean"):
        load_encoder("org/encoder", "main")
    with pytest.raises(ReLopeError, match=r"cannot load org/encoder: .*--config\.inputs\.encoder"):
        encoder_identity("org/encoder", "nowhere")


def test_the_commit_of_a_data_set_is_part_of_the_identity(cache, tmp_path):
    (tmp_path / "data").mkdir()
    cache_repository(cache, "HuggingFaceM4/A-OKVQA", tmp_path / "data", COMMIT, kind="datasets")
    specs = [
        DatasetSpec(name="aokvqa"),
        DatasetSpec(name="aokvqa", revision="x"),
        DatasetSpec(name="aokvqa", path="a"),
        DatasetSpec(name="jsonl"),
    ]
    found = [extraction._dataset_commit(spec, get_dataset(spec.name)) for spec in specs]
    assert found == [{"commit": COMMIT}, {"commit": ""}, {}, {}]


def test_a_hub_name_reaches_no_library(models, monkeypatch):
    """Libraries would follow references in a repository to other repositories; a folder has no such references."""
    sources = []
    for name in ("AutoProcessor", "AutoModelForMultimodalLM", "AutoConfig"):
        original = getattr(load, name).from_pretrained

        def noted(source, *args, original=original, **options):
            sources.append((Path(source).is_dir(), options["trust_remote_code"], options["local_files_only"]))
            return original(source, *args, **options)

        monkeypatch.setattr(getattr(load, name), "from_pretrained", noted)
    load_backbone(on_hub())
    assert set(sources) == {(True, False, True)}
