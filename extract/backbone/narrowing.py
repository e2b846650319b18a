"""Find the items that a model fails on: a batch that fails is halved until each of them is alone."""

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
    """One step of the work on an item failed; the message names the step and the reason."""


class AcceleratorLost(ReLopeError):
    """The accelerator failed, and this process cannot use it any more.

    Attributes:
      items: what it was working on.
    """

    def __init__(self, items: Sequence[object], reason: str):
        super().__init__(f"the accelerator failed and this process cannot use it any more ({reason})")
        self.items, self.reason = items, reason


def narrowed(
    items: Sequence[Item], run: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result | None, str]]:
    """Run all items together; where that fails, their halves, and so on down to single items.

    k items that fail among n cost about 2 k log2(n) further runs. For every piece, in the order of the items, this
    yields the items, the result of `run` (None for an item that failed), and the reason ("" for a piece that did not).

    Raises:
      AcceleratorLost: a failure left the accelerator unusable.
      ReLopeError, out of memory: whatever `run` raises of these; pieces that were yielded before are done.
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
        # Not inside `except`: there the traceback keeps the failed pass in memory.
        if reason and len(piece) > 1:
            middle = len(piece) // 2
            waiting += [piece[middle:], piece[:middle]]
        else:
            yield piece, result, reason


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Name the step that fails: `step("the model fails on it")`. Lost memory, ReLopeError and LeftOut pass."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, (ReLopeError, LeftOut)):
            raise
        raise StepFailed(f"{what}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """A short line about an error, with its type where that says more."""
    if isinstance(error, (StepFailed, LeftOut)):
        return shortened(error)
    name, line = type(error).__name__, first_line(error)
    return shortened(line if line == name else f"{name}: {line}")


def require_accelerator(items: Sequence[object], error: BaseException) -> None:
    """Raise AcceleratorLost when nothing works on the accelerator after `error`, as after a device-side assert."""
    if accelerator_is_lost():
        raise AcceleratorLost(items, reason_of(error)) from error


def accelerator_is_lost() -> bool:
    """Whether a GPU that this process uses refuses all further work."""
    if not torch.cuda.is_initialized():
        return False
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_allocated(index):  # the others are not ours: do not open them
                torch.cuda.synchronize(index)
    except RuntimeError:
        return True
    return False
