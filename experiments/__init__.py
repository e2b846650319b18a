"""Commands, and the code for their figures and output."""

import os


def _import_matplotlib() -> None:
    """Import matplotlib without the backend in MPLBACKEND; called only if that is set.

    The import of matplotlib fails if that backend is not installed, for example if a notebook passes its own backend to
    `!python -m experiments.run`. No backend is needed: all figures are written with `Figure.savefig`.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


if "MPLBACKEND" in os.environ:
    _import_matplotlib()
