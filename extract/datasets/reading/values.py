"""Values of a row as plain Python, so that a field means the same in JSON, Parquet and a hub's table.

null and NaN are absence, a whole number is an integer however it is stored, a date is its ISO text.
"""

from __future__ import annotations

import datetime
import decimal
import math
import reprlib
from typing import Any

from extract.text import has_surrogate, shortened

EXACT = 2**53  # below it a float that is whole is one integer
SHOWN = 60  # characters of a value in a message
_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxlist = _BRIEFLY.maxdict = _BRIEFLY.maxtuple = 20
_BRIEFLY.maxstring = _BRIEFLY.maxlong = _BRIEFLY.maxother = SHOWN


def plain(value: Any) -> Any:
    """None, bool, int, float, str or bytes, or a list or dict of them.

    Raises:
      ValueError: a text holds half of a surrogate pair.
    """
    match value:
        case str():
            if not value.isascii() and has_surrogate(value):
                raise ValueError(f"{shown(value)} holds half of a character (a lone surrogate): write it whole")
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
            return value.isoformat(sep=" ") if value == value else None  # pandas' NaT is one, and equals nothing
        case datetime.date() | datetime.time():
            return value.isoformat()
    for convert in ("as_py", "tolist"):  # scalars of pyarrow and NumPy, arrays
        if hasattr(value, convert) and (converted := getattr(value, convert)()) is not value:
            return plain(converted)
    return value


def text_of(value: Any) -> str | None:
    """A plain value that is a text or a number, as text; None for one that is neither."""
    if isinstance(value, bytes):  # how some writers of Parquet store text
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole or (isinstance(value, float) and math.isfinite(value)) else None


def shown(value: Any) -> str:
    """A value as messages show it: its beginning, however large and deep it is."""
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
