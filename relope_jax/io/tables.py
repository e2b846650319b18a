"""Parquet tables to and from bytes; the memory a table needs is checked before it is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relope_jax.errors import ReLopeError, first_line
from relope_jax.io.inside import shown_name
from relope_jax.io.limits import TABLE
from relope_jax.io.parquet import read_pages

BATCH_ROWS = 8192


def parse_table(data: bytes, what: object = "a table", schema: pa.Schema | None = None) -> pa.Table:
    """Parse a Parquet file.

    Args:
      what: the file's name for messages.
      schema: required columns, in any order, and their types; None accepts any.

    Raises:
      ReLopeError: it is damaged, has other columns, or takes more memory than `limits.TABLE`.
    """
    try:
        pages = read_pages(data)
        TABLE.require(pages.nbytes, what)
        # Not pq.read_table: its I/O threads may still hold the Python buffer when Python exits, and abort.
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            metadata, found = file.metadata, file.schema_arrow
            if schema is not None:
                _require_columns(found, schema)
        again = pa.BufferReader(data)
        with pq.ParquetFile(again, pre_buffer=False, metadata=metadata, read_dictionary=pages.texts) as file:
            table = pa.Table.from_batches(_plain_batches(file, found, what), found).combine_chunks()
        table.validate(full=True)
    except (ReLopeError, MemoryError):
        raise
    except Exception as error:  # pyarrow raises many types of errors for damaged pages
        raise ReLopeError(f"{what} is not a valid Parquet file: {first_line(error)}") from error
    return table if schema is None else table.select(schema.names)


def table_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


def _require_columns(found: pa.Schema, schema: pa.Schema) -> None:
    for name in sorted(set(found.names) ^ set(schema.names)):
        raise ValueError(f"it {'lacks' if name in schema.names else 'has an unknown'} column {shown_name(name)}")
    for name in schema.names:
        if len(found.get_all_field_indices(name)) != 1 or found.field(name).type != schema.field(name).type:
            raise ValueError(f"column {shown_name(name)} is {shown_name(str(found.field(name).type))}")


def _plain_batches(file: pq.ParquetFile, schema: pa.Schema, what: object) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches. Strings are read as dictionaries, which store repeated strings once, so that the
    expanded size is checked before it is allocated."""
    size = 0
    for group in range(file.num_row_groups):  # each has its own dictionaries
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False):
            size += sum(map(_plain_bytes, batch.columns))
            TABLE.require(size, what)
            columns = [_plain(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain_bytes(column: pa.Array) -> int:
    """Bytes of a column once its dictionaries are expanded."""
    if isinstance(column, pa.ListArray | pa.LargeListArray):
        return column.offsets.nbytes + _plain_bytes(column.flatten())
    if not isinstance(column, pa.DictionaryArray):
        return column.nbytes
    lengths = pc.fill_null(pc.binary_length(column.dictionary), 0).to_numpy().astype(np.int64)
    used = column.indices.drop_null().to_numpy()
    return math.ceil(4 * len(column) + lengths[used].sum())


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column.cast(kind) if column.type != kind else column


def stack_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables with the same columns."""
    return pa.concat_tables(tables)


def prompts_of(samples: pa.Table) -> list[str]:
    """The text of each prompt; the bare question if the store has no prompt."""
    return pc.coalesce(samples["prompt"], samples["question"], pa.scalar("")).to_pylist()
