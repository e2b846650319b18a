"""Operating-system errors are one line, bugs keep their tracebacks; output, locale and Ctrl-C are handled."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorstore as ts
from safetensors.numpy import save_file

from relope_jax.errors import ReLopeError, line_of
from relope_jax.io import files
from relope_jax.machine_errors import is_full, refusal
from tests import ROOT


def error_of(act) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("it was not refused")


def write_safetensors(path):
    save_file({"x": np.zeros(3)}, path)


def write_parquet(path):
    pq.write_table(pa.table({"x": [1]}), path)


def write_array(path):
    kvstore = {"driver": "file", "path": str(path.parent) + "/"}
    ts.KvStore.open(kvstore).result().write(path.name, b"x").result()


def write_table(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE x (y)")


WRITERS = [files.write_bytes, Path.write_bytes, write_safetensors, write_parquet, write_array, write_table]


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)
def test_a_file_in_the_way_of_a_folder_is_one_line_whoever_meets_it(tmp_path, write):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "x"
    line = line_of(error_of(lambda: write(target, b"x") if write in WRITERS[:2] else write(target)))
    assert line
    assert "\n" not in line
    assert len(line) < 800


@pytest.mark.parametrize(
    "act",
    [
        lambda p: p.mkdir(),
        lambda p: (p / "x" / "y").write_bytes(b""),
        lambda p: p.read_bytes(),
        lambda p: (p / ("n" * 300)).touch(),
        lambda p: os.replace(p / "not-there", p / "x"),
        lambda p: (p / "loop").symlink_to("loop") or (p / "loop").read_bytes(),
        lambda p: p.rmdir() if (p / "full").touch() is None else None,
    ],
    ids=["exists", "parent-vanished", "is-a-folder", "name-too-long", "two-names", "loop", "not-empty"],
)
def test_system_errors_with_a_file_are_one_line(tmp_path, act):
    line = refusal(error_of(lambda: act(tmp_path)))
    assert str(tmp_path) in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong shape"),
        KeyError("No space left on device"[:2]),
        RuntimeError("INTERNAL"),
        TypeError("x"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        TimeoutError("timed out"),
        UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"),
        AssertionError(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_bug_is_none_of_them(error):
    assert line_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "x"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing x: No space left on device [OS error 28: ENOSPC]"),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=["system", "quota", "pyarrow", "tensorstore", "sqlite"],
)
def test_a_full_disk_is_told_by_every_library_alike(error):
    assert is_full(error)
    assert "full" in line_of(error)
    assert "free some space" in line_of(error)
    full = "the disk of here is full: free some space and run the same command again"
    with pytest.raises(ReLopeError, match=full), files.explaining("here"):
        raise error


def test_too_many_open_files_is_one_line(tmp_path):
    code = (
        "import resource, relope_jax.errors as e\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "@e.exit_on_error\n"
        "def main(argv):\n"
        "    kept = [open(__file__ if False else '/dev/null') for _ in range(50)]\n"
        "main([])\n"
    )
    done = run(code)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: Too many open files")


def command(body: str) -> str:
    """A program with `body` as its main function."""
    imports = "import sys, os, time\nfrom relope_jax.errors import exit_on_error"
    return f"{imports}\n@exit_on_error\ndef main(argv):\n    {body}\nmain([])"


def run(code: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    settings = os.environ | {"PYTHONPATH": str(ROOT)} | (env or {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | options
    return subprocess.run([sys.executable, "-c", code], env=settings, check=False, **options)


def test_a_bug_keeps_its_traceback():
    done = run(command("raise ValueError('a bug')"))
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        *(
            pytest.param(env, marks=pytest.mark.slow)
            for env in (
                {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
                {"PYTHONIOENCODING": "ascii"},
                {"PYTHONIOENCODING": "latin-1"},
                {"PYTHONIOENCODING": "gbk"},
                {"PYTHONIOENCODING": "euc-jp:strict"},
                {"PYTHONUTF8": "1"},
                {},
            )
        ),
    ],
    ids=["C41-C", "POSIX", "ascii", "latin-1", "gbk", "euc-jp", "utf-8", "default"],
)
def test_every_text_is_printed_in_every_locale(env):
    texts = ["—", "β κ", "was für 画像? \U0001f600", "\ud83d", "\udcc3"]
    done = run(command(f"[print(t, file=f) for t in {texts!a} for f in (sys.stdout, sys.stderr)]"), env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == done.stderr.count(b"\n") == len(texts)


def test_a_file_name_that_the_locale_lacks_is_one_line():
    done = run(command("open('/tmp/\\u00e9')"), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 1
    assert b"set PYTHONUTF8=1" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_ends_the_command_in_silence(lines):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(command(f"[print('x' * 20) for _ in range({lines})]"), stdout=writer)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_to_a_full_disk_is_one_line(lines):
    with open("/dev/full", "wb") as full:
        done = run(command(f"[print('x' * 20) for _ in range({lines})]"), stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", [1, (1, 2)], ids=["stdout", "both"])
def test_closed_streams_do_not_stop_a_command(closed, tmp_path):
    closing = "".join(f" {fd}>&-" for fd in ([closed] if isinstance(closed, int) else closed))
    (tmp_path / "x.py").write_text(command("print('x'); print('x', file=sys.stderr); sys.exit(7)"), encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(f"{sys.executable} {tmp_path / 'x.py'}{closing}", shell=True, env=env, check=False)
    assert done.returncode == 7


def test_ctrl_c_is_one_line():
    code = command("print('ready', flush=True); time.sleep(60)")
    # Background jobs of a script inherit an ignored SIGINT.
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, env=env) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == b"interrupted; the same command continues\n"


def test_a_current_directory_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(command(f"os.rmdir({str(gone)!r}); os.getcwd()"), cwd=gone)
    assert done.returncode == 1
    assert done.stderr == b"error: the current directory no longer exists: change to another one\n"


def test_no_folder_for_temporary_files_is_one_line():
    body = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/not/there']; tempfile.mkdtemp()"
    done = run(command(body))
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: No usable temporary directory")
    assert done.stderr.count(b"\n") == 1
