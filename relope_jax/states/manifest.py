"""The metadata of a token-state store: schema, identity, parts and checksums."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io import limits
from relope_jax.io.files import json_digest, parse_json, to_json
from relope_jax.io.inside import shown_name
from relope_jax.io.place import Place
from relope_jax.io.typed import LARGEST, record_of, require_between, require_digest
from relope_jax.states.layout import (
    IDENTITY,
    MANIFEST,
    MODEL_DTYPES,
    PART,
    REGRADING,
    STATE_DTYPES,
    block_name,
    part_files,
    part_title,
)

SCHEMA_VERSION = 6
SINCE = "since 6 a store records the version of its graders"
DIGEST, LONGEST = 64, 80  # characters of a SHA-256, and the maximum for a value in a message
DEEPEST_LAYER, WIDEST = 10_000, 2**24  # far above any model


# Fields of an identity that are counts.
_COUNTS = ("max_new_tokens", "part_size", "token_budget", "image_reading", "min_pixels", "max_pixels", "graders")
# Explanations for fields of an identity that differ.
WHY = {
    "image_reading": "images are now rotated upright and composited on white, so the states differ",
    "graders": "the labels were graded by another version of the graders",
    "versions": "other library versions give different states",
}


@dataclasses.dataclass(frozen=True)
class Identity:
    """All settings that affect the states. Two extractions with equal identity give the same store.

    Local folders and files are identified by the digest of their contents. For them, `model` and the dataset's `path`
    are only the last part of the path, for readers, and may differ.
    """

    model: str
    source: str  # digest of a local model's files, or the requested revision on the hub
    commit: str  # the commit of that revision on the hub; empty for a local model
    adapter: str  # digest of a local adapter's files, or its subfolder's name on the hub; empty without one
    layers: list[int]  # every l, 1-based, ascending: the store holds Z^(l-1) and z_n^(l) of each
    hidden_size: int
    model_dtype: str
    state_dtype: str
    attention: str
    device: str  # "cpu", "cuda", ...: devices round differently
    device_map: str  # how the model was split over several devices; empty for one device
    prompt_hash: str  # of the chat template, the dataset's prompt template and the caption prompt
    graders: int  # version of the graders
    dataset: dict[str, Any]  # its settings, including the variant, and digests of its files
    questions: str  # digest of every prompt with its right answers
    samples: str  # digest of every sample's group, split and images
    labels_from: str  # digest of the store whose labels were reused; empty if the answers were graded
    max_new_tokens: int
    part_size: int
    token_budget: int
    versions: dict[str, str]
    image_reading: int = 0  # version of the code that reads images; 0 without images
    min_pixels: int = 0  # minimum and maximum area of images; 0 is the model's default
    max_pixels: int = 0

    @staticmethod
    def parse(record: Any) -> Identity:
        """Parse the identity in a manifest; raises ValueError if a field has a wrong type or range."""
        identity = record_of(Identity, record, "identity")
        layers, dataset = identity.layers, identity.dataset
        if not layers or layers != sorted(set(layers)) or layers[0] < 1 or layers[-1] > DEEPEST_LAYER:
            raise ValueError(f"layers are {shown_name(layers)}; they must ascend, from 1 to at most {DEEPEST_LAYER}")
        require_between(identity, 1, WIDEST, "hidden_size")
        require_between(identity, 0, LARGEST, *_COUNTS)
        if identity.state_dtype not in STATE_DTYPES:
            raise ValueError(f"state_dtype is {shown_name(identity.state_dtype)}")
        if identity.model_dtype not in MODEL_DTYPES:
            raise ValueError(f"model_dtype is {shown_name(identity.model_dtype)}")
        if not all(isinstance(dataset.get(field), str) for field in ("name", "path", *{"sha256"} & dataset.keys())):
            raise ValueError("name, path or sha256 of the dataset is not a string")
        return identity

    def record(self) -> dict[str, Any]:
        """The contents of identity.json."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    def differences(self, record: Any) -> list[str]:
        """`"field: config mine, store theirs"` for every field that differs from an identity.json."""
        mine, theirs = _by_content(self.record()), _by_content(record if isinstance(record, dict) else {})
        return [difference(k, mine.get(k), theirs.get(k)) for k in mine | theirs if mine.get(k) != theirs.get(k)]


