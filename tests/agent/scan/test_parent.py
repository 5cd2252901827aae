"""The scan child as a process: confined, replaced when it dies, given up when it hangs; and its parent believes nothing."""

import io
import os
import select
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.scan.job import Finding, Limits, encode
from agent.scan.parent import MAX_MARKS, MOST_FAILURES, Scanner, _Waiting
from tests.e2e.testbed.machine import wait_for

SAMPLE = "123456789018"
pytestmark = pytest.mark.needs("linux")


def memory_file(content: bytes) -> int:
    file = os.memfd_create("file")
    os.write(file, content)
    return file


def wait(scanner: Scanner, seconds: float = 30) -> list[Finding]:
    end = time.monotonic() + seconds
    found: list[Finding] = []
    while scanner.waiting:
        assert time.monotonic() < end
        select.select([scanner.fileno()], [], [], 0.2)
        found += scanner.read() + scanner.tick()
    return found


def one(content: bytes, limits: Limits | None = None) -> Finding:
    scanner = Scanner(limits)
    try:
        scanner.submit(memory_file(content), "file")
        (finding,) = wait(scanner)
    finally:
        scanner.close()
    return finding


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def child_of(scanner: Scanner) -> socket.socket:
    """The other end of a child that is to look at file 7, in the hands of the test."""
    scanner._child = subprocess.Popen(["true"])
    scanner._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    scanner._current = 7
    return theirs


@pytest.mark.needs("root")
def test_the_child_has_no_rights_and_every_reader_works_all_the_same() -> None:
    scanner = Scanner()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", f"個人番号 {SAMPLE}".encode("cp932"))
    scanner.submit(memory_file(held.getvalue()), "a.zip")
    (finding,) = wait(scanner)
    assert (finding.state, finding.my_numbers, finding.masked) == ("complete", 1, ("********9018",))
    of = status(scanner.pid)
    assert of["Uid"] == ["65534"] * 4
    assert of["Groups"] == []
    assert of["NoNewPrivs"] == ["1"]
    assert int(of["CapEff"][0], 16) == 0
    own, theirs = (Path(f"/proc/{who}/ns/net").readlink() for who in ("self", scanner.pid))
    assert own != theirs
    limits = Path(f"/proc/{scanner.pid}/limits").read_text()
    assert "Max file size             0" in limits
    pid = scanner.pid
    scanner.close()
    assert not Path(f"/proc/{pid}").exists()


def test_files_are_closed_and_told_in_order() -> None:
    scanner = Scanner()
    scanner.look_for((("care", ("取扱注意",)),))
    before = len(list(Path("/proc/self/fd").iterdir()))
    numbers = [
        scanner.submit(memory_file(f"個人番号 {SAMPLE} 第{at}号\n取扱注意".encode()), "") for at in range(20)
    ]
    found = wait(scanner)
    assert [finding.number for finding in found] == numbers
    assert all(finding.labels == ("care",) and finding.my_numbers == 1 for finding in found)
    scanner.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_killed_child_is_replaced() -> None:
    scanner = Scanner()
    scanner.submit(memory_file(b"x" * (8 << 20)), "")
    scanner.submit(memory_file(f"個人番号 {SAMPLE}".encode()), "")
    os.kill(scanner.pid, signal.SIGKILL)
    first, second = wait(scanner)
    assert (first.state, second.state, second.my_numbers) == ("unreadable", "complete", 1)
    scanner.close()


def test_a_hanging_child_is_given_up() -> None:
    now = [0.0]
    scanner = Scanner(clock=lambda: now[0])
    scanner.submit(memory_file(b"x"), "")
    os.kill(scanner.pid, signal.SIGSTOP)
    pid = scanner.pid
    assert scanner.tick() == []
    now[0] = 1000.0
    (finding,) = scanner.tick()
    assert finding.state == "too_slow"
    assert not Path(f"/proc/{pid}").exists()
    scanner.close()


def test_time_and_memory_are_limits_of_the_fork_alone() -> None:
    slow = b"a,b\n" * (4 << 20)
    assert one(slow, Limits(seconds=0.05)).state == "too_slow"
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<a/>")
        archive.writestr("word/document.xml", b"<a b='" + b"x" * (12 << 20) + b"'/>")
    assert one(held.getvalue()).state == "complete"
    assert one(held.getvalue(), Limits(memory=32 << 20)).state in {"too_large", "unreadable"}


def test_a_child_that_never_answers_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    scanner = Scanner()
    for _ in range(MOST_FAILURES + 1):
        scanner._queue.append(_Waiting(1, memory_file(b"x"), ""))
    found = 0
    with pytest.raises(OSError, match=r"without an answer|Broken pipe"):  # noqa: PT012 - the loop is the subject
        while True:
            scanner._next()
            wait_for("the child to end", lambda: scanner._child is None or scanner._child.poll() is not None)
            found += len(scanner.read())
    scanner.close()


def test_a_child_without_work_ends_and_the_next_file_starts_another() -> None:
    scanner = Scanner()
    scanner.submit(memory_file(b"x"), "")
    wait(scanner)
    os.kill(scanner.pid, signal.SIGTERM)
    select.select([scanner.fileno()], [], [], 10)
    assert scanner.read() == []
    assert scanner.fileno() == -1
    scanner.submit(memory_file(f"個人番号 {SAMPLE}".encode()), "")
    assert wait(scanner)[0].my_numbers == 1
    scanner.close()


def test_no_more_marks_than_fit() -> None:
    scanner = Scanner()
    scanner.look_for(
        tuple((f"label {at}", tuple(f"{'印' * 100}{each}" for each in range(10))) for at in range(100))
    )
    assert sum(len(texts) for _, texts in scanner._marks) == MAX_MARKS
    scanner.submit(memory_file(b"x"), "n" * 255)
    assert wait(scanner)[0].state == "complete"
    scanner.close()


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_whatever_a_child_says_is_checked(said: bytes) -> None:
    scanner = Scanner()
    with child_of(scanner) as theirs:
        theirs.send(said)
        (finding,) = scanner.read()
    assert finding == Finding(number=7, state="unreadable")
    scanner.close()


@pytest.mark.parametrize(
    "lie",
    [
        Finding(number=8, state="complete"),
        Finding(number=7, state="complete", masked=(SAMPLE,)),
        Finding(number=7, state="complete", my_numbers=-1),
        Finding(number=7, state="complete", digest="../../etc"),
        Finding(number=7, state="complete", labels=(f"個人番号 {SAMPLE}",)),
    ],
)
def test_a_child_cannot_smuggle_content_out(lie: Finding) -> None:
    scanner = Scanner()
    with child_of(scanner) as theirs:
        theirs.send(encode(lie))
        assert scanner.read() == [Finding(number=7, state="unreadable")]
    scanner.close()


def test_the_child_ends_with_its_parent() -> None:
    code = (
        "import os,time\nfrom agent.scan.parent import Scanner\ns=Scanner()\nf=os.memfd_create('f')\ns.submit(f,'')\n"
        "print(s.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for(
        "the child to be gone", lambda: not Path(f"/proc/{pid}").exists() or status(pid)["State"][0] == "Z"
    )
