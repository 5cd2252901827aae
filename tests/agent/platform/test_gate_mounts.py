"""Which file systems the gate trusts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.gate_mounts import Mount, is_fixed_disk, is_trusted, parse_mountinfo


def test_mountinfo() -> None:
    data = (
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n"
        b"nonsense\n"
        b"40 35 0:22 / /media/My\\040Stick rw - vfat /dev/sd\\134x rw\n"
    )
    assert parse_mountinfo(data) == [
        Mount("36", "98:0", b"/mnt1", b"/mnt2", "ext3", b"/dev/root"),
        Mount("40", "0:22", b"/", b"/media/My Stick", "vfat", b"/dev/sd\\x"),
    ]


@given(st.binary(max_size=300))
def test_any_mountinfo_is_passed_over_or_read(data: bytes) -> None:
    parse_mountinfo(data)


def block(sys: Path, number: str, where: str, *, removable: str = "0", slaves: tuple[str, ...] = ()) -> None:
    folder = sys / "devices" / where
    folder.mkdir(parents=True)
    (folder / "removable").write_text(f"{removable}\n")
    (folder / "dev").write_text(f"{number}\n")
    (folder / "slaves").mkdir()
    for slave in slaves:
        (folder / "slaves" / Path(slave).name).symlink_to(sys / "devices" / slave)
    (sys / "dev/block").mkdir(parents=True, exist_ok=True)
    (sys / "dev/block" / number).symlink_to(folder)


def test_which_disks_are_fixed(tmp_path: Path) -> None:
    block(tmp_path, "8:0", "pci0/ata1/block/sda")
    block(tmp_path, "8:16", "pci0/usb1/1-1/block/sdb")
    block(tmp_path, "8:32", "pci0/ata2/block/sdc", removable="1")
    block(tmp_path, "7:0", "virtual/block/loop0")
    block(tmp_path, "253:0", "virtual/block/dm-0", slaves=("pci0/ata1/block/sda",))
    block(tmp_path, "253:1", "virtual/block/dm-1", slaves=("pci0/usb1/1-1/block/sdb",))
    block(tmp_path, "179:0", "pci0/mmc/block/mmcblk0")
    (tmp_path / "devices/pci0/mmc/block/mmcblk0/device").mkdir()
    (tmp_path / "devices/pci0/mmc/block/mmcblk0/device/type").write_text("SD\n")
    fixed = {
        number: is_fixed_disk(number, str(tmp_path))
        for number in ("8:0", "8:16", "8:32", "7:0", "253:0", "253:1", "179:0", "9:9")
    }
    assert fixed == {
        "8:0": True,
        "8:16": False,
        "8:32": False,
        "7:0": False,
        "253:0": True,
        "253:1": False,
        "179:0": False,
        "9:9": False,
    }


@pytest.mark.parametrize(
    ("fs_type", "mountpoint", "trusted"),
    [
        ("ext4", b"/", True),
        ("fuse.sshfs", b"/home/y/x", False),
        ("nfs4", b"/srv", False),
        ("cifs", b"/srv", False),
        ("tmpfs", b"/tmp", True),
        ("overlay", b"/var/x", True),
        ("vboxsf", b"/media/sf", False),
        ("ext4", b"/media/stick", False),
    ],
)
def test_which_file_systems_are_trusted(
    tmp_path: Path, fs_type: str, mountpoint: bytes, trusted: bool
) -> None:
    block(tmp_path, "8:16", "pci0/usb1/1-1/block/sdb")
    device = "8:16" if fs_type == "ext4" else "0:99"
    assert is_trusted(Mount("1", device, b"/", mountpoint, fs_type, b"none"), b"/", str(tmp_path)) == trusted