def difference(field: str, mine: object, theirs: object) -> str:
    """A message about a field that differs between the config and a store, and why it matters."""
    why = WHY.get(field.partition(".")[0])
    return f"{field}: config {_shown(mine)}, store {_shown(theirs)}" + (f": {why}" if why else "")


def _shown(value: object) -> str:
    text = repr(value)
    if isinstance(value, str) and len(value) == DIGEST:
        return repr(value[:12])
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _by_content(record: dict[str, Any]) -> dict[str, Any]:
    """A record with flattened dicts, without the names of items that are identified by digest."""
    flat: dict[str, Any] = {}
    for field, value in record.items():
        flat |= {f"{field}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {field: value}
    if not flat.get("commit"):  # a folder: `source` is its digest
        flat.pop("model", None)
    if flat.get("dataset.sha256"):
        flat.pop("dataset.path", None)
    return flat


@dataclasses.dataclass(frozen=True)
class Part:
    """One published part of the store; `files` maps its files to their SHA-256."""

    name: str
    n_samples: int
    n_tokens: int
    token_budget: int  # the identity's, or less if the accelerator ran out of memory
    failed: list[dict[str, str]]  # sample_id and reason of every sample left out
    files: dict[str, str]

    def to_json(self) -> str:
        """The contents of part.json: the record with its own digest."""
        return _sealed(dataclasses.asdict(self))

    @staticmethod
    def parse(record: Any, title: str, layers: Sequence[int]) -> Part:
        """Parse part `title` of a store with these layers; raises ValueError if a field has a wrong type, range or
        pattern, or the part has wrong files."""
        part = record_of(Part, record, f"part {title}")
        if part.name != title:
            raise ValueError(f"a part is called {shown_name(part.name)} instead of {title}")
        require_between(part, 0, LARGEST, "n_samples", "token_budget")
        require_between(part, part.n_samples, LARGEST if part.n_samples else 0, "n_tokens")
        if not all(entry.keys() == {"sample_id", "reason"} for entry in part.failed):
            raise ValueError(f"a failed sample of part {title} lacks sample_id or reason, or has other fields")
        needed, possible = part_files(layers, part.n_samples)
        for name in sorted((part.files.keys() - possible) | (needed - part.files.keys())):
            raise ValueError(f"part {title} {'lacks' if name in needed else 'names'} the file {shown_name(name)}")
        for name, digest in part.files.items():
            require_digest(digest, name)
        return part

    @staticmethod
    def load(place: Place, folder: str, layers: Sequence[int]) -> Part | None:
        """The record of a part; None if it is missing or damaged, so that the part does not count."""
        try:
            record = parse_json(place.read(f"{folder}/{PART}", limits.JSON), f"{place.url}/{folder}/{PART}")
            if not isinstance(record, dict) or record.pop("sha256", None) != json_digest(record):
                return None
            return Part.parse(record, folder.rpartition("/")[2], layers)
        except (FileNotFoundError, ValueError):
            return None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The store's table of contents. It is written last: a store without it is unfinished."""

    identity: Identity
    parts: list[Part]
    blocks: dict[str, str]  # SHA-256 of every layer's block file

    @property
    def failed(self) -> list[dict[str, str]]:
        return [entry for part in self.parts for entry in part.failed]

    def to_json(self) -> str:
        """The contents of manifest.json: the record with its own digest."""
        return _sealed({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)})

    def save(self, place: Place) -> None:
        place.write(MANIFEST, self.to_json().encode())

    @staticmethod
    def load(place: Place) -> Manifest:
        """Read and check the manifest of a store.

        Raises:
          ReLopeError: the store is missing, unfinished, damaged, or of another schema.
        """
        try:
            data = place.read(MANIFEST, limits.JSON)
        except FileNotFoundError:
            raise _missing(place) from None
        return Manifest.parse(data, f"{place.url}/{MANIFEST}")

    @staticmethod
    def parse(data: bytes, where: str) -> Manifest:
        """Parse the bytes of the file `where`; every field is checked for type, range and pattern, and names of parts
        and files against the store's layout.

        Raises:
          ReLopeError: the file is damaged or has another schema.
        """
        try:
            raw = parse_json(data, where)
            if not isinstance(raw, dict):
                raise ValueError("it is not a JSON object")
            version, digest = raw.pop("schema_version", None), raw.pop("sha256", None)
            if version is not None and version != SCHEMA_VERSION:
                raise other_schema(where, version)
            if digest != json_digest({"schema_version": version, **raw}):
                raise ValueError("its own checksum does not match")
            return _manifest(raw)
        except ValueError as error:
            raise ReLopeError(
                f"{where} is damaged ({first_line(error)}): "
                "delete that file and extract again to rebuild it from the parts"
            ) from error


