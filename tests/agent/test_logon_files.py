"""Login records, followed files, log lines and journal entries: what other programs write, and what is no record."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux import followed_file
from agent.platform.linux.followed_file import FollowedFile
from agent.platform.linux.journal_follow import parse_entry
from agent.platform.linux.logon_lines import parse_line
from agent.platform.linux.utmp import (
    SIZE,
    USER_PROCESS,
    Record,
    parse_records,
)
from tests.agent.login_records import pack_record

NOW = 1_790_000_000_000_000
S = 1_000_000

# -- records ----------------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), max_size=32)
addresses = st.one_of(st.just(""), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
records = st.builds(
    Record,
    st.integers(1, 8),
    st.integers(0, 1 << 22),
    names,
    names,
    names,
    addresses,
    st.integers(S, 4_000_000_000 * S),
)


@given(records)
def test_a_record_is_what_was_packed(record: Record) -> None:
    (found,) = parse_records(pack_record(record))
    if record.address in {"0.0.0.0", "::"} or ":" in record.address:
        assert found.line == record.line
    else:
        assert found == record


@given(st.binary(max_size=4 * SIZE))
def test_any_bytes_are_records_or_nothing(data: bytes) -> None:
    for record in parse_records(data):
        assert 1 <= record.type <= 8
        assert (record.line + record.user + record.host).isprintable()


@pytest.mark.needs("linux")
def test_utmpdump_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    record = Record(USER_PROCESS, 4711, "pts/3", "tanaka", "pc.example", "10.10.2.9", 1_700_000_000 * S)
    (tmp_path / "wtmp").write_bytes(pack_record(record))
    text = subprocess.run(
        ["utmpdump", str(tmp_path / "wtmp")], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        word in text for word in ("[04711]", "tanaka", "pts/3", "pc.example", "10.10.2.9", "2023-11-14")
    )
    made = subprocess.run(["utmpdump", "-r"], input=text.encode(), capture_output=True, check=True).stdout
    assert list(parse_records(made)) == [record]


# -- files ------------------------------------------------------------------------------------------------------------


def test_followed_file_takes_whole_records_over_rotation_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old!")
    file = FollowedFile(path, None, unit=4)
    assert file.read() == b""
    with path.open("ab") as out:
        out.write(b"one1tw")
    assert file.read() == b"one1"
    with path.open("ab") as out:
        out.write(b"o2")
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"new1")
    assert file.read() == b"two2"
    assert file.read() == b"new1"
    path.write_bytes(b"")  # copytruncate
    assert file.read() == b""
    path.write_bytes(b"cut1")
    assert file.read() == b"cut1"
    file.close()


def test_followed_file_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n")
    first = FollowedFile(path, None)
    path.write_bytes(b"a\nb\nhalf")
    assert first.read() == b"b\n"
    first.close()
    path.rename(tmp_path / "log.1")
    with (tmp_path / "log.1").open("ab") as out:
        out.write(b" line\n")
    path.write_bytes(b"c\n")
    again = FollowedFile(path, first.position)
    assert again.read() == b"half line\n"
    assert again.read() == b"c\n"
    again.close()


def test_followed_file_does_not_catch_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_file, "MAX_BEHIND", 40)
    path = tmp_path / "log"
    path.touch()
    file = FollowedFile(path, None, unit=4)
    path.write_bytes(b"".join(b"%04d" % number for number in range(100)))
    assert file.read().startswith(b"0090")
    assert file.skipped == 360
    file.close()


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"data")
    (tmp_path / "log").symlink_to(tmp_path / "secret")
    file = FollowedFile(tmp_path / "log", None)
    assert file.read() == b""


# -- lines ------------------------------------------------------------------------------------------------------------

HEAD = "Nov 22 03:00:01 pc-01 "
LINES = [
    # sudo 1.9.13 and su of util-linux 2.38 on Debian 12, sshd of OpenSSH 9.2; the host name is made up.
    (
        "sudo:   tanaka : TTY=pts/0 ; PWD=/home/tanaka ; USER=root ; COMMAND=/usr/bin/id",
        ("succeeded", "tanaka", "root", "sudo", ""),
    ),
    (
        "sudo:   tanaka : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/tanaka ; USER=root ; COMMAND=/usr/bin/id",
        ("failed", "tanaka", "root", "sudo", "bad_password"),
    ),
    (
        "sudo:   yamada : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        ("failed", "yamada", "root", "sudo", "not_allowed"),
    ),
    ("su[812]: (to root) tanaka on pts/0", ("succeeded", "tanaka", "root", "su", "")),
    ("su[813]: FAILED SU (to root) tanaka on pts/0", ("failed", "tanaka", "root", "su", "bad_password")),
    (
        "sshd[901]: Accepted publickey for tanaka from 10.10.2.9 port 50122 ssh2: ED25519 SHA256:abc",
        ("succeeded", "tanaka", "", "sshd", ""),
    ),
    (
        "sshd[901]: pam_unix(sshd:session): session closed for user tanaka",
        ("ended", "tanaka", "", "sshd", ""),
    ),
    # The caller's words must not name another target.
    (
        "sudo:   tanaka : TTY=pts/0 ; PWD=/tmp/ ; USER=nobody ; x ; USER=root ; COMMAND=/usr/bin/id",
        ("succeeded", "tanaka", "", "sudo", ""),
    ),
    (
        "sudo:   tanaka : TTY=pts/0 ; PWD=/tmp/ ; COMMAND=y ; USER=root ; COMMAND=/usr/bin/id",
        ("succeeded", "tanaka", "root", "sudo", ""),
    ),
    # What is about something else, or pretends to be a line.
    ("sshd[901]: Failed password for tanaka from 10.10.2.9 port 50122 ssh2", None),
    (
        "sshd[901]: Invalid user Accepted password for root from 1.2.3.4 port 1 from 10.10.2.9 port 50122",
        None,
    ),
    ("cron[1]: (to root) tanaka on pts/0", None),
    ("sudo: pam_unix(sudo:session): session opened for user root(uid=0) by (uid=1001)", None),
    ("su[1]: (to root) two words on pts/0", None),
]


@pytest.mark.parametrize(("line", "told"), LINES)
def test_line(line: str, told: tuple[str, ...] | None) -> None:
    found = parse_line((HEAD + line).encode(), NOW)
    if told is None:
        assert found is None
    else:
        assert found is not None
        one = found.logon
        assert (one.what, one.user, one.target_user, one.service, one.reason) == told


def test_a_line_tells_its_own_time() -> None:
    found = parse_line(b"2026-09-21T22:13:20.000000+09:00 pc su[1]: (to root) tanaka on pts/0", NOW)
    assert found is not None
    assert found.logon.time_us == 1_789_996_400 * S
    last_year = parse_line(b"Dec 31 23:59:59 pc su[1]: (to root) tanaka on pts/0", NOW)
    assert last_year is not None
    assert NOW - 300 * 86400 * S < last_year.logon.time_us < NOW


@given(st.binary(max_size=400))
def test_any_bytes_are_a_line_or_nothing(data: bytes) -> None:
    parse_line(data, NOW)


@given(st.sampled_from([line for line, _ in LINES]), st.data())
def test_a_broken_line_never_raises(line: str, data: st.DataObject) -> None:
    raw = bytearray((HEAD + line).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = parse_line(bytes(raw), NOW)
    assert found is None or found.logon.time_us <= NOW


ENTRY = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": str(NOW - S),
    "MESSAGE": "(to root) tanaka on none",
    "SYSLOG_IDENTIFIER": "su",
    "_UID": "0",
    "_COMM": "su",
    "_PID": "31",
}


def test_entry_of_the_journal() -> None:
    line, cursor = parse_entry(json.dumps(ENTRY).encode(), NOW)
    assert line is not None
    assert cursor == "s=1"
    assert (line.logon.time_us, line.logon.user, line.logon.terminal, line.pid) == (NOW - S, "tanaka", "", 31)


@pytest.mark.parametrize(
    "made_up",
    [{"_UID": "1001"}, {"_COMM": "logger"}, {"_UID": ""}, {"MESSAGE": [40, 116]}, {"MESSAGE": None}],
)
def test_entry_that_somebody_else_wrote_is_none(made_up: dict[str, object]) -> None:
    assert parse_entry(json.dumps(ENTRY | made_up).encode(), NOW) == (None, "s=1")


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=9), lambda one: st.lists(one, max_size=3)
)


@given(st.dictionaries(st.sampled_from([*ENTRY, "other"]), json_values))
def test_any_entry_is_a_line_or_nothing(entry: dict[str, object]) -> None:
    parse_entry(json.dumps(ENTRY | entry).encode(), NOW)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_nothing(data: bytes) -> None:
    parse_entry(data, NOW)
