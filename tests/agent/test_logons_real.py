"""Logons as real programs write them down: sshd, ssh and login on a PC of the testbed."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.platform import Platform
from agent.sensors.logons import LogonsSensor
from protocol.events import Event, LogonEnded, LogonFailed, LogonSucceeded
from tests.e2e.testbed.machine import Machine, wait_for

pytestmark = [pytest.mark.testbed, pytest.mark.needs("sshd")]
ADDRESS = "10.99.0.1"


class Pc:
    """A machine with sshd, and a sensor of this process that reads the machine's files."""

    def __init__(self, machine: Machine, state: Path) -> None:
        self.machine = machine
        self.platform = Platform(state=state, run=state, root=machine.path("/"), proc=machine.path("/proc"))
        self.sensor = LogonsSensor(self.platform)
        self.events: list[Event] = []

    def until(self, kind: type[Event], **fields: Any) -> Any:
        """The first event of a kind with these fields."""

        def probe() -> Event | None:
            self.events += self.sensor.tick()
            fits = (
                event
                for event in self.events
                if isinstance(event, kind)
                and all(getattr(event, name) == value for name, value in fields.items())
            )
            return next(fits, None)

        return wait_for(f"{kind.__name__} {fields} in {self.events}", probe)

    def ssh(self, *argv: str, password: str = "", **more: Any) -> Any:
        """Connect as tanaka; with a password, by that and nothing else."""
        self.machine.write("/root/askpass", f"#!/bin/sh\necho '{password}'\n", 0o755)
        way = (
            ("-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1")
            if password
            else ("-i", "/root/key", "-o", "PreferredAuthentications=publickey")
        )
        common = (
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        )
        env = {"SSH_ASKPASS": "/root/askpass", "SSH_ASKPASS_REQUIRE": "force"}
        spawn: Callable[..., Any] = more.pop("by", self.machine.run)
        return spawn(["ssh", *common, *way, "-p", "2222", *argv], env=env, **more)


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[Pc]:
    with Machine("logons") as machine:
        machine.run(["useradd", "--create-home", "--shell", "/bin/bash", "tanaka"])
        machine.run(["chpasswd"], stdin="tanaka:right-one\n")
        machine.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"])
        machine.run(["mkdir", "-p", "/run/sshd", "/home/tanaka/.ssh"])
        machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key"])
        machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/host_key"])
        machine.write("/home/tanaka/.ssh/authorized_keys", machine.path("/root/key.pub").read_text())
        machine.run(["chown", "-R", "tanaka:tanaka", "/home/tanaka"])
        for name in ("wtmp", "btmp"):
            machine.write(f"/var/log/{name}", "", 0o660)
        machine.run(["rm", "-f", "/run/utmp"])
        machine.write("/run/utmp", "", 0o664)
        options = ("HostKey=/root/host_key", "UsePAM=yes", "UseDNS=no", "PidFile=none", "StrictModes=no")
        argv = ["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", "2222", *(f"-o{one}" for one in options)]
        sshd = machine.spawn(argv, log=tmp_path / "sshd.log")
        listening = ["sh", "-c", "ss -ltn | grep -q :2222"]
        wait_for("sshd", lambda: machine.run(listening, check=False).returncode == 0)
        one = Pc(machine, tmp_path / "state")
        assert list(one.sensor.open()) == []
        yield one
        one.sensor.close()
        sshd.kill()
        sshd.wait()


def test_session_from_another_address_begins_and_ends(pc: Pc) -> None:
    session = pc.ssh("-tt", f"tanaka@{ADDRESS}", "read answer", by=pc.machine.spawn, stdin=subprocess.PIPE)
    began = pc.until(LogonSucceeded)
    assert (began.user, began.service, began.remote, began.remote_ip) == ("tanaka", "sshd", True, ADDRESS)
    assert began.uid > 0
    assert began.terminal.startswith("pts/")
    session.communicate("enough\n", timeout=20)
    ended = pc.until(LogonEnded)
    assert (ended.session, ended.user, ended.terminal) == (began.session, "tanaka", began.terminal)
    assert 0 <= ended.duration_s < 30


def test_session_on_loopback_is_not_from_another_machine(pc: Pc) -> None:
    pc.ssh("-tt", "tanaka@127.0.0.1", "true", check=False)
    began = pc.until(LogonSucceeded)
    assert (began.remote, began.remote_ip) == (False, "127.0.0.1")


def test_wrong_passwords_are_told_once_and_then_counted(pc: Pc) -> None:
    for _ in range(3):
        pc.ssh(f"tanaka@{ADDRESS}", "true", password="wrong", check=False)
    first = pc.until(LogonFailed)
    assert (first.user, first.reason, first.service, first.count) == ("tanaka", "bad_password", "sshd", 1)
    assert first.remote_ip == ADDRESS
    later = pc.platform.now_us() + 61_000_000
    wait_for("two more", lambda: _more(pc) == 2)
    assert [count for _, count in pc.sensor._failures.due(later)] == [2]


