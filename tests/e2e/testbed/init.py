"""First process of a test machine: builds its root, then only reaps. Runs in fresh namespaces (see ``machine``).

``python init.py FOLDER HOSTNAME CGROUP``: FOLDER is an empty directory of the caller's; everything mounted here is
private to this mount namespace and vanishes with it. Says ``ready`` on standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    done = _libc.mount(
        source.encode(), str(target).encode(), kind.encode() or None, flags, options.encode() or None
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def build_root(folder: Path) -> Path:
    """Mount the machine's own root below ``folder`` and return it."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", folder, "tmpfs", options="mode=755,size=2g")
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for path in (upper, work, root):
        path.mkdir()
    mount("overlay", root, "overlay", options=f"lowerdir=/,upperdir={upper},workdir={work}")
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV)
    mount("sysfs", root / "sys", "sysfs", MS_NOSUID | MS_NODEV)
    mount("/dev", root / "dev", flags=MS_BIND | MS_REC)
    # A city PC has no build machine's tree there; walking it would only delay the inventory. What the project itself needs
    # stays visible: binding it in would put this machine's own file system into reach of the PC's execution gate.
    needed = (sys.executable, sys.base_prefix, __file__)
    for name in ("run", "tmp", "opt"):
        if any(path.startswith(f"/{name}/") for path in needed):
            continue
        mount(
            "tmpfs", root / name, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" if name == "tmp" else "mode=755"
        )
    # Devices are shared with this machine; its shared memory is not, or the PC's execution gate would answer for it.
    mount("tmpfs", root / "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    # Not below /sys: a machine whose USB is mocked sees another /sys.
    (root / "run/cgroup2").mkdir()
    mount("none", root / "run/cgroup2", "cgroup2", MS_NOSUID | MS_NODEV)
    return root


def main() -> None:
    """Become the machine's first process."""
    folder, hostname, cgroup = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    Path(cgroup, "cgroup.procs").write_text("0")
    root = build_root(folder)
    socket.sethostname(hostname)
    (root / "etc/hostname").write_text(f"{hostname}\n")
    machine_id = root / "etc/machine-id"
    machine_id.unlink(missing_ok=True)
    machine_id.write_text(f"{os.urandom(16).hex()}\n")
    os.chdir(root)
    if _libc.pivot_root(b".", b".") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    if _libc.umount2(b".", MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount2")
    os.chroot("/")
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        signal.sigwait({signal.SIGCHLD})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    main()
