"""Finds the items that a model fails on: a failing batch is halved until each of them is isolated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from extract.backbone.batching import is_out_of_memory
from extract.imaging.images import LeftOut
from extract.text import shortened
from relope_jax.errors import ReLopeError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")


class StepFailed(Exception):
    """A step failed on an item. The message gives the step and the reason."""


class AcceleratorLost(ReLopeError):
    """The accelerator failed and this process cannot use it any longer.

    Attributes:
      items: the items being processed.
    """

    def __init__(self, items: Sequence[object], reason: str):
        super().__init__(f"the accelerator failed and this process cannot use it any longer ({reason})")
        self.items, self.reason = items, reason


def narrowed(
    items: Sequence[Item], run: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result | None, str]]:
    """Run all items together. If that fails, run their halves, and so on down to single items.

    If k of n items fail, this costs about 2 k log2(n) further runs. For every piece, in the order of the items, it
    yields the items, the result of `run` (None for an item that failed), and the reason ("" if it did not fail).

    Raises:
      AcceleratorLost: a failure left the accelerator unusable.
      ReLopeError, out of memory: whatever `run` raises of these kinds; pieces yielded before are complete.
    """
    waiting = [items]
    while waiting:
        piece = waiting.pop()
        result, reason = None, ""
        try:
            result = run(piece)
        except Exception as error:
            require_accelerator(piece, error)
            if is_out_of_memory(error) or isinstance(error, ReLopeError):
                raise
            reason = reason_of(error)
        # Not inside `except`: there the traceback keeps the failed forward pass in memory.
        if reason and len(piece) > 1:
            middle = len(piece) // 2
            waiting += [piece[middle:], piece[:middle]]
        else:
            yield piece, result, reason


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Names the failing step: `step("the model fails on it")`. Out of memory, ReLopeError and LeftOut pass through."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, (ReLopeError, LeftOut)):
            raise
        raise StepFailed(f"{what}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """A short line about an error, with its type if that adds information."""
    if isinstance(error, (StepFailed, LeftOut)):
        return shortened(error)
    name, line = type(error).__name__, first_line(error)
    return shortened(line if line == name else f"{name}: {line}")


def require_accelerator(items: Sequence[object], error: BaseException) -> None:
    """Raise AcceleratorLost when the accelerator is unusable after `error`, as after a device-side assert."""
    if accelerator_is_lost():
        raise AcceleratorLost(items, reason_of(error)) from error


def accelerator_is_lost() -> bool:
    """Whether a GPU used by this process refuses all further work."""
    if not torch.cuda.is_initialized():
        return False
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_allocated(index):  # do not create a context on GPUs that this process does not use
                torch.cuda.synchronize(index)
    except RuntimeError:
        return True
    return False
