"""Makes files hostile: JSON with odd values and names, tables with odd columns, damaged bytes, links and pipes.

Every choice comes from the `random.Random` provided by hypothesis, so that a failure can be repeated and shrunk.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DEEP = "@deep@"  # replaced by nested lists, which json.dumps cannot write


def hostile_names(outside: Path) -> list[str]:
    """Names that lead out of a folder, or are not names."""
    up = f"../../../{outside.name}"
    return [
        "..", ".", "", "/", "//", "../x", up, f"{up}/private.txt", f"{up}/folder/", f"{outside}",
        f"{outside}/private.txt",
        f"file://{outside}/private.jpg", f"a/../../../{outside.name}/private.jpg", "a\0b", "a\nb", "x" * 300,
        "x/" * 3000, "C:\\x", "\\\\host\\x", "..\\..\\x", "~", "~root/x", "$HOME", "\ud800", "\u202ex", "00000/", " ",
        "x.", "/dev/zero", "/proc/self/environ", "s3://bucket/x", "https://host.invalid/x", "-rf", "*", "CON",
        "\x1b]0;x\x07",
    ]  # fmt: skip


def hostile_value(rng: random.Random, outside: Path) -> Any:
    """A value that is valid for no field."""
    numbers = [-1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 1e308, -0.5, float("nan"), float("inf"), True]
    others = [
        None,
        "",
        "1",
        [],
        {},
        [None],
        [[]],
        {"": None},
        DEEP,
        "A" * 10**5,
        [0] * 1000,
        {"bytes": None, "path": "/x"},
    ]
    return rng.choice([*numbers, *others, *hostile_names(outside)])


def mutate_json(value: Any, rng: random.Random, outside: Path) -> Any:
    """`value` with one to three of its parts replaced, removed, duplicated or wrapped; changes `value` in place."""
    holder = {"root": value}
    for _ in range(rng.randint(1, 3)):
        owner, key = rng.choice(_places(holder))
        act = rng.randrange(6)
        if act == 0 and owner is not holder:
            del owner[key]
        elif act == 1 and isinstance(owner, list):
            owner.insert(key, owner[key])
        elif act == 2:
            owner[key] = [owner[key]]
        elif act == 3 and isinstance(owner, dict) and owner is not holder:
            owner[rng.choice(hostile_names(outside))] = owner[key]
        else:
            owner[key] = hostile_value(rng, outside)
    return holder["root"]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, child in items:
        found += [(value, key), *_places(child)]
    return found


def json_bytes(value: Any) -> bytes:
    """JSON, including what JSON cannot express."""
    deep = "[" * 20_000 + "]" * 20_000
    return json.dumps(value).replace(json.dumps(DEEP), deep).encode("utf-8", "surrogatepass")


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, duplicated, zeroed or inserted."""
    data, act = bytearray(data), rng.randrange(6)
    at = rng.randrange(len(data) + 1)
    if act == 0:
        return bytes(data[:at])
    if act == 1:
        return bytes(data[:at] + rng.randbytes(rng.choice([1, 8, 500])) + data[at:])
    if act == 2:
        return bytes(data + data[:at])
    if act == 3:
        end = min(len(data), at + rng.choice([1, 4, 100]))
        return bytes(data[:at] + bytes(end - at) + data[end:])
    if act == 4:
        return b""
    for _ in range(rng.choice([1, 2, 20])):
        if data:
            data[rng.randrange(len(data))] = rng.choice([0, 0xFF, 0x80, rng.randrange(256)])
    return bytes(data)


def mutate_table(table: pa.Table, rng: random.Random, outside: Path) -> pa.Table:
    """A column dropped, renamed, duplicated or overwritten; or other rows."""
    names, act = table.column_names, rng.randrange(8)
    if not names:
        return table
    at = rng.randrange(len(names))
    if act == 0:
        return table.remove_column(at)
    if act == 1:
        return table.rename_columns([*names[:at], "other", *names[at + 1 :]])
    if act == 2:
        return table.append_column(names[at], table[at])
    if act == 3:
        return pa.concat_tables([table] * rng.choice([2, 50])) if rng.random() < 0.5 else table.slice(0, 0)
    if act == 4:
        return table.set_column(at, names[at], pa.nulls(len(table), table.schema[at].type))
    if act == 5:
        column = pa.array([hostile_text(rng, outside) for _ in range(len(table))])
        return table.set_column(at, names[at], column)
    kind = rng.choice([pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.int64()), pa.timestamp("s")])
    values = [rng.choice([None, -1, 0, 7, 2**31, 2**53]) for _ in range(len(table))]
    column = pa.array(values, pa.int64())
    if pa.types.is_list(kind):
        column = pa.array([[value] for value in values], kind)
    elif not pa.types.is_timestamp(kind):
        column = pa.array([None if v is None else bool(v) if kind == pa.bool_() else v for v in values], kind)
    return table.set_column(at, names[at], column)


def hostile_text(rng: random.Random, outside: Path) -> str:
    """A text that Parquet can hold."""
    return rng.choice(hostile_names(outside)).encode("utf-8", "replace").decode()


def mutate_tensors(data: bytes, rng: random.Random, outside: Path) -> bytes:
    """A safetensors file with another header: its length is right, its content is not."""
    size = struct.unpack("<Q", data[:8])[0]
    header = mutate_json(json.loads(data[8 : 8 + size]), rng, outside)
    text = json_bytes(header)
    claimed = rng.choice([len(text)] * 4 + [0, 2**40, 2**63])
    return struct.pack("<Q", claimed) + text + data[8 + size :]


def mutate_file(path: Path, rng: random.Random, outside: Path) -> None:
    """Make one file hostile in a way that suits its type."""
    act = rng.randrange(10)
    if act == 0:
        replace(path, rng, outside)
    elif act <= 2:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
    elif path.suffix in (".json", ".jsonl"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        at = rng.randrange(len(lines)) if lines else 0
        changed = [line.encode() for line in lines]
        changed[at : at + 1] = [json_bytes(mutate_json(json.loads(lines[at]), rng, outside))] if lines else []
        path.write_bytes(b"\n".join(changed))
    elif path.suffix == ".parquet":
        table = mutate_table(pq.read_table(path), rng, outside)
        pq.write_table(table, path, row_group_size=rng.choice([1, 7, 10_000]), store_schema=rng.random() < 0.5)
    elif path.suffix == ".safetensors":
        path.write_bytes(mutate_tensors(path.read_bytes(), rng, outside))
    else:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))


def replace(path: Path, rng: random.Random, outside: Path) -> None:
    """Replace a file or its folder by something that is not a file, or that leads out."""
    if rng.random() < 0.3:
        path = path.parent
        shutil.rmtree(path)
    else:
        path.unlink()
    act = rng.randrange(6)
    if act == 0:
        os.mkfifo(path)
    elif act == 1:
        path.mkdir()
    elif act == 2:
        path.symlink_to("/dev/zero")
    elif act == 3:
        path.symlink_to(outside / rng.choice(["private.txt", "private.json", "private.jpg", "folder"]))
    elif act == 4:
        path.symlink_to(path.name)  # to itself


def empty(path: Path) -> None:
    """Remove whatever is at `path`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fresh_copy(whole: Path, path: Path) -> None:
    """Replace whatever is at `path` by a copy of the folder `whole`."""
    empty(path)
    shutil.copytree(whole, path)
