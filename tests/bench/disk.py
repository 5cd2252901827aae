"""A machine of the testbed has its files in memory, where fsync costs nothing: this gives it a file system on the real disk.

It is one of its own, on a loop device. A folder of the real disk bound into a machine would not do: the execution gate
there puts its question on whole file systems, and every program of the real machine would have to wait for it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.testbed.machine import Machine

MIB = 1 << 20
SIZE_MIB = 96
INTERNAL = "/boot"
"""What is mounted here counts as an internal disk, not as a medium that somebody brought along."""


def put_on_disk(machine: Machine, image: Path, target: str) -> None:
    """``target`` on the machine lies on the disk of ``image`` from now on. Raises subprocess.CalledProcessError."""
    with image.open("wb") as file:  # written through: allocating blocks later would be measured too
        for _ in range(SIZE_MIB):
            file.write(bytes(MIB))
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
    try:
        machine.run(["mkdir", "-p", INTERNAL, target])
        machine.run(["mount", device, INTERNAL])
        machine.run(["mkdir", "-m", "700", f"{INTERNAL}/data"])
        machine.run(["mount", "--bind", f"{INTERNAL}/data", target])
    finally:
        _run("losetup", "--detach", device)  # takes effect when the machine and its mounts are gone


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
