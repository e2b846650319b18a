"""Free memory within the limits of containers and jobs, on simulated machines."""

from __future__ import annotations

import pytest

from relope_jax.machine.memory import free_memory, host_memory

KB, MB = 1024, 2**20


@pytest.fixture
def machine(tmp_path):
    """A machine with 1000 MB available; `write(path, text)` adds files below its root."""

    def write(path: str, text: object) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n", encoding="utf-8")

    write("proc/meminfo", f"MemTotal: 4096000 kB\nMemFree: 5 kB\nMemAvailable: {1000 * KB} kB\nHugePages_Total: 0")
    write("proc/self/cgroup", "0::/")
    return write


def free(tmp_path) -> int:
    return host_memory(tmp_path / "proc", tmp_path / "cgroup")


def test_without_limits_the_machine_decides(machine, tmp_path):
    assert free(tmp_path) == 1000 * MB
    machine("cgroup/memory.max", "max")
    assert free(tmp_path) == 1000 * MB


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        pytest.param("0::/", {"memory.max": 600 * MB, "memory.current": 100 * MB}, 500, id="v2-root"),
        pytest.param("0::/a/b", {"a/b/memory.max": 600 * MB, "a/b/memory.current": 100 * MB}, 500, id="v2-own"),
        pytest.param("0::/a/b", {"a/memory.max": 600 * MB, "a/memory.current": 200 * MB}, 400, id="v2-parent"),
        pytest.param(
            "0::/a/b",
            {
                "a/memory.max": 900 * MB,
                "a/memory.current": 800 * MB,
                "a/b/memory.max": 300 * MB,
                "a/b/memory.current": 0,
            },
            100,
            id="v2-the-tightest",
        ),
        pytest.param("0::/host/path", {"memory.max": 600 * MB, "memory.current": MB}, 599, id="v2-path-of-the-host"),
        pytest.param(
            "0::/", {"memory.max": "max", "memory.high": 300 * MB, "memory.current": 100 * MB}, 200, id="v2-high"
        ),
        pytest.param("0::/", {"memory.max": 600 * MB}, 600, id="v2-use-unknown"),
        pytest.param("0::/", {"memory.max": 600 * MB, "memory.current": 700 * MB}, 0, id="v2-beyond-its-limit"),
        pytest.param("0::/", {"memory.max": 9000 * MB, "memory.current": 0}, 1000, id="v2-more-than-there-is"),
        pytest.param(
            "0::/",
            {"memory.max": 600 * MB, "memory.current": 500 * MB, "memory.stat": f"anon 5\ninactive_file {300 * MB}"},
            400,
            id="v2-cached-files-are-given-up",
        ),
        pytest.param(
            "5:cpu:/x\n4:memory:/a\n0::/",
            {"memory/a/memory.limit_in_bytes": 600 * MB, "memory/a/memory.usage_in_bytes": 100 * MB},
            500,
            id="v1-own",
        ),
        pytest.param(
            "4:cpuset,memory:/docker/0123",
            {"memory/memory.limit_in_bytes": 600 * MB, "memory/memory.usage_in_bytes": 100 * MB},
            500,
            id="v1-path-of-the-host",
        ),
        pytest.param(
            "4:memory:/a",
            {"memory/a/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.limit_in_bytes": 2**63 - 4096},
            1000,
            id="v1-no-limit",
        ),
        pytest.param(
            "4:memory:/a\n0::/u",
            {"memory/a/memory.limit_in_bytes": 600 * MB, "unified/u/memory.max": 400 * MB},
            400,
            id="both",
        ),
        pytest.param("4:memory:/../../b", {"memory/memory.limit_in_bytes": 600 * MB}, 600, id="outside-the-namespace"),
    ],
)
def test_a_limit_of_any_group_around_the_process_counts(machine, tmp_path, group, files, expected):
    machine("proc/self/cgroup", group)
    for path, text in files.items():
        machine(f"cgroup/{path}", text)
    assert free(tmp_path) == expected * MB


def test_a_machine_without_proc_says_how_much_it_has(tmp_path):
    assert free(tmp_path) > 0


def test_free_memory_is_within_the_machines(machine, tmp_path):
    machine("cgroup/memory.max", 7 * MB)
    assert free_memory(tmp_path / "proc", tmp_path / "cgroup") <= 7 * MB
    assert free_memory() > 0