def _more(pc: Pc) -> int:
    pc.events += pc.sensor.tick()
    return sum(fold.more for fold in pc.sensor._failures._folds.values())


def test_what_is_no_account_is_not_kept(pc: Pc) -> None:
    pc.ssh(f"MySecretPassw0rd@{ADDRESS}", "true", password="x1", check=False)
    failed = pc.until(LogonFailed)
    assert (failed.user, failed.uid, failed.reason) == ("", -1, "unknown_user")
    assert all(b"MySecretPassw0rd" not in str(event).encode() for event in pc.events)


def test_what_happened_while_the_agent_was_away_is_told_after(pc: Pc) -> None:
    pc.sensor.close()
    pc.ssh("-tt", f"tanaka@{ADDRESS}", "true", check=False)
    pc.ssh(f"tanaka@{ADDRESS}", "true", password="wrong", check=False)
    pc.sensor = LogonsSensor(pc.platform)
    pc.events += pc.sensor.open()
    pc.until(LogonFailed, user="tanaka")
    pc.until(LogonSucceeded, user="tanaka")
    pc.until(LogonEnded, user="tanaka")
    assert len(pc.events) == 3


def test_session_whose_process_was_killed_ends(pc: Pc) -> None:
    session = pc.ssh("-tt", f"tanaka@{ADDRESS}", "read answer", by=pc.machine.spawn, stdin=subprocess.PIPE)
    began = pc.until(LogonSucceeded)
    pc.sensor._sessions._live_us = pc.platform.now_us()
    written = began.session.partition(":")[2]
    children = pc.machine.path(f"/proc/{written}/task/{written}/children").read_text().split()
    pc.machine.run(["kill", "-KILL", written, *children])  # nobody is left to write the end down
    session.communicate(timeout=20)
    pc.sensor._sessions._live_us = 0
    pc.until(LogonEnded, user="tanaka")


@pytest.fixture
def journal(pc: Pc) -> Iterator[Pc]:
    """The same PC with systemd-journald as its system log, and a /dev of its own so that programs find it."""
    script = (
        "mkdir -p /run/dev /run/log/journal /run/systemd/journal && mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs -o mode=755 dev /run/dev && "
        "for one in null zero random urandom tty ptmx; do cp -a /dev/$one /run/dev/; done && "
        "mkdir /run/dev/pts /run/dev/shm && mount --bind /dev/pts /run/dev/pts && mount --move /run/dev /dev && "
        "ln -s /run/systemd/journal/dev-log /dev/log && rm -f /var/log/auth.log"
    )
    pc.machine.run(["sh", "-c", script])
    journald = pc.machine.spawn(["/lib/systemd/systemd-journald"])
    begun = ["journalctl", "--quiet", "--lines=1", "--identifier=systemd-journald"]
    wait_for("the journal", lambda: pc.machine.run(begun, check=False).stdout)
    pc.sensor.close()
    pc.sensor = LogonsSensor(pc.platform)
    pc.events += pc.sensor.open()
    wait_for("journalctl", lambda: [*pc.sensor.tick()] or pc.sensor._log._journal._process)  # type: ignore[union-attr]
    yield pc
    journald.kill()
    journald.wait()


@pytest.mark.needs("journald")
def test_change_of_account_is_read_from_the_journal(journal: Pc) -> None:
    journal.machine.run(["su", "-l", "tanaka", "-c", "true"])
    changed = journal.until(LogonSucceeded, service="su")
    assert (changed.user, changed.target_user) == ("root", "tanaka")


@pytest.mark.needs("journald")
def test_user_cannot_make_up_a_line(journal: Pc) -> None:
    said = "(to root) tanaka on pts/9"
    journal.machine.run(["logger", "--tag", "su", said], user="tanaka")
    journal.machine.run(["logger", "--tag", "su", said])
    journal.machine.run(["su", "-l", "tanaka", "-c", "true"])
    journal.until(LogonSucceeded, service="su", user="root")
    assert not [event for event in journal.events if getattr(event, "terminal", "") == "pts/9"]


@pytest.mark.needs("journald")
def test_ssh_without_a_terminal_is_read_from_the_journal(journal: Pc) -> None:
    session = journal.ssh(f"tanaka@{ADDRESS}", "read answer", by=journal.machine.spawn, stdin=subprocess.PIPE)
    began = journal.until(LogonSucceeded, service="sshd")
    assert (began.user, began.terminal, began.remote_ip) == ("tanaka", "", ADDRESS)
    session.communicate("enough\n", timeout=20)
    journal.until(LogonEnded, session=began.session)
