"""Settings of an extraction. No torch here: configs and tests import these without loading a model."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from typing import Any

from relope_jax.errors import ReLopeError, require_choice, require_range
from relope_jax.io.paths import expand_fields
from relope_jax.states.answer_files import is_answer_name

TOY_MLLM = "toy-mllm"
TOY_MODELS = (TOY_MLLM, "toy-small", "toy-large")  # built from pretrained parts in PyPI packages


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """The small MLLM.

    Attributes:
      name: hub name, local folder, or one of the toys in `TOY_MODELS` (built from pretrained parts in PyPI packages).
      revision: branch, tag or commit on the hub.
      dtype: "float32", "bfloat16" or "float16".
      device: "cpu", "cuda", ..., or "auto" (an accelerator if there is one).
      device_map: "auto", "balanced", ... spreads a large model over all accelerators (needs the accelerate package);
        empty keeps it on `device`.
      attention: attention implementation in transformers.
      trust_remote_code: run code from the model's repository; leave it off unless you have read that code.
      adapter: PEFT adapter to load and activate: a local folder, or a subfolder of the model such as
        Phi-4-multimodal's "vision-lora"; needs the peft package.
      min_pixels, max_pixels: smallest and largest area of an image as shown to the model, in pixels (width x height); 0
        keeps the model's own. Larger images are scaled down; docs/guide/models.md describes this for each family.
    """

    name: str = TOY_MLLM
    revision: str = "main"
    dtype: str = "float32"
    device: str = "auto"
    device_map: str = ""
    attention: str = "sdpa"
    trust_remote_code: bool = False
    adapter: str = ""
    min_pixels: int = 0
    max_pixels: int = 0

    def __post_init__(self) -> None:
        require_choice("model.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        require_range("model.min_pixels", self.min_pixels, 0)
        require_range("model.max_pixels", self.max_pixels, 0)
        if self.max_pixels and self.min_pixels > self.max_pixels:
            raise ReLopeError(f"model.min_pixels is {self.min_pixels}, above model.max_pixels, {self.max_pixels}")
        expand_fields(self, *self.paths())

    def paths(self) -> tuple[str, ...]:
        """Fields that may be a folder on this machine."""
        return ("name", "adapter")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Labelled queries and how to split them.

    Attributes:
      name: a registered dataset: a benchmark ("mmmu", "aokvqa", "scienceqa", "chartqa", "mathvision"), a task of the
        suite ("easy_vqa", "vega_charts", "digit_sums", "us_places", "vega_plots") or "jsonl".
      path: the "jsonl" file; a benchmark's folder or table (docs/guide/datasets.md); empty reads the hub.
      benchmark_split: the published split of a benchmark to read from a folder or the hub; empty: its default split.
      revision: branch, tag or commit of a benchmark on the hub.
      outside: whether images may be outside the data's own folder; leave it off for data from others.
      image_cache: folder to which images embedded in a benchmark's tables are unpacked once.
      variant: a change to every query: "noise:25", "jpeg:20", "blur:2", "caption", "question_only"; empty: none.
      captions: JSONL file for the variant "caption"; empty lets the small model describe the images itself.
      modality: "text" keeps only questions without an image, "image" only those with one; empty keeps both.
      max_questions: number of questions to sample at random; 0 keeps all.
      validation, test: shares of the groups (images); the rest is for training.
      seed: of the sampling and of the split.
      only_split: extract only the prompts of this split, for a store used to test routers trained on another one.
    """

    name: str = "easy_vqa"
    path: str = ""
    benchmark_split: str = ""
    revision: str = "main"
    outside: bool = False
    image_cache: str = "data/images"
    variant: str = ""
    captions: str = ""
    modality: str = ""
    max_questions: int = 0
    validation: float = 0.2
    test: float = 0.3
    seed: int = 0
    only_split: str = ""

    def __post_init__(self) -> None:
        expand_fields(self, "path", "image_cache", "captions")
        require_choice("dataset.modality", self.modality, ("", "text", "image"))
        require_choice("dataset.only_split", self.only_split, ("", "train", "validation", "test"))
        require_range("dataset.max_questions", self.max_questions, 0)
        require_range("dataset.validation", self.validation, 0, 1)
        require_range("dataset.test", self.test, 0, 1)


@dataclasses.dataclass(frozen=True)
class ExtractSpec:
    """What is captured, and how.

    Attributes:
      layer: l, 1-based, the layer that routers read: Z^(l-1) of every prompt token and z_n^(l) are stored.
      layers: further layers to store in the same pass, for a sweep over l.
      state_dtype: "bfloat16" or "float32" for Z^(l-1); z_n^(l) is always float32.
      max_new_tokens: maximum length of the greedy answer.
      token_budget: padded tokens per batch including the answers, which limits the accelerator's memory. It is halved
        for the rest of a part if memory still runs out.
      part_size: prompts per part; a restart recomputes at most one part.
      labels_from: a finished store of the same questions whose answers and labels are reused, so that nothing is
        generated; for variants that do not change the label.
    """

    layer: int = 24
    layers: tuple[int, ...] = ()
    state_dtype: str = "bfloat16"
    max_new_tokens: int = 8
    token_budget: int = 4096
    part_size: int = 256
    labels_from: str = ""

    def __post_init__(self) -> None:
        expand_fields(self, "labels_from")
        require_choice("extract.state_dtype", self.state_dtype, ("bfloat16", "float32"))
        for field in ("layer", "max_new_tokens", "token_budget", "part_size"):
            require_range(f"extract.{field}", getattr(self, field), 1)
        if not all(isinstance(layer, int) and layer >= 1 for layer in self.layers):
            raise ReLopeError(f"extract.layers is {self.layers!r}; it must be numbers of layers such as (12, 18)")

    @property
    def all_layers(self) -> list[int]:
        """Every layer to store, ascending."""
        return sorted({self.layer, *self.layers})


