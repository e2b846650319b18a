"""Thin commands, and what they draw and print."""

import os


def _import_matplotlib() -> None:
    """Import matplotlib without the backend that MPLBACKEND names; called only where that is set.

    matplotlib refuses to be imported when that is not installed, as where a notebook passes its own backend on to
    `!python -m experiments.run`. No backend is needed: all figures are written to files through `Figure.savefig`.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


if "MPLBACKEND" in os.environ:
    _import_matplotlib()
