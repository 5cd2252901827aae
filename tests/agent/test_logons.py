"""Sessions, folds of failures, and the logon sensor on files."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logon_sessions import (
    FOLD_US,
    HOLD_US,
    LIVE_US,
    MAX_FAILURES,
    MAX_SESSIONS,
    FailureFold,
    SessionTable,
)
from agent.platform import Platform
from agent.platform.linux import followed_file
from agent.platform.linux.logon_log import LinuxLogonLog
from agent.platform.linux.utmp import (
    BOOT_TIME,
    DEAD_PROCESS,
    SIZE,
    USER_PROCESS,
    Record,
)
from agent.platform.ports import OverflowedError, UnsupportedError
from agent.platform.posture_ports import Logon
from agent.sensors.logons import LogonsSensor, is_remote, logon_event
from protocol.events import LogonEnded, LogonSucceeded
from tests.agent.login_records import pack_record

NOW = 1_790_000_000_000_000
S = 1_000_000

# -- sessions ---------------------------------------------------------------------------------------------------------


def logon(what: str = "succeeded", at_s: int = 0, **more: object) -> Logon:
    known: dict[str, object] = {
        "what": what,
        "time_us": NOW + at_s * S,
        "user": "tanaka",
        "service": "sshd",
        "terminal": "pts/0",
        "session": "pts/0:1",
        "address": "10.10.2.9",
        "pid": 1,
    }
    return Logon(**(known | more))  # type: ignore[arg-type]


def told(table: SessionTable, one: Logon) -> list[tuple[str, str, int]]:
    return [(each.what, each.user, duration) for each, duration in table.take(one, one.time_us)]


def test_session_is_tied_by_its_terminal() -> None:
    table = SessionTable()
    assert told(table, logon()) == [("succeeded", "tanaka", -1)]
    assert told(table, logon()) == []  # the same record, twice written
    assert told(table, logon("ended", 90, user="", session="pts/0:2")) == [("ended", "tanaka", 90)]
    assert told(table, logon("ended", 91, user="")) == []


def test_terminal_taken_over_ends_the_session_before() -> None:
    table = SessionTable()
    told(table, logon())
    assert told(table, logon(at_s=5, session="pts/0:7", user="sato")) == [
        ("ended", "tanaka", 5),
        ("succeeded", "sato", -1),
    ]


def test_boot_ends_all() -> None:
    table = SessionTable()
    told(table, logon())
    told(table, logon(terminal="tty1", session="tty1:2", service="login"))
    assert told(table, logon("booted", 60)) == [("ended", "tanaka", 60)] * 2
    assert len(table) == 0


@pytest.mark.parametrize("log_first", [True, False])
def test_sshd_with_a_terminal_is_told_once(log_first: bool) -> None:
    table = SessionTable()
    line, record = logon(session="sshd:1", terminal="", host="10.10.2.9"), logon(at_s=1)
    events = [each for one in ((line, record) if log_first else (record, line)) for each in told(table, one)]
    events += [
        (each.what, each.user, length) for each, length in table.due(NOW + 2 * HOLD_US, lambda _: True)
    ]
    assert events == [("succeeded", "tanaka", -1)]


def test_sshd_without_a_terminal_is_told_by_the_log() -> None:
    table = SessionTable()
    assert told(table, logon(session="sshd:1", terminal="")) == []
    (begun,) = table.due(NOW + HOLD_US, lambda _: True)
    assert begun[0].session == "sshd:1"
    assert told(table, logon("ended", 9, session="sshd:1", terminal="", address="")) == [
        ("ended", "tanaka", 9)
    ]


def test_short_sshd_session_is_told_whole() -> None:
    table = SessionTable()
    told(table, logon(session="sshd:1", terminal=""))
    ended = told(table, logon("ended", 1, session="sshd:1", terminal=""))
    assert ended == [("succeeded", "tanaka", -1), ("ended", "tanaka", 1)]


def test_change_of_account_is_no_session() -> None:
    table = SessionTable()
    assert told(table, logon(session="", service="su", target_user="root")) == [("succeeded", "tanaka", -1)]
    assert len(table) == 0


def test_dead_process_ends_a_session() -> None:
    table = SessionTable()
    told(table, logon())
    assert [one.what for one, _ in table.due(NOW + LIVE_US, lambda _: False)] == ["ended"]


kinds = st.sampled_from(["succeeded", "ended", "booted"])
steps = st.tuples(
    kinds, st.sampled_from(["pts/0", "pts/1", ""]), st.sampled_from(["pts/0:1", "sshd:1", "sshd:2", ""])
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=200)
def test_every_session_that_ends_had_begun(given_steps: list[tuple[str, str, str]]) -> None:
    table, open_now = SessionTable(), 0
    for at, (what, terminal, session) in enumerate(given_steps):
        one = logon(what, at, terminal=terminal, session=session, host="")
        found = [*table.take(one, one.time_us), *table.due(one.time_us, lambda _: True)]
        for each, duration in found:
            if each.what == "ended":
                open_now -= 1
                assert duration >= 0
            elif each.session:
                open_now += 1
        assert open_now == len(table) >= 0


def test_bounded() -> None:
    table, fold = SessionTable(), FailureFold()
    for number in range(2 * MAX_SESSIONS):
        told(table, logon(terminal=f"pts/{number}", session=f"pts/{number}:1"))
        list(fold.take(logon("failed", user=f"u{number}"), NOW))
    assert len(table) == MAX_SESSIONS
    assert len(fold._folds) == MAX_FAILURES


def test_equal_failures_are_folded() -> None:
    fold = FailureFold()
    assert [count for _, count in fold.take(logon("failed"), NOW)] == [1]
    for _ in range(7):
        assert list(fold.take(logon("failed"), NOW + S)) == []
    assert list(fold.due(NOW + FOLD_US - 1)) == []
    assert [count for _, count in fold.due(NOW + FOLD_US)] == [7]
    assert list(fold.due(NOW + 2 * FOLD_US)) == []


@pytest.mark.parametrize(
    ("host", "address", "remote"),
    [
        ("", "", False),
        (":0", "", False),
        ("pc.example", "", True),
        ("fe80::1%eth0", "", True),
        ("::1", "", False),
        ("x", "127.0.0.1", False),
        ("x", "10.0.0.1", True),
    ],
)
def test_remote(host: str, address: str, remote: bool) -> None:
    assert is_remote(logon(host=host, address=address))[0] is remote


# -- the sensor on files ----------------------------------------------------------------------------------------------


def pc(tmp_path: Path, *written: Record) -> Platform:
    for folder in ("var/log", "run", "etc"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/passwd").write_text("tanaka:x:1001:1001::/home/tanaka:/bin/sh\n")
    (tmp_path / "var/log/wtmp").write_bytes(b"".join(map(pack_record, written)))
    return Platform(state=tmp_path / "state", run=tmp_path / "run", root=tmp_path)


def append(tmp_path: Path, *written: Record) -> None:
    with (tmp_path / "var/log/wtmp").open("ab") as file:
        file.write(b"".join(map(pack_record, written)))


def test_what_was_there_before_is_known_but_not_told(tmp_path: Path) -> None:
    here = Record(USER_PROCESS, os.getpid(), "tty1", "tanaka", "", "", NOW)
    gone = Record(USER_PROCESS, 1 << 22, "tty2", "tanaka", "", "", NOW)
    sensor = LogonsSensor(pc(tmp_path, here, gone))
    assert list(sensor.open()) == []
    append(tmp_path, Record(DEAD_PROCESS, os.getpid(), "tty1", "", "", "", NOW + 60 * S))
    (ended,) = sensor.tick()
    assert isinstance(ended, LogonEnded)
    assert (ended.user, ended.uid, ended.duration_s, ended.service) == ("tanaka", 1001, 60, "login")
    sensor.close()


def test_sessions_over_a_restart_of_the_agent_are_told_once_each(tmp_path: Path) -> None:
    def record(kind: int, line: str, user: str, at_s: int) -> Record:
        return Record(kind, os.getpid(), line, user, "", "", NOW + at_s * S)

    platform = pc(tmp_path)
    sensor = LogonsSensor(platform)
    list(sensor.open())
    append(tmp_path, record(USER_PROCESS, "tty1", "tanaka", 1), record(USER_PROCESS, "tty2", "tanaka", 2))
    assert len(list(sensor.tick())) == 2
    sensor.close()
    stays = record(USER_PROCESS, "tty3", "sato", 4)
    append(tmp_path, record(DEAD_PROCESS, "tty1", "", 3), stays)
    (tmp_path / "run/utmp").write_bytes(
        pack_record(record(USER_PROCESS, "tty2", "tanaka", 2)) + pack_record(stays)
    )
    sensor = LogonsSensor(platform)
    ended, began = sensor.open()
    assert isinstance(ended, LogonEnded)
    assert isinstance(began, LogonSucceeded)
    assert (ended.terminal, ended.duration_s, began.user) == ("tty1", 2, "sato")
    assert list(sensor.tick()) == []
    append(tmp_path, record(DEAD_PROCESS, "tty2", "", 12))
    assert [getattr(event, "duration_s", 0) for event in sensor.tick()] == [10]
    sensor.close()


def test_boot_record_closes_sessions(tmp_path: Path) -> None:
    sensor = LogonsSensor(pc(tmp_path))
    list(sensor.open())
    append(tmp_path, Record(USER_PROCESS, os.getpid(), ":0", "tanaka", ":0", "", NOW))
    (began,) = sensor.tick()
    assert isinstance(began, LogonSucceeded)
    assert (began.service, began.remote) == ("display manager", False)
    append(tmp_path, Record(BOOT_TIME, 0, "~", "reboot", "6.1", "", NOW + S))
    assert [type(event) for event in sensor.tick()] == [LogonEnded]
    sensor.close()


def test_loss_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_file, "MAX_BEHIND", 10 * SIZE)
    platform = pc(tmp_path)
    log = LinuxLogonLog(tmp_path, platform.state, platform.processes)
    append(
        tmp_path, *[Record(USER_PROCESS, os.getpid(), f"pts/{n}", "tanaka", "", "", NOW) for n in range(50)]
    )
    found: list[Logon] = []
    with pytest.raises(OverflowedError):
        found.extend(log.logons())
    assert len(found) == 10  # what was read was told before the loss
    assert list(log.logons()) == []
    log.close()


def test_pc_without_records_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        Platform(state=tmp_path, run=tmp_path, root=tmp_path).logon_log()


def test_names_too_long_for_an_event_are_cut() -> None:
    event = logon_event(logon(user="u" * 300, target_user="t" * 300))
    assert isinstance(event, LogonSucceeded)
    assert (len(event.user), len(event.target_user)) == (256, 256)
