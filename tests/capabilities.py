"""What this machine can do, tried for real.

A test says `@pytest.mark.needs("nft", "netns")`; where a probe below fails, the test is skipped by that name.
A probe does the thing itself, in a way that leaves nothing behind, and raises or returns a reason if it cannot.
"""

import ctypes
import ctypes.util
import fcntl
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


class Missing(Exception):
    """The capability is not there; the message says why."""


def _run(*command: str) -> None:
    """Run a command; raise Missing with its last line of complaint if it fails."""
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise Missing(f"{command[0]}: {complaint[-1]}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> int:
    if result < 0:
        raise Missing(f"{call}: {os.strerror(ctypes.get_errno())}")
    return result


def _linux() -> None:
    if platform.system() != "Linux":
        raise Missing(f"this is {platform.system()}")


def _root() -> None:
    if os.geteuid() != 0:
        raise Missing("not root")


def _netns() -> None:
    """Named namespaces (ip netns), and veth and bridge links inside one."""
    name = f"sekisho-probe-{os.getpid()}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "add", "name", "pv0", "type", "veth", "peer", "name", "pv1")
        _run("ip", "-n", name, "link", "add", "name", "pbr", "type", "bridge")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _mountns() -> None:
    """Mount, pid and uts namespaces with an overlay on tmpfs: what a testbed PC is made of."""
    script = (
        "mount -t tmpfs none /mnt && cd /mnt && mkdir up work new && "
        "mount -t overlay none -o lowerdir=/usr,upperdir=up,workdir=work new && test -d new/bin"
    )
    _run("unshare", "--mount", "--pid", "--uts", "--fork", "sh", "-c", script)


def _nft() -> None:
    """A table in a network namespace of its own; it ends with the command."""
    _run(
        "unshare",
        "--net",
        "nft",
        "add table inet probe; add chain inet probe c { type filter hook output priority 0; }",
    )


def _fanotify() -> None:
    """A permission mark for execution, on one file of our own (nobody else is held up)."""
    fan_cloexec, fan_class_content, fan_mark_add, fan_open_exec_perm, at_fdcwd = 0x1, 0x4, 0x1, 0x40000, -100
    libc = _libc()
    fd = _check(libc.fanotify_init(fan_cloexec | fan_class_content, os.O_RDONLY), "fanotify_init")
    try:
        with tempfile.NamedTemporaryFile() as target:
            marked = libc.fanotify_mark(
                fd, fan_mark_add, ctypes.c_uint64(fan_open_exec_perm), at_fdcwd, target.name.encode()
            )
            _check(marked, "fanotify_mark")
    finally:
        os.close(fd)


def _loop() -> None:
    """The kernel names a free loop device."""
    loop_ctl_get_free = 0x4C82
    with Path("/dev/loop-control").open("rb") as control:
        fcntl.ioctl(control, loop_ctl_get_free)


def _zram() -> None:
    """Add a zram disk and remove it: a real hotplug."""
    control = Path("/sys/class/zram-control")
    number = (control / "hot_add").read_text().strip()
    (control / "hot_remove").write_text(number)


def _umockdev() -> None:
    """The preload wrapper runs, and the library makes a testbed as our tests do, by ctypes."""
    _run("umockdev-wrapper", "true")
    if not hasattr(ctypes.CDLL("libumockdev.so.0"), "umockdev_testbed_new"):
        raise Missing("libumockdev.so.0 lacks umockdev_testbed_new")


def _bpf() -> None:
    """The kernel accepts a cgroup/connect4 program (`return 1`)."""
    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
    if number is None:
        raise Missing(f"the number of bpf() on {platform.machine()} is not known here")
    prog_load, cgroup_sock_addr, inet4_connect = 5, 18, 10
    # r0 = 1; exit
    code = ctypes.create_string_buffer(
        struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    )
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        cgroup_sock_addr,
        2,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0,  # log level
        0,  # log size
        0,  # log buffer
        0,  # kernel version
        0,  # flags
        b"probe",
        0,  # interface
        inet4_connect,
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    os.close(_check(_libc().syscall(number, prog_load, buffer, len(attributes)), "bpf(BPF_PROG_LOAD)"))


def _command(*command: str) -> Callable[[], None]:
    return lambda: _run(*command)


PROBES: dict[str, Callable[[], None]] = {
    "linux": _linux,
    "root": _root,
    "netns": _netns,
    "mountns": _mountns,
    "userns": _command("unshare", "--user", "--map-user=65534", "--map-group=65534", "true"),
    "nft": _nft,
    "fanotify": _fanotify,
    "loop": _loop,
    "zram": _zram,
    "umockdev": _umockdev,
    "bpf": _bpf,
    "ext4": _command("mkfs.ext4", "-V"),
    "tcpdump": _command("tcpdump", "--version"),
    "ping": _command("ping", "-V"),
    "arping": _command("sh", "-c", "command -v arping"),
    "nc": _command("sh", "-c", "command -v nc"),
    "dnsmasq": _command("dnsmasq", "--version"),
    "dpkg": _command("dpkg", "--version"),
    "dbus": _command("dbus-daemon", "--version"),
    "sshd": _command("sh", "-c", "test -x /usr/sbin/sshd && command -v ssh"),
    "journald": _command("sh", "-c", "test -x /lib/systemd/systemd-journald && command -v journalctl"),
    "clamav": _command("sh", "-c", "command -v sigtool && test -x /usr/sbin/clamd"),
}
"""Name a test may use → how to find out. A new capability is one function and one line here."""


@cache
def why_missing(name: str) -> str | None:
    """Say why a capability is missing, or None if it is there. Each probe runs once per session."""
    try:
        PROBES[name]()
    except (Missing, OSError, AttributeError, subprocess.TimeoutExpired) as reason:
        return str(reason) or type(reason).__name__
    return None
