"""The USB side of a test PC, by umockdev: what is plugged in and out on command.

Runs on the PC under ``LD_PRELOAD=libumockdev-preload.so.0`` as ``python -m tests.e2e.testbed.usb_host``. Says
``{"ready": FOLDER}``; whoever is started with ``UMOCKDEV_DIR=FOLDER`` and the same preload sees the devices. Then one JSON
command a line: ``{"plug": PORT, "serial": …}`` · ``{"unplug": PORT}`` · ``{"wireless": NAME}`` · ``{"authorized": PORT}`` → ``{"value": "0"}``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.e2e.testbed.machine import PROJECT, Machine

PRELOAD = {"LD_PRELOAD": "libumockdev-preload.so.0"}


class UsbHost:
    """The test's side: drives the process on the PC."""

    def __init__(self, machine: Machine) -> None:
        env = {**PRELOAD, "PYTHONPATH": str(PROJECT)}
        argv = [sys.executable, "-m", "tests.e2e.testbed.usb_host"]
        self._process = machine.spawn(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.env = {**PRELOAD, "UMOCKDEV_DIR": str(self._answer()["ready"])}
        """Start the agent with this."""

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def _ask(self, **command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def plug(self, port: str, serial: str) -> None:
        """Plug a stick with this serial into a port such as ``1-2``."""
        self._ask(plug=port, serial=serial)

    def unplug(self, port: str) -> None:
        """Pull it out."""
        self._ask(unplug=port)

    def authorized(self, port: str) -> str:
        """What the device's ``authorized`` file says: ``0`` or ``1``."""
        return str(self._ask(authorized=port)["value"])

    def wireless(self, name: str) -> None:
        """Say that an interface is a wireless adapter."""
        self._ask(wireless=name)

    def close(self) -> None:
        """End the process on the PC."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Serve commands from standard input until it ends."""
    from tests.mockdev import STICK, Bed

    bed = Bed()
    print(json.dumps({"ready": bed.folder()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, str] = {}
        if "plug" in command:
            bed.plug(command["plug"], STICK._replace(serial=command["serial"]))
        elif "unplug" in command:
            bed.unplug(command["unplug"])
        elif "wireless" in command:
            bed.wireless(command["wireless"])
        else:
            answer["value"] = bed.attribute(command["authorized"], "authorized")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
