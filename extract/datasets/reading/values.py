"""Values of a row as plain Python, so that a field has one meaning in JSON, Parquet and the hub's tables.

null and NaN mean absent, a whole number is an integer however it is stored, a date is its ISO text.
"""

from __future__ import annotations

import datetime
import decimal
import math
import reprlib
from typing import Any

from extract.text import has_surrogate, shortened

EXACT = 2**53  # below it, a whole float represents exactly one integer
SHOWN = 60  # characters of a value in a message
_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxlist = _BRIEFLY.maxdict = _BRIEFLY.maxtuple = 20
_BRIEFLY.maxstring = _BRIEFLY.maxlong = _BRIEFLY.maxother = SHOWN


def plain(value: Any) -> Any:
    """None, bool, int, float, str or bytes, or a list or dict of them.

    Raises:
      ValueError: a text contains an unpaired surrogate.
    """
    match value:
        case str():
            if not value.isascii() and has_surrogate(value):
                raise ValueError(f"{shown(value)} contains half of a character (a lone surrogate): write it in full")
            return value
        case None | bool() | int() | bytes():
            return value
        case float():
            return _number(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {plain(key): plain(item) for key, item in value.items()}
        case decimal.Decimal():
            return _decimal(value)
        case bytearray() | memoryview():
            return bytes(value)
        case datetime.datetime():
            return value.isoformat(sep=" ") if value == value else None  # NaT is a datetime and not equal to itself
        case datetime.date() | datetime.time():
            return value.isoformat()
    for convert in ("as_py", "tolist"):  # scalars of pyarrow and NumPy, arrays
        if hasattr(value, convert) and (converted := getattr(value, convert)()) is not value:
            return plain(converted)
    return value


def text_of(value: Any) -> str | None:
    """A plain text or number, as text; None for any other value."""
    if isinstance(value, bytes):  # some Parquet writers store text as bytes
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole or (isinstance(value, float) and math.isfinite(value)) else None


def shown(value: Any) -> str:
    """A value as shown in messages: shortened, whatever its size and depth."""
    if isinstance(value, str | bytes):
        value = value[:SHOWN]
        return shortened(repr(value), SHOWN)
    return "null or NaN" if value is None else shortened(_BRIEFLY.repr(value), SHOWN)


def _number(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _decimal(value: decimal.Decimal) -> float | int | str | None:
    if not value.is_finite():
        return None if value.is_nan() else float(value)
    return int(value) if value == value.to_integral_value() and abs(value) < EXACT else f"{value.normalize():f}"
