"""Reads the page sizes of a Parquet file without pyarrow, whose C++ code aborts the process on some damaged footers and
trusts the sizes that pages declare."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, NamedTuple

# PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED and RLE_DICTIONARY: what pyarrow writes by default. The other encodings can
# repeat a long string in two bytes.
ENCODINGS = {0, 2, 3, 4, 8}
TEXT, FIXED = 6, 7  # physical types
WIDEST = 16  # bytes of a value that is not a string, with its levels
DEEPEST = 16  # nesting levels of structs
MAGIC = b"PAR1"


class Pages(NamedTuple):
    """The size of all pages of a file.

    Attributes:
      texts: paths of the string columns.
      nbytes: bytes of the unpacked pages and of their values; repeated strings count once.
    """

    texts: list[str]
    nbytes: int


def read_pages(data: bytes) -> Pages:
    """Walk over all page headers of a Parquet file.

    Raises:
      ValueError: it is damaged, or uses encodings or types that our files never use.
    """
    try:
        return _read_pages(data)
    except (LookupError, TypeError, AttributeError, struct.error) as error:
        raise ValueError("its footer or a page is damaged") from error


class Footer(NamedTuple):
    """The sizes in a file's footer; pages are not read.

    Attributes:
      rows, values: totals over all row groups; a null counts as a value.
      nbytes: bytes of all pages once unpacked.
      largest: bytes of the largest row group once its pages are unpacked.
    """

    rows: int
    values: int
    nbytes: int
    largest: int


def read_footer(file: BinaryIO, limit: int) -> Footer:
    """Read the sizes in the footer of a Parquet file.

    Args:
      limit: maximum size of the footer, in bytes.

    Raises:
      ValueError: the footer is damaged or exceeds the limit.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 8))
    length, mark = struct.unpack("<I4s", file.read(8).rjust(8, b"\0"))
    if mark != MAGIC or length > min(end - 12, limit):
        raise ValueError("its footer is missing or has an impossible size")
    file.seek(end - 8 - length)
    try:
        groups = _Thrift(file.read(length)).struct()[4]
        columns = [[(int(chunk[3][5]), int(chunk[3][6])) for chunk in group[1]] for group in groups]
        rows = [int(group[3]) for group in groups]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("its footer is damaged") from error
    if min((*rows, *(number for group in columns for column in group for number in column)), default=0) < 0:
        raise ValueError("its footer has negative counts")
    sizes = [sum(size for _, size in group) for group in columns]
    values = sum(count for group in columns for count, _ in group)
    return Footer(sum(rows), values, sum(sizes), max(sizes, default=0))


def _read_pages(data: bytes) -> Pages:
    length = int.from_bytes(data[-8:-4], "little")
    if data[:4] != MAGIC or data[-4:] != MAGIC or length > len(data) - 12:
        raise ValueError("it has no footer")
    footer = _Thrift(data[len(data) - 8 - length : -8]).struct()
    texts, size, columns = [], 0, 1
    for group in footer[4]:
        for chunk in group[1]:
            column = chunk[3]
            kind, path = column[1], b".".join(column[3]).decode()
            if chunk.get(1) or kind == FIXED:
                raise ValueError("a column is in another file, or has an unsupported type")
            if kind == TEXT and path not in texts:
                texts.append(path)
            size += _column_bytes(data, column)
        columns = max(columns, len(group[1]))
    return Pages(texts, max(size, WIDEST * footer[3] * columns))


def _column_bytes(data: bytes, column: dict[int, Any]) -> int:
    """Bytes of the pages of one column in one row group."""
    start, dictionary, length = column[9], column.get(11, 0), column[7]
    if column[5] <= 0:  # no rows: pyarrow does not read a page either
        return 0
    if 0 < dictionary < start:
        start = dictionary
    if start < len(MAGIC) or length < 0 or start + length > len(data):
        raise ValueError("a column lies outside of the file")
    size, end = 0, start + length
    while start < end:
        reader = _Thrift(data[start : min(end, start + 2**16)])  # a header may hold two strings as statistics
        header = reader.struct()
        details = header.get(5) or header.get(7) or header[8]
        values, encoding = details[1], details[4 if 8 in header else 2]
        unpacked, packed = header[2], header[3]
        start += reader.at + packed
        if min(values, unpacked, packed) < 0 or start > end or encoding not in ENCODINGS:
            raise ValueError("a page is damaged or has an unknown encoding")
        size += unpacked + WIDEST * values
    return size


class _Thrift:
    """Reads Thrift's compact protocol: a struct is `{field number: value}`."""

    def __init__(self, data: bytes):
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > DEEPEST:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = (head & 15) == 1 if head & 15 in (1, 2) else self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):  # in a list of booleans, each is a byte
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._varint())
        if kind in (9, 10):
            head = self._byte()
            size = self._varint() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(self._fits(size))]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError("its footer has a field of an unknown type")

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, size: int) -> bytes:
        self.at += self._fits(size)
        return self._data[self.at - size : self.at]

    def _fits(self, size: int) -> int:
        """Return `size`, a count of items of at least one byte each, if that many bytes are left."""
        if size > len(self._data) - self.at:
            raise ValueError("its footer or a page ends too early")
        return size

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its footer has a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
