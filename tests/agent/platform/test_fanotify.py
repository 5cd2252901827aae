"""The fanotify binding: parser against any bytes, and what the gate builds on: a group outlives its reader."""

import errno
import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.fanotify import FAN_OPEN_EXEC_PERM, Group, MalformedError, parse_events, probe
from tests.gatelab import finish, program, run, start
from tests.isolated import isolated
from tests.sticks import loop_stick, mount

needs_kernel = pytest.mark.needs("linux", "root", "fanotify", "loop", "mountns", "ext4")

events = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(-1, 2**31 - 1), st.integers(0, 2**31 - 1)))


def pack(mask: int, fd: int, pid: int, extra: bytes = b"") -> bytes:
    return struct.pack("=IBBHQii", 24 + len(extra), 3, 0, 24, mask, fd, pid) + extra


@given(events)
def test_events_are_read_back(written: list[tuple[int, int, int]]) -> None:
    assert parse_events(b"".join(pack(*event) for event in written)) == written


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    try:
        found = parse_events(data)
    except MalformedError:
        return
    assert len(found) * 24 <= len(data)


@given(events.filter(bool), st.integers(1, 23))
def test_cut_buffer_is_refused(written: list[tuple[int, int, int]], cut: int) -> None:
    data = b"".join(pack(*event) for event in written)
    with pytest.raises(MalformedError):
        parse_events(data[:-cut])


def test_records_behind_the_metadata_are_passed_over() -> None:
    assert parse_events(pack(FAN_OPEN_EXEC_PERM, 7, 9, b"\x04\x00\x08\x00abcd")) == [
        (FAN_OPEN_EXEC_PERM, 7, 9)
    ]


@pytest.mark.needs("linux", "root", "fanotify")
def test_probe_leaves_nothing(tmp_path: Path) -> None:
    probe(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@contextmanager
def marked(folder: Path) -> Iterator[tuple[Group, str]]:
    """A group asking for a file system of our own, and a program there."""
    with loop_stick(folder) as node:
        mount(node, folder / "fs")
        path = folder / "fs/tool"
        path.write_bytes(program())
        path.chmod(0o755)
        group = Group()
        try:
            group.mark_filesystem(os.fsencode(folder / "fs"))
            yield group, str(path)
        finally:
            group.close()


def read_and_hang(group: Group) -> int:
    """Fork a reader that takes one event and never answers; returns its pid once it has it."""
    told, tell = os.pipe()
    reader = os.fork()
    if reader == 0:
        select.select([group.fd], [], [])
        os.write(tell, bytes([len(group.read())]))
        signal.pause()
    assert os.read(told, 1) == b"\x01"
    os.close(told)
    os.close(tell)
    return reader


@needs_kernel
@pytest.mark.parametrize(("allow", "outcome"), [(True, 0), (False, -errno.EPERM)])
def test_survivor_settles_what_a_dead_reader_left_open(tmp_path: Path, allow: bool, outcome: int) -> None:
    def body() -> None:
        with marked(tmp_path) as (group, path):
            asker = start(path)
            reader = read_and_hang(group)
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)
            assert finish(asker, 0.2) is None
            assert group.settle(allow=allow) == 1
            assert finish(asker, 5.0) == outcome
            assert group.settle(allow=allow) == 0

    isolated(body)


@needs_kernel
def test_last_one_out_lets_everything_go_on(tmp_path: Path) -> None:
    def body() -> None:
        with marked(tmp_path) as (group, path):
            asker = start(path)
            reader = read_and_hang(group)
            group.close()
            assert finish(asker, 0.2) is None
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)
            assert finish(asker, 5.0) == 0
            assert run(path) == 0

    isolated(body)
