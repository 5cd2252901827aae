"""The socket stamps: the program the kernel runs, and the hash both sides must agree on."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.bpf import _SYSCALL, Creator, SocketStamps, cgroup_root, jhash_key
from agent.platform.ports import UnsupportedError
from tests.netns import own_cgroup


@pytest.fixture
def group() -> Iterator[Path]:
    with own_cgroup() as made:
        yield made


@given(st.integers(0, 0xFFFFFFFF))
def test_key_fits_a_mark(stamp: int) -> None:
    assert 0 <= jhash_key(stamp) < 0xFFFFFFFF


def in_group(group: Path, code: str) -> list[str]:
    """Run Python code in a child that is in the cgroup; returns its words, the pid first."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\nimport os, socket\nprint(os.getpid())\n"
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-S", "-c", enter + code],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.split()


@pytest.mark.needs("root", "bpf")
@pytest.mark.parametrize(
    "kind",
    [
        "socket.AF_INET, socket.SOCK_STREAM",
        "socket.AF_INET6, socket.SOCK_STREAM",
        "socket.AF_INET, socket.SOCK_DGRAM",
        "socket.AF_INET6, socket.SOCK_DGRAM",
        "socket.AF_INET, socket.SOCK_RAW, 1",
        "socket.AF_INET6, socket.SOCK_RAW, 58",
    ],
)
def test_creator_is_known_after_it_is_gone(group: Path, kind: str) -> None:
    stamps = SocketStamps(group)
    try:
        pid, priority = in_group(
            group, f"print(socket.socket({kind}).getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY))"
        )
        creator = stamps.find(jhash_key(int(priority)))
        assert isinstance(creator, Creator)
        assert (creator.pid, creator.uid, creator.comm) == (int(pid), 0, "python3")
        assert int(priority) & 0xF == 0
    finally:
        stamps.close()


@pytest.mark.needs("root", "bpf")
def test_each_socket_has_its_own_stamp(group: Path) -> None:
    stamps = SocketStamps(group)
    code = "print(*{socket.socket().getsockopt(1, 12) for _ in range(500)})"
    try:
        _, *priorities = in_group(group, code)
        assert len(priorities) == 500
        assert {stamps.find(jhash_key(int(one))).pid for one in priorities} != set()  # type: ignore[union-attr]
    finally:
        stamps.close()


@pytest.mark.needs("root", "bpf")
def test_nothing_outside_the_cgroup_is_touched(group: Path) -> None:
    stamps = SocketStamps(group)
    try:
        with socket.socket() as one:
            priority = one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)
            assert stamps.find(jhash_key(priority)) is None
    finally:
        stamps.close()


@pytest.mark.needs("root", "bpf")
def test_unknown_mark_is_nobody(group: Path) -> None:
    stamps = SocketStamps(group)
    try:
        assert stamps.find(12345) is None
    finally:
        stamps.close()


@pytest.mark.needs("root", "bpf")
def test_program_goes_with_its_process(group: Path) -> None:
    """Asked of the kernel: another agent may stamp the whole machine while this runs."""
    stamps = SocketStamps(group)
    assert attached(group) == 1
    stamps.close()
    assert attached(group) == 0


def attached(group: Path) -> int:
    """How many sock_create programs hang on the cgroup itself (BPF_PROG_QUERY)."""
    target = os.open(group, os.O_RDONLY)
    query = struct.pack("<IIIIQI4x", target, 2, 0, 0, 0, 0)
    buffer = ctypes.create_string_buffer(query, len(query))
    number = _SYSCALL[platform.machine()]
    try:
        assert ctypes.CDLL(None, use_errno=True).syscall(number, 16, buffer, len(query)) == 0, (
            ctypes.get_errno()
        )
    finally:
        os.close(target)
    return int(struct.unpack("<IIIIQI4x", buffer.raw)[5])


@pytest.mark.needs("root", "bpf", "mountns")
def test_pid_is_that_of_our_own_pid_namespace(group: Path) -> None:
    """In a container the agent sees other numbers than the first namespace."""
    code = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from agent.platform.linux.bpf import SocketStamps, jhash_key
import os, socket
group = Path({str(group)!r})
stamps = SocketStamps(group)
(group / "cgroup.procs").write_text("0")
with socket.socket() as one:
    creator = stamps.find(jhash_key(one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)))
print(os.getpid(), creator.pid)
"""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    own, seen = done.stdout.split()
    assert own == seen
    assert int(own) < 100


@pytest.mark.needs("root")
def test_what_is_no_cgroup_is_unsupported_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="bpf_unsupported"):
        SocketStamps(tmp_path)


def test_cgroup_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEKISHO_CGROUP", str(tmp_path))
    assert cgroup_root(Path("/proc")) == tmp_path


def test_no_cgroup2_is_unsupported_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEKISHO_CGROUP", raising=False)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(UnsupportedError, match="no cgroup v2"):
        cgroup_root(tmp_path)
