"""Repositories of the Hugging Face hub. All files of one come from one commit, which identities record, and are read
from a folder, so no setting in a repository can make a library contact the hub for another one."""

from __future__ import annotations

import functools
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from relope_jax.errors import ReLopeError, first_line

SECONDS = 10  # to wait for the hub's answer about a commit
SETTINGS = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = ("*.safetensors",)  # other formats are pickles, which can run code when opened
CODE = ("*.py",)
DUPLICATES = ("consolidated*",)  # the same weights in another layout


@functools.cache
def commit_of(name: str, revision: str, setting: str) -> str:
    """The commit of a model's branch, tag or commit, resolved once per process; offline, the local cache's commit.

    Args:
      setting: the config's field that names the model, for messages.

    Raises:
      ReLopeError: the hub does not know the revision, and the cache does not have it.
    """
    try:
        if commit := HfApi().model_info(name, revision=revision, timeout=SECONDS).sha:
            return commit
        raise ValueError("the hub names no commit")
    except Exception as error:  # no network, no such model, no access: try the cache
        if commit := _cached(name, revision, "model"):
            return commit
        raise _unavailable(name, setting, error) from error


@functools.cache
def dataset_commit(name: str, revision: str) -> str:
    """The commit of a dataset; "" where neither the hub nor the cache knows it, for example for a folder."""
    try:
        return HfApi().dataset_info(name, revision=revision, timeout=SECONDS).sha or ""
    except Exception:  # as above
        return _cached(name, revision, "dataset")


def folder_of(name: str, commit: str, patterns: tuple[str, ...], setting: str, *, below: tuple[str, ...] = ()) -> Path:
    """The folder of a model's files matching `patterns` at a commit, downloaded if they are not in the local cache.

    Args:
      below: subfolders whose files are wanted too.

    Raises:
      ReLopeError: the hub does not provide them, and the cache does not have that commit.
    """
    wanted = [*patterns, *(f"{folder}/{pattern}" for folder in below for pattern in patterns)]
    ignored = [*DUPLICATES, *([] if below else ["*/*"])]
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=wanted, ignore_patterns=ignored))
    except Exception as error:  # as above
        try:
            return Path(snapshot_download(name, revision=commit, local_files_only=True))
        except Exception:
            raise _unavailable(name, setting, error) from error


def _cached(name: str, revision: str, kind: str) -> str:
    """The commit of a revision in the local cache; "" when there is none."""
    try:
        return Path(snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True)).name
    except Exception:  # many kinds of errors mean that there is none
        return ""


def _unavailable(name: str, setting: str, error: Exception) -> ReLopeError:
    return ReLopeError(
        f"cannot load {name}: it is neither a folder, nor in the local cache, and the hub says '{first_line(error)}'; "
        f"run `hf download {name}` where there is internet access (log in first if it is gated), "
        f"or point --config.{setting} at a folder that holds the model"
    )
