"""Tables of the package vega-datasets, read as files because the package itself needs pandas."""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

from relope_jax.errors import ReLopeError


@functools.cache
def vega_table(name: str) -> list[dict[str, Any]]:
    """The rows of `name`, such as "cars.json". Values of a CSV file are texts.

    Raises:
      ReLopeError: the package is not installed.
    """
    spec = importlib.util.find_spec("vega_datasets")
    if spec is None or spec.origin is None:
        raise ReLopeError("the package vega-datasets is missing: pip install --no-deps vega-datasets")
    path = Path(spec.origin).parent / "_data" / name
    with path.open(newline="", encoding="utf-8") as file:
        return json.load(file) if path.suffix == ".json" else list(csv.DictReader(file))