@dataclasses.dataclass(frozen=True)
class AnswerSpec:
    """Answers to a store's questions: which model answers, with which requests, and at what cost.

    Attributes:
      name: name of the answers; they are written to STORE/answers/ with a sidecar NAME.json.
      model: the model's name on the server; unused in this process.
      base_url: an OpenAI-compatible server, such as http://localhost:8000/v1; empty uses the config's small model in
        this process. A query is sent with every request; with Azure's ?api-version=... the key also goes into its
        header.
      key_env: NAME of the environment variable that holds the key; empty sends no key.
      splits: the splits whose questions are asked.
      ask: "question", or "confidence": how likely it is that the small model's answer in the store is right.
      samples: 0 for one greedy answer; k for k sampled answers under each of the two prompts.
      temperature, top_p: of the sampled answers; the greedy one has temperature 0.
      max_tokens: maximum length of an answer.
      seed: of the first sampled answer; answer i has seed + i.
      logprobs: request token log-probabilities.
      image_detail: "low", "high" or "auto" for servers that support it; empty omits it.
      extra: JSON object of further fields for a server's requests, such as '{"top_k": 20}'; null removes a field.
      concurrency: parallel requests; in this process, prompts per batch.
      retries: further tries after a transient failure.
      timeout: maximum seconds per request.
      price_in, price_out: dollars per million tokens of prompts and of answers.
      cache: SQLite file of all responses ever received; several runs may share it.
    """

    name: str = "large"
    model: str = ""
    base_url: str = ""
    key_env: str = "OPENAI_API_KEY"
    splits: tuple[str, ...] = ("train", "validation", "test")
    ask: str = "question"
    samples: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    logprobs: bool = True
    image_detail: str = ""
    extra: str = ""
    concurrency: int = 16
    retries: int = 6
    timeout: float = 120.0
    price_in: float = 0.0
    price_out: float = 0.0
    cache: str = "cache/answers.sqlite"

    def __post_init__(self) -> None:
        if not is_answer_name(self.name):
            raise ReLopeError(f"answers.name is '{self.name}'; it names a file: letters, digits, '.', '_' and '-'")
        if self.base_url:
            require_server_url("answers.base_url", self.base_url)
        if not self.splits:
            raise ReLopeError("answers.splits is empty; it can be ('train', 'validation', 'test')")
        for split in self.splits:
            require_choice("answers.splits", split, ("train", "validation", "test"))
        expand_fields(self, "cache")
        require_choice("answers.ask", self.ask, ("question", "confidence"))
        if self.ask == "confidence" and self.samples:
            raise ReLopeError("answers.ask=confidence takes one greedy answer: leave answers.samples at 0")
        require_choice("answers.image_detail", self.image_detail, ("", "low", "high", "auto"))
        require_range("answers.temperature", self.temperature, 0, 10)
        require_range("answers.top_p", self.top_p, 0, 1)
        require_range("answers.timeout", self.timeout, 0.001)
        for field in ("samples", "retries", "price_in", "price_out"):
            require_range(f"answers.{field}", getattr(self, field), 0)
        for field in ("max_tokens", "concurrency"):
            require_range(f"answers.{field}", getattr(self, field), 1)
        if self.extra_fields is None:
            raise ReLopeError(f"answers.extra is '{self.extra}'; it must be a JSON object such as '{{\"top_k\": 20}}'")

    @property
    def extra_fields(self) -> dict[str, Any] | None:
        """`extra` as an object; None when it is not a JSON object."""
        try:
            fields = json.loads(self.extra or "{}", parse_constant=_no_number)
        except (ValueError, RecursionError):
            return None
        return fields if isinstance(fields, dict) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# A base_url is written to files, so no part of its query may be a key, judged by name or by appearance.
_SECRET_NAME = re.compile(
    "key|token|secret|pass|pwd|auth|cred|bearer|jwt|cookie|session|signature|(?<![a-z])(?:code|sig|sign|sas)(?![a-z])"
)
_SECRET_VALUE = re.compile(r"(?i:sk|pk|ghp|hf|xai|gsk)[-_]\w.*|eyJ.*|[\w+/=-]{32,}")


def require_server_url(field: str, text: str) -> None:
    """Raise ReLopeError unless `text` is the address of a server: scheme, host, optional port, path and a query without
    a key. The message never repeats the address."""
    try:
        url = urllib.parse.urlsplit(text)
        plain = not (set("@#\\") & set(text)) and text.isprintable() and " " not in text
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and plain
    except ValueError:
        good = False
    if not good:
        raise ReLopeError(
            f"{field} must look like http://host:8000/v1, or https://NAME.openai.azure.com/openai/deployments/"
            "DEPLOYMENT?api-version=2024-10-21, without credentials"
        )
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ReLopeError(f"{field} ends in /chat/completions, which is added automatically: remove it")
    if _holds_a_key(url.query):
        raise ReLopeError(
            f"{field} has what looks like a key in its query, and would be written to files: put the key into the "
            "environment variable that answers.key_env names, and remove it from the address, without credentials"
        )


def _holds_a_key(query: str) -> bool:
    """Whether a parameter of a query is a key, judged by its name or by the appearance of its name or value."""
    for part in filter(None, re.split("[&;]", query)):
        name, _, value = (urllib.parse.unquote_plus(piece) for piece in part.partition("="))
        if _SECRET_NAME.search(name.lower()) or _SECRET_VALUE.fullmatch(name) or _SECRET_VALUE.fullmatch(value):
            return True
    return False
