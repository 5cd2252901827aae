"""Notices on a real session bus, on a real terminal and in the log; what the user presses comes back."""

import os
import pty
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.notice_link import ANSWER_S, NoticeLink
from agent.notice_text import granted, refused
from agent.notice_wire import read_show, read_told
from agent.notices import PER_MINUTE, Notices
from agent.platform import Platform
from agent.platform.linux.utmp import USER_PROCESS, Record
from agent.refusals import Refusal
from protocol.events import Event, NoticeShown
from tests.agent.login_records import pack_record
from tests.desktop import Desktop

NOBODY, NOGROUP = 65534, 65534
real = pytest.mark.needs("root", "dbus")


def refusal(number: int = 1, **more: object) -> Refusal:
    known: dict[str, object] = {
        "number": number,
        "time_us": 1,
        "about": "device.attached",
        "what": f"<b>Stick</b> & {number}",
        "rule": "unknown_device",
        "title_ja": "許可のない機器",
        "title_en": "Device without a permit",
        "article": "nagoya 第35条第4号",
        "wanted": "device",
        "subject": {"serial": "S"},
    }
    return Refusal(**(known | more))  # type: ignore[arg-type]


class Lab:
    """A PC's root with accounts; what was told and asked."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sekisho-notices-"))
        self.root.chmod(0o755)
        for folder in ("etc", "run", "state", "agent-run", "dev"):
            (self.root / folder).mkdir()
        passwd = f"root:x:0:0::/root:/bin/sh\ntanaka:x:{NOBODY}:{NOGROUP}::/home/tanaka:/bin/sh\n"
        (self.root / "etc/passwd").write_text(passwd)
        self.platform = Platform(
            state=self.root / "state", run=self.root / "agent-run", root=self.root, proc=Path("/proc")
        )
        self.told: list[Event] = []
        self.asked: list[tuple[int, int]] = []
        self.notices = Notices(
            self.platform, self.told.append, lambda uid, number: self.asked.append((uid, number))
        )

    def until(self, what: Callable[[], object], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"told {self.told}, asked {self.asked}"
            ready, _, _ = select.select(self.notices.filenos(), [], [], 0.2)
            for fileno in ready:
                self.notices.read(fileno)

    def shown(self) -> list[tuple[str, str, int, bool]]:
        assert all(isinstance(event, NoticeShown) for event in self.told)
        return [
            (event.user, event.channel, event.count, event.acknowledged)
            for event in self.told
            if isinstance(event, NoticeShown)
        ]


@pytest.fixture
def lab() -> Iterator[Lab]:
    one = Lab()
    yield one
    one.notices.close()
    shutil.rmtree(one.root)


@real
def test_desktop_shows_asks_and_acknowledges(lab: Lab) -> None:
    with Desktop(lab.root, NOBODY, NOGROUP) as desktop:
        lab.notices.put(refusal(), 0.0)
        lab.notices.tick(0.0)
        said = desktop.said()
        assert said["summary"] == "関所：許可のない機器"
        assert "&lt;b&gt;Stick&lt;/b&gt; &amp; 1" in said["body"]  # what a device calls itself is not markup
        assert "nagoya 第35条第4号" in said["body"]
        assert "sekisho-agent ask 1 " in said["body"]
        assert said["actions"][0] == "ask"
        lab.until(lambda: lab.told)
        assert lab.shown() == [("tanaka", "desktop", 1, False)]
        desktop.do("press", said["id"])
        lab.until(lambda: lab.asked)
        assert lab.asked == [(NOBODY, 1)]
        desktop.do("close", said["id"])
        lab.until(lambda: len(lab.told) == 2)
        assert lab.shown()[1] == ("tanaka", "desktop", 1, True)


@real
def test_child_has_the_users_rights_and_no_others(lab: Lab) -> None:
    with Desktop(lab.root, NOBODY, NOGROUP, markup=False) as desktop:
        lab.notices.put(refusal(), 0.0)
        lab.notices.tick(0.0)
        assert "<b>Stick</b> & 1" in desktop.said()["body"]
        (link,) = lab.notices._links.values()
        status = Path(f"/proc/{link._process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert fields["Gid"].split() == [str(NOGROUP)] * 4
        assert fields["Groups"].split() == []
        assert (int(fields["CapEff"], 16), int(fields["CapPrm"], 16)) == (0, 0)


@real
def test_desktop_without_a_server_falls_back_to_the_log(lab: Lab) -> None:
    with Desktop(lab.root, NOBODY, NOGROUP, server=False):
        lab.notices.put(refusal(), 0.0)
        lab.notices.tick(0.0)
        lab.until(lambda: lab.told)
    assert lab.shown() == [("tanaka", "log", 1, False)]
    log = lab.platform.run / f"notices/{NOBODY}.log"
    assert "許可のない機器" in log.read_text()
    found = log.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (NOBODY, 0o400)


@real
def test_bus_that_never_answers_falls_back_to_the_log(lab: Lab) -> None:
    folder = lab.root / "run/user" / str(NOBODY)
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOGROUP)
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(folder / "bus"))
        os.chown(folder / "bus", NOBODY, NOGROUP)
        bus.listen()
        lab.notices.put(refusal(), 0.0)
        lab.notices.tick(0.0)
        lab.until(lambda: lab.told)
    assert lab.shown() == [("tanaka", "log", 1, False)]


@real
def test_bus_that_somebody_else_put_there_is_not_used(lab: Lab) -> None:
    folder = lab.root / "run/user" / str(NOBODY)
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(folder / "bus"))
        assert [person.bus for person in lab.platform.who_is_there()] == [""]


@real
@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_child_that_is_killed_or_hangs_loses_no_notice(lab: Lab, how: str) -> None:
    with Desktop(lab.root, NOBODY, NOGROUP):
        person = lab.platform.who_is_there()[0]
        link = lab.notices._links[NOBODY] = NoticeLink(person)
        os.kill(link._process.pid, signal.SIGSTOP)
        lab.notices.put(refusal(), 0.0)
        lab.notices.tick(0.0)
        assert lab.told == []
        if how == "killed":
            os.kill(link._process.pid, signal.SIGKILL)
            lab.until(lambda: lab.told)
        else:
            link._clock = lambda: time.monotonic() + ANSWER_S
            assert link.is_late
            lab.notices.tick(1.0)
    assert lab.shown() == [("tanaka", "log", 1, False)]
    assert lab.notices.filenos() == []


@given(st.binary(max_size=200))
def test_any_bytes_between_agent_and_child_are_a_message_or_nothing(data: bytes) -> None:
    read_told(data)
    read_show(data)


@real
def test_terminal_of_the_user_gets_it_without_escape_sequences(lab: Lab) -> None:
    ours, theirs = pty.openpty()
    try:
        os.fchown(theirs, NOBODY, -1)
        line = os.ttyname(theirs).removeprefix("/dev/")
        (lab.root / "dev/pts").mkdir()
        (lab.root / "dev" / line).symlink_to(f"/dev/{line}")
        # A link is not a terminal; the machine's own is.
        (lab.root / "dev" / line).unlink()
        os.mknod(lab.root / "dev" / line, 0o620 | 0o020000, os.fstat(theirs).st_rdev)
        os.chown(lab.root / "dev" / line, NOBODY, -1)
        record = Record(USER_PROCESS, os.getpid(), line, "tanaka", "", "", 1_700_000_000_000_000)
        (lab.root / "run/utmp").write_bytes(pack_record(record))
        lab.notices.put(refusal(what="evil\x1b]0;title\x07stick"), 0.0)
        lab.notices.tick(0.0)
        lab.until(lambda: lab.told)
        assert lab.shown() == [("tanaka", "terminal", 1, False)]
        text = os.read(ours, 65536)
        assert "許可のない機器".encode() in text
        assert b"\x1b" not in text
    finally:
        os.close(ours)
        os.close(theirs)


@real
def test_only_the_owner_is_told(lab: Lab) -> None:
    with Desktop(lab.root, NOBODY, NOGROUP):
        lab.notices.put(refusal(owners=(0,)), 0.0)
        lab.notices.tick(0.0)
    assert lab.shown() == [("root", "log", 1, False)]


def test_equal_refusals_are_one_notice_ever_more_rarely(lab: Lab) -> None:
    one = refusal(owners=(os.getuid(),))
    for moment in range(700):
        one.count += 1
        lab.notices.put(one, float(moment))
        lab.notices.tick(float(moment))
    assert [count for _, _, count, _ in lab.shown()] == [2, 62, 662]


def test_a_person_gets_a_few_notices_a_minute_and_none_is_lost(lab: Lab) -> None:
    for number in range(20):
        lab.notices.put(refusal(number, owners=(os.getuid(),)), 0.0)
    lab.notices.tick(0.0)
    assert len(lab.told) == PER_MINUTE
    for moment in range(1, 300):
        lab.notices.tick(float(moment))
    assert len(lab.told) == 20


def test_nobody_there_is_told_as_log(lab: Lab) -> None:
    lab.notices.put(refusal(), 0.0)
    lab.notices.tick(0.0)
    assert lab.shown() == [("", "log", 1, False)]


def test_services_read_no_notices(lab: Lab) -> None:
    lab.notices.put(refusal(owners=(104,)), 0.0)
    lab.notices.tick(0.0)
    assert lab.shown() == [("", "log", 1, False)]
    assert not (lab.platform.run / "notices").exists()


def test_texts_say_how_to_apply_or_that_nothing_helps() -> None:
    assert "sekisho-agent ask 7 " in refused(refusal(7)).body
    plain = refused(refusal(7, wanted=""))
    assert "sekisho-agent ask" not in plain.body
    assert plain.button == ""
    assert "止められなかった" in refused(refusal(7, failed=True)).body
    assert "7" in granted(refusal(7)).body
