"""The mount table, superblocks, and what happens to real media in mount namespaces of the tests' own."""

import errno
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux import mount_table
from agent.platform.linux.block_devices import BlockDevices
from agent.platform.linux.mounts import LinuxMounts
from agent.platform.ports import Mount
from tests.isolated import isolated
from tests.sticks import loop_stick, mount, run, zram_stick

LINE = rb"36 35 8:17 /dir /media/a\040b\134c rw,nosuid,relatime shared:1 master:2 - vfat /dev/sdb1 ro,errors=panic"

# -- pure ------------------------------------------------------------------------------------------------


def test_a_line_of_the_table() -> None:
    (entry,) = mount_table.parse(LINE + b"\n")
    assert (entry.mount_id, entry.device, entry.root) == (36, (8, 17), "/dir")
    assert (entry.mountpoint, entry.fs_type, entry.source) == ("/media/a b\\c", "vfat", "/dev/sdb1")
    assert entry.options == {"rw", "nosuid", "relatime"}
    assert entry.read_only


@given(st.binary(max_size=400))
def test_no_bytes_break_the_table(noise: bytes) -> None:
    for data in (noise, LINE + noise, noise + b"\n" + LINE, LINE[: len(noise)] + noise):
        for entry in mount_table.parse(data):
            assert entry.mount_id >= 0
    assert mount_table.parse(noise.replace(b" - ", b"") + b"\n" + LINE + b"\n")[-1].mount_id == 36


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60))
def test_any_path_comes_back(name: str) -> None:
    path = f"/{name}"
    escaped = b"".join(rb"\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in path.encode())
    (entry,) = mount_table.parse(LINE.replace(rb"/media/a\040b\134c", escaped))
    assert entry.mountpoint == path


def test_a_huge_table_is_cut_off() -> None:
    assert len(mount_table.parse((LINE + b"\n") * (mount_table.MAX_ENTRIES + 5))) == mount_table.MAX_ENTRIES


def _disk(sys_root: Path, place: str, **attributes: str) -> Path:
    folder = sys_root / "devices" / place
    for name, text in {"removable": "0", "size": "2048", "dev": "8:0", **attributes}.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    for link in (sys_root / "block" / folder.name, sys_root / "dev" / "block" / attributes.get("dev", "8:0")):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    return folder


def test_what_counts_as_internal(tmp_path: Path) -> None:
    sys_root, state = tmp_path / "sys", tmp_path / "state"
    state.mkdir()
    _disk(
        sys_root,
        "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda",
        device__wwid="naa.5000",
        dev="8:0",
    )
    usb = "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb"
    _disk(sys_root, usb, dev="8:16", device__wwid="naa.5000")
    _disk(sys_root, "pci0000:00/mmc_host/mmc0/mmc0:0001/block/mmcblk0", dev="179:0", device__type="SD")
    _disk(sys_root, "pci0000:00/mmc_host/mmc1/mmc1:0001/block/mmcblk1", dev="179:8", device__type="MMC")
    _disk(sys_root, "virtual/block/loop3", dev="7:3", loop__backing_file="/home/u/x.img")
    _disk(sys_root, "virtual/block/loop4", dev="7:4", loop__backing_file="/var/lib/snapd/snaps/core_1.snap")
    thunderbolt = _disk(sys_root, "pci0000:00/0000:00:1c.0/0000:03:00.0/nvme/nvme1/nvme1n1", dev="259:1")
    (thunderbolt.parents[2] / "removable").write_text("removable\n")
    crypt = _disk(sys_root, "virtual/block/dm-0", dev="253:0")
    (crypt / "slaves").mkdir()
    (crypt / "slaves" / "sdb").symlink_to(sys_root / "devices" / usb)
    for blocks in (BlockDevices(sys_root, state), BlockDevices(sys_root, state)):
        internal = {
            number: blocks.is_internal(folder, frozenset())
            for number in ((8, 0), (8, 16), (179, 0), (179, 8), (7, 3), (7, 4), (259, 1), (253, 0))
            if (folder := blocks.folder(number))
        }
        assert [number for number, known in internal.items() if known] == [(8, 0), (179, 8), (7, 4)]
        assert len(internal) == 8
        homes = blocks.homes([(253, 0)])
        assert blocks.is_internal(sys_root / "devices" / usb, homes)
        # Added after the first start: not the PC's until somebody registers it.
        if not (sys_root / "block" / "sdz").exists():
            _disk(sys_root, "pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block/sdz", dev="65:0")
        late = blocks.folder((65, 0))
        assert late is not None
        assert not blocks.is_internal(late, frozenset())
    assert blocks.serial(sys_root / "devices" / usb) == "naa.5000"
    assert blocks.size(sys_root / "devices" / usb) == 2048 * 512


def test_a_disk_is_taken_from_the_kernel(tmp_path: Path) -> None:
    blocks = BlockDevices(tmp_path)
    stick = _disk(tmp_path, "usb1/host6/6:0:0:0/block/sdb", dev="8:16", device__delete="")
    card = _disk(tmp_path, "mmc_host/mmc0/block/mmcblk0", dev="179:0", device__driver__unbind="")
    for disk in (stick, card):
        blocks.unplug(disk)
    assert (stick / "device" / "delete").read_text() == "1"
    assert (card / "device" / "driver" / "unbind").read_text() == "device"


# -- the real kernel -------------------------------------------------------------------------------------

real = pytest.mark.needs("root", "mountns", "loop", "ext4")


def _table(folder: Path) -> LinuxMounts:
    return LinuxMounts(Path("/proc"), Path("/sys"), Path("/"), folder / "state")


def _fails(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as error:  # noqa: PT011 - the errno says which
        call()
    assert error.value.errno == number


@real
def test_a_medium_is_seen_named_and_unmounted(tmp_path: Path) -> None:
    def body() -> None:
        table = _table(tmp_path)
        assert table.mounts() == []
        poller = select.poll()
        poller.register(table.fileno(), select.POLLPRI)
        poller.poll(0)
        place = tmp_path / "the stick"
        mount(node, place)
        assert poller.poll(5000)
        (seen,) = table.mounts()
        assert (seen.source, seen.mountpoint, seen.fs_type, seen.label) == (node, str(place), "ext4", "STICK")
        assert (seen.fs_uuid, seen.size) == (run("blkid", "-p", "-s", "UUID", "-o", "value", node), 16 << 20)
        assert len(seen.media_id) == 64
        (place / "file").write_text("x")
        assert table.remove(seen) == "unmounted"
        assert not (place / "file").exists()
        assert poller.poll(5000)
        assert table.mounts() == []
        _fails(errno.ENOENT, lambda: table.remove(seen))
        mount(node, tmp_path / "again")
        assert table.mounts()[0].media_id == seen.media_id
        table.close()

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_a_busy_medium_can_be_neither_read_nor_written_afterwards(tmp_path: Path) -> None:
    def body() -> None:
        place = tmp_path / "m"
        mount(node, place)
        (place / "secret").write_text("x" * 100_000)
        table = _table(tmp_path)
        with (
            (place / "secret").open("rb", buffering=0) as reading,
            (place / "new").open("wb", buffering=0) as writing,
        ):
            assert table.remove(table.mounts()[0]) == "detached"
            _fails(errno.EIO, lambda: reading.read(10))
            _fails(errno.EIO, lambda: writing.write(b"x"))
        assert not (place / "secret").exists()
        assert table.mounts() == []

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_every_bind_mount_goes(tmp_path: Path) -> None:
    def body() -> None:
        first, second, third = (tmp_path / name for name in "abc")
        mount(node, first)
        (first / "sub").mkdir()
        for place, source in ((second, first), (third, first / "sub")):
            place.mkdir()
            run("mount", "--bind", str(source), str(place))
        run("mount", "-t", "tmpfs", "none", str(first / "sub"))
        run("mount", "-t", "tmpfs", "none", str(third))  # hides the medium
        table = _table(tmp_path)
        assert len(table.mounts()) == 3
        assert table.remove(table.mounts()[0]) == "detached"
        assert table.mounts() == []

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_read_only_for_every_mount_flags_kept(tmp_path: Path) -> None:
    def body() -> None:
        first, second = tmp_path / "a", tmp_path / "b"
        mount(node, first, "rw,nosuid,nodev,noexec")
        (first / "file").write_text("x")
        second.mkdir()
        run("mount", "--bind", str(first), str(second))
        table = _table(tmp_path)
        table.make_read_only(table.mounts()[0])
        for place in (first, second):
            assert (place / "file").read_text() == "x"
            _fails(errno.EROFS, lambda place=place: (place / "new").write_text("x"))  # type: ignore[misc]
        options = {
            each.mountpoint: each.options
            for each in mount_table.parse(Path("/proc/self/mountinfo").read_bytes())
        }
        assert options[str(second)] >= {"nosuid", "nodev", "noexec"}
        assert all(each.read_only for each in table.mounts())

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_not_read_only_while_somebody_writes(tmp_path: Path) -> None:
    def body() -> None:
        mount(node, tmp_path / "m")
        table = _table(tmp_path)
        with (tmp_path / "m" / "file").open("w"):
            _fails(errno.EBUSY, lambda: table.make_read_only(table.mounts()[0]))

    with loop_stick(tmp_path) as node:
        isolated(body)


HIDER = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None) == 0
assert subprocess.run(["mount", sys.argv[1], sys.argv[2]]).returncode == 0
print("mounted", flush=True)
sys.stdin.readline()
print(os.path.exists(sys.argv[2] + "/lost+found"), flush=True)
"""


@real
@pytest.mark.parametrize("act", ["remove", "read_only"])
def test_a_medium_hidden_in_another_namespace(tmp_path: Path, act: str) -> None:
    def body() -> Mount:
        place = tmp_path / "m"
        place.mkdir()
        command = [sys.executable, "-c", HIDER, node, str(place)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hider:
            assert hider.stdin is not None
            assert hider.stdout is not None
            assert hider.stdout.readline() == "mounted\n"
            table = _table(tmp_path)
            (seen,) = table.mounts()
            assert seen.mountpoint == str(place)
            assert not (place / "lost+found").exists()
            if act == "remove":
                assert table.remove(seen) == "detached"
                assert table.mounts() == []
            else:
                table.make_read_only(seen)
                assert table.mounts()[0].read_only
            hider.stdin.write("\n")
            hider.stdin.flush()
            assert hider.stdout.readline() == f"{act == 'read_only'}\n"
        return seen

    with loop_stick(tmp_path) as node:
        assert isolated(body).label == "STICK"


@pytest.mark.needs("root", "mountns", "zram", "ext4")
def test_a_disk_that_is_really_plugged_in(tmp_path: Path) -> None:
    def body() -> None:
        table = _table(tmp_path)
        mount(node, tmp_path / "m")
        (seen,) = table.mounts()
        assert (seen.label, seen.removable) == ("ZSTICK", True)
        assert table.remove(seen) == "unmounted"
        run("mkfs.ext4", "-q", "-F", "-L", "NEW", node)
        table.mounts()
        mount(node, tmp_path / "m")
        (other,) = table.mounts()
        assert (other.label, other.media_id != seen.media_id) == ("NEW", True)

    with zram_stick() as node:
        isolated(body)
