"""A stick for a test PC: a real hot-added block device (zram) with ext4 on it."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.testbed.machine import Machine, wait_for

CONTROL = Path("/sys/class/zram-control")


class Medium:
    """Hot-added on entry, removed on exit."""

    def __init__(self, machine: Machine, size: int = 16 * 1024 * 1024) -> None:
        self.machine = machine
        self.size = size

    def __enter__(self) -> Self:
        self.number = int((CONTROL / "hot_add").read_text())
        self.node = f"/dev/zram{self.number}"
        Path(f"/sys/block/zram{self.number}/disksize").write_text(str(self.size))
        self.machine.run(["mkfs.ext4", "-q", "-L", "PRIVATE", self.node])
        return self

    def mounted(self, where: str) -> bool:
        """Is it in the machine's mount table?"""
        table = Path(f"/proc/{self.machine.pid}/mountinfo").read_text()
        return any(line.split()[4] == where and self.node in line for line in table.splitlines())

    def mount_until_gone(self, where: str) -> float:
        """Mount it on the machine and wait until it is taken away; returns for how long it was there, in ms.

        The time runs from before ``mount`` was started, so it is an upper bound.
        """
        begin = time.monotonic()
        self.machine.run(["mount", self.node, where])
        wait_for("the medium to be taken away", lambda: not self.mounted(where))
        return (time.monotonic() - begin) * 1000

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.machine.run(["umount", "-l", self.node], check=False)

        def removed() -> bool:
            try:
                (CONTROL / "hot_remove").write_text(str(self.number))
            except OSError:
                return False
            return True

        wait_for(f"{self.node} to be free", removed)