def _manifest(raw: dict[str, Any]) -> Manifest:
    """Parse a manifest without its schema and digest; raises ValueError if it is not valid."""
    loose = record_of(_Loose, raw, "it")
    identity = Identity.parse(loose.identity)
    parts = [Part.parse(part, part_title(index), identity.layers) for index, part in enumerate(loose.parts)]
    if sum(part.n_tokens for part in parts) > LARGEST or not any(part.n_samples for part in parts):
        raise ValueError("its parts have no samples, or impossibly many tokens")
    if loose.blocks.keys() != {block_name(layer) for layer in identity.layers}:
        raise ValueError(f"its blocks are {shown_name(sorted(loose.blocks))}, not those of its layers")
    for name, digest in loose.blocks.items():
        require_digest(digest, name)
    return Manifest(identity, parts, loose.blocks)


@dataclasses.dataclass(frozen=True)
class _Loose:
    """A manifest whose records are not checked yet."""

    identity: dict[str, Any]
    parts: list[Any]
    blocks: dict[str, str]


def _missing(place: Place) -> ReLopeError:
    """The error for a missing manifest."""
    if is_regrading(place):
        return regrading_stopped(place)
    if place.exists(IDENTITY):
        if (version := _schema_of(place)) != SCHEMA_VERSION:
            return other_schema(f"the unfinished store {place.url}", version)
        done = sum(name.endswith(f"/{PART}") for name in place.names("parts/"))
        return ReLopeError(
            f"the store {place.url} is unfinished ({done} parts so far): "
            "run the same `python -m extract.run --config=...` again to continue"
        )
    if place.names():
        return ReLopeError(f"{place.url} is not a token-state store (it has no {MANIFEST})")
    return ReLopeError(f"no store at {place.url}: make one with `python -m extract.run --config=...`")


def is_regrading(place: Place) -> bool:
    """Whether new labels of a store are prepared but not all in place yet."""
    return place.exists(f"{REGRADING}/{MANIFEST}")


def regrading_stopped(place: Place) -> ReLopeError:
    """The error for a store in which only some labels are new."""
    return ReLopeError(
        f"regrading the responses of {place.url} was interrupted: "
        "run the same `python -m extract.regrade --config=...` again to finish it"
    )


def other_schema(what: str, version: object) -> ReLopeError:
    """The error for a store that another version of this software wrote."""
    return ReLopeError(
        f"{what} has schema version {_shown(version)}, but this software uses {SCHEMA_VERSION} ({SINCE}): "
        "use the version that wrote it, or delete the store and extract again"
    )


def _schema_of(place: Place) -> object:
    """The schema version of an unfinished store; ours if its identity is damaged, which the writer reports."""
    try:
        return parse_json(place.read(IDENTITY, limits.JSON), IDENTITY).get("schema_version")
    except (FileNotFoundError, ValueError, AttributeError):
        return SCHEMA_VERSION


def _sealed(record: dict[str, Any]) -> str:
    return to_json(record | {"sha256": json_digest(record)})
