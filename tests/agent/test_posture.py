"""The posture sensor, its updates and disks: real apt; sysfs trees for dm-crypt, which this kernel lacks."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.platform import Platform
from agent.platform.linux.posture_disks import encryption
from agent.platform.linux.posture_updates import (
    AptCount,
    autorun,
    os_name,
    parse_count,
    reboot_required,
    update_age_days,
)
from agent.platform.posture_ports import Posture, UpdateCount
from agent.sensors.posture import DAY_US, HOUR_US, PostureSensor, coarse
from policies.model import Setting
from protocol.events import PostureReported
from tests.agent.test_judge import rule, view

NOW_S = 1_790_000_000
NOW = NOW_S * 1_000_000

# -- disks ----------------------------------------------------------------------------------------------------------------

MOUNT = "{id} 1 {numbers} / {place} rw - ext4 /dev/x rw\n"


def disks(tmp_path: Path, places: dict[str, str], **devices: tuple[str, tuple[str, ...]]) -> str:
    """``places`` mount point → device; ``devices`` name → (dm uuid, what lies below)."""
    proc, sys = tmp_path / "proc", tmp_path / "sys"
    (proc / "self").mkdir(parents=True)
    (sys / "dev/block").mkdir(parents=True)
    numbers = {name: f"253:{number}" for number, name in enumerate(devices)}
    for name, (uuid, below) in devices.items():
        device = sys / "block" / name
        (device / "slaves").mkdir(parents=True)
        if uuid:
            (device / "dm").mkdir()
            (device / "dm/uuid").write_text(uuid + "\n")
        for one in below:
            (device / "slaves" / one).symlink_to(sys / "block" / one)
        (sys / "dev/block" / numbers[name]).symlink_to(device)
    table = "".join(
        MOUNT.format(id=number, numbers=numbers.get(name, name), place=place)
        for number, (place, name) in enumerate(places.items())
    )
    (proc / "self/mountinfo").write_text(table)
    return encryption(proc, sys)


def test_luks_is_full(tmp_path: Path) -> None:
    found = disks(
        tmp_path, {"/": "root", "/boot": "sda"}, root=("CRYPT-LUKS2-ab-root", ("sda",)), sda=("", ())
    )
    assert found == "full"


def test_lvm_on_luks_is_full(tmp_path: Path) -> None:
    found = disks(
        tmp_path,
        {"/": "lv1", "/home": "lv2"},
        lv1=("LVM-ab", ("luks",)),
        lv2=("LVM-cd", ("luks",)),
        luks=("CRYPT-LUKS2-x", ("sda",)),
        sda=("", ()),
    )
    assert found == "full"


def test_homes_left_out_are_partial(tmp_path: Path) -> None:
    assert disks(tmp_path, {"/": "root", "/home": "sdb"}, root=("CRYPT-x", ()), sdb=("", ())) == "partial"


def test_half_of_a_volume_is_not_encrypted(tmp_path: Path) -> None:
    found = disks(
        tmp_path,
        {"/": "lv"},
        lv=("LVM-x", ("luks", "sdb")),
        luks=("CRYPT-x", ("sda",)),
        sda=("", ()),
        sdb=("", ()),
    )
    assert found == "none"


def test_plain_is_none_and_overlay_is_unknown(tmp_path: Path) -> None:
    assert disks(tmp_path / "a", {"/": "sda"}, sda=("", ())) == "none"
    assert disks(tmp_path / "b", {"/": "0:42"}) == "unknown"
    assert encryption(tmp_path / "c", tmp_path / "c") == "unknown"


# -- updates --------------------------------------------------------------------------------------------------------------


def touch(path: Path, days_ago: float, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW_S - days_ago * 86400,) * 2)


def test_age_of_updates(tmp_path: Path) -> None:
    assert update_age_days(tmp_path, NOW_S, 3) == -1
    touch(tmp_path / "var/lib/apt/periodic/update-success-stamp", 2)
    assert update_age_days(tmp_path, NOW_S, 3) == -1
    assert update_age_days(tmp_path, NOW_S, 0) == 2
    touch(tmp_path / "var/log/apt/history.log", 40, "Start-Date: x\nInstall: vlc:amd64 (3)\n")
    assert update_age_days(tmp_path, NOW_S, 3) == -1  # installing something is no update
    touch(tmp_path / "var/log/apt/history.log", 40, "Start-Date: x\nUpgrade: libc6:amd64 (1, 2)\n")
    assert update_age_days(tmp_path, NOW_S, 3) == 40
    touch(tmp_path / "var/lib/apt/periodic/upgrade-stamp", 1)
    assert update_age_days(tmp_path, NOW_S, 3) == 1


def test_os_restart_and_autorun(tmp_path: Path) -> None:
    assert (os_name(tmp_path), reboot_required(tmp_path), autorun(tmp_path)) == ("", False, "off")
    touch(tmp_path / "etc/os-release", 0, 'NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    touch(tmp_path / "run/reboot-required", 0)
    (tmp_path / "usr/share/xsessions").mkdir(parents=True)
    assert os_name(tmp_path) == "Debian GNU/Linux 12 (bookworm)"
    assert reboot_required(tmp_path)
    assert autorun(tmp_path) == "unknown"
    touch(
        tmp_path / "etc/dconf/db/local.d/00-media",
        0,
        "[org/gnome/desktop/media-handling]\nautorun-never=true\n",
    )
    assert autorun(tmp_path) == "off"
    touch(tmp_path / "etc/dconf/db/local.d/99-site", 0, "autorun-never=false\n")
    assert autorun(tmp_path) == "on"


def test_count_of_apt() -> None:
    assert parse_count(b"Inst libc6 [1] (2 Debian)\nConf libc6\nInst vlc (3)\nRemv x\n") == 2


def wait(count: UpdateCount, seconds: float = 60) -> int | None:
    assert select.select([count.fileno()], [], [], seconds)[0]
    return count.result()


@pytest.mark.needs("dpkg")
def test_real_apt_counts_in_a_process_of_its_own() -> None:
    count = AptCount("/usr/bin/apt-get")
    try:
        found = wait(count)
        assert found is not None
        assert found >= 0
    finally:
        count.close()


def test_a_count_that_fails_is_not_known() -> None:
    count = AptCount("/bin/false")
    assert wait(count) == -1
    count.close()


# -- the sensor -----------------------------------------------------------------------------------------------------------


class Probe:
    """A probe whose answer the test sets: what changes is the clock and the PC, which no test can wait for."""

    def __init__(self) -> None:
        self.posture = Posture(firewall="on", signature_age_h=5)
        self.stamp = (1,)
        self.counts = 0

    def measure(self, now_us: int, updates_pending: int) -> Posture:
        return self.posture

    def updates_stamp(self) -> tuple[int, ...]:
        return self.stamp

    def count_updates(self) -> UpdateCount | None:
        self.counts += 1
        return None


class Pc(Platform):
    now = NOW

    def now_us(self) -> int:
        return self.now


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[tuple[PostureSensor, Probe, Pc]]:
    platform = Pc(state=tmp_path, run=tmp_path)
    probe = Probe()
    platform.__dict__["posture_probe"] = lambda: probe
    one = PostureSensor(platform)
    assert len(list(one.open())) == 1
    yield one, probe, platform
    one.close()


def test_tells_on_change_and_daily(sensor: tuple[PostureSensor, Probe, Pc]) -> None:
    one, probe, platform = sensor
    assert list(one.tick()) == []
    probe.posture = Posture(firewall="on", signature_age_h=6)
    assert list(one.tick()) == []  # an hour older is no change
    probe.posture = Posture(firewall="on", signature_age_h=73)
    (aged,) = one.tick()
    assert isinstance(aged, PostureReported)
    assert aged.signature_age_h == 73
    probe.posture = Posture(firewall="off", signature_age_h=73)
    assert [event.firewall for event in one.tick() if isinstance(event, PostureReported)] == ["off"]
    platform.now += DAY_US - 1
    assert list(one.tick()) == []
    platform.now += 1
    assert len(list(one.tick())) == 1


def test_new_terms_have_the_posture_judged_again(sensor: tuple[PostureSensor, Probe, Pc]) -> None:
    one, _probe, _platform = sensor
    flagging, blocking = (
        rule(family="posture", control="posture", effect=effect) for effect in ("flag", "block")
    )
    observe, enforce = Setting("observe"), Setting("enforce")
    policies = [
        (view(flagging, posture=observe), 0),
        (view(blocking, posture=observe), 0),
        (view(blocking, posture=enforce), 1),
        (view(blocking, rule(), posture=enforce), 0),
        (view(flagging, posture=enforce), 1),
        (view(flagging, posture=observe), 1),
    ]
    assert [len(list(one.follow(policy))) for policy, _told in policies] == [
        told for _policy, told in policies
    ]


def test_counts_updates_on_change_at_most_once_an_hour(sensor: tuple[PostureSensor, Probe, Pc]) -> None:
    one, probe, platform = sensor
    assert probe.counts == 1
    probe.stamp = (2,)
    list(one.tick())
    assert probe.counts == 1
    platform.now += HOUR_US
    list(one.tick())
    list(one.tick())
    assert probe.counts == 2


def test_steps_do_not_hide_the_unknown() -> None:
    assert coarse(Posture(signature_age_h=-1)) != coarse(Posture(signature_age_h=0))
    assert coarse(Posture(updates_pending=3)) == coarse(Posture(updates_pending=70))
