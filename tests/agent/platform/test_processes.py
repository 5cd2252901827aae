"""Process look-ups: the living from /proc, the short-lived from memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.processes import (
    CMDLINE_LIMIT,
    MEMORY,
    LinuxProcesses,
    Users,
    parse_cmdline,
    parse_passwd,
    parse_status,
)
from agent.platform.ports import ProcessInfo

pytestmark = pytest.mark.needs("linux")


def test_living_process() -> None:
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "日本"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        info = LinuxProcesses().info(child.pid)
        child.stdin.write(b"\n")
        child.stdin.close()
    assert info is not None
    assert (info.pid, info.ppid, info.uid) == (child.pid, os.getpid(), os.getuid())
    assert os.path.realpath(sys.executable) == info.exe
    assert info.cmdline.endswith(f"-c {code} 日本")


def test_gone_process_is_remembered() -> None:
    processes = LinuxProcesses()
    with subprocess.Popen(["true"]) as child:
        pass
    assert processes.info(child.pid) is None
    known = ProcessInfo(pid=child.pid, exe="/usr/bin/true", uid=1000)
    processes.remember(known)
    assert processes.info(child.pid) == known


def test_memory_is_bounded() -> None:
    processes = LinuxProcesses()
    beyond = 2**22  # above any pid there can be
    for pid in range(beyond, beyond + MEMORY + 10):
        processes.remember(ProcessInfo(pid=pid, exe="x"))
    assert processes.info(beyond + 9) is None
    assert processes.info(beyond + 10) is not None


def test_user_names_follow_the_file(tmp_path: Path) -> None:
    users = Users(tmp_path)
    assert users.name(1000) == ""
    passwd = tmp_path / "etc/passwd"
    passwd.parent.mkdir()
    passwd.write_text("root:x:0:0::/root:/bin/sh\nbroken\nyamada:x:1000:1000:山田:/home/y:/bin/sh\n")
    assert (users.name(1000), users.name(0), users.name(5)) == ("yamada", "root", "")
    assert (users.uid("yamada"), users.uid("nobody")) == (1000, None)
    new = passwd.with_name("passwd-new")
    new.write_text("sato:x:1000:1000::/home/s:/bin/sh\n")
    new.rename(passwd)
    assert users.name(1000) == "sato"


@given(st.binary(max_size=500))
def test_any_status_gives_numbers(data: bytes) -> None:
    ppid, uid = parse_status(data)
    assert ppid >= 0
    assert uid >= -1


@given(st.integers(0, 2**22), st.integers(0, 2**32 - 1))
def test_status_is_read(ppid: int, uid: int) -> None:
    text = f"Name:\tx\nPPid:\t{ppid}\nUid:\t{uid}\t0\t0\t0\nGid:\t1\n"
    assert parse_status(text.encode()) == (ppid, uid)


@given(st.binary(max_size=9000))
def test_any_cmdline_is_text_without_nul(data: bytes) -> None:
    text = parse_cmdline(data)
    assert len(text) <= CMDLINE_LIMIT
    assert "\0" not in text


@given(st.text(max_size=300))
def test_any_passwd_is_a_table(text: str) -> None:
    assert all(uid >= 0 for uid in parse_passwd(text))
