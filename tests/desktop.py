"""A desktop to show notices on: a real dbus-daemon session bus of a user, and a small notification server on it.

Needs root, dbus-daemon. The server says what it was asked to show and presses what the test tells it to.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SERVER = "org.freedesktop.Notifications"
CONFIG = (
    '<busconfig><type>session</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth><policy context="default">'
    '<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>'
)


def server_command(bus: Path | str, uid: int, gid: int, *, markup: bool = True) -> list[str]:
    """The notification server. It starts as root and drops: the interpreter may lie where the user cannot go."""
    return [sys.executable, __file__, str(bus), str(uid), str(gid), "body-markup" if markup else ""]


class Screen:
    """What a notification server shows, and the hand that presses its buttons."""

    def __init__(self, server: subprocess.Popen[str] | None, others: Sequence[subprocess.Popen[Any]]) -> None:
        self._server, self._others = server, others
        if server is not None:
            assert self.said()["ready"]

    def said(self, seconds: float = 15.0) -> dict[str, Any]:
        """The next thing the server was asked."""
        assert self._server is not None
        assert self._server.stdout is not None
        ready, _, _ = select.select([self._server.stdout], [], [], seconds)
        assert ready, "the notification server heard nothing"
        found: dict[str, Any] = json.loads(self._server.stdout.readline())
        return found

    def do(self, what: str, number: int) -> None:
        """``press`` the button of a notification, ``close`` it as read, or let it ``expire``."""
        assert self._server is not None
        assert self._server.stdin is not None
        self._server.stdin.write(f"{what} {number}\n")
        self._server.stdin.flush()

    def close(self) -> None:
        for process in (*([self._server] if self._server else []), *self._others):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Desktop(Screen):
    """Bus and notification server of ``uid`` on this machine, below ``root``. ``markup``: the server knows markup."""

    def __init__(self, root: Path, uid: int, gid: int, *, markup: bool = True, server: bool = True) -> None:
        folder = root / "run/user" / str(uid)
        folder.mkdir(parents=True)
        os.chown(folder, uid, gid)
        folder.chmod(0o700)
        bus, config = folder / "bus", root / f"session-{uid}.conf"
        config.write_text(CONFIG.format(bus=bus))
        daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            cwd="/",
            user=uid,
            group=gid,
            extra_groups=[],
        )
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        command = server_command(bus, uid, gid, markup=markup)
        pipe = subprocess.PIPE
        shown = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) if server else None
        super().__init__(shown, [daemon])


def serve(bus: str, uid: int, gid: int, capability: str) -> None:
    """Be a notification server until standard input ends. Runs in a process of its own."""
    from jeepney import DBusAddress, MessageType, new_method_return, new_signal
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import open_dbus_connection

    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    connection = open_dbus_connection(f"unix:path={bus}")
    connection.send_and_get_reply(message_bus.RequestName(SERVER), timeout=5)
    here = DBusAddress("/org/freedesktop/Notifications", interface=SERVER)
    print(json.dumps({"ready": True}), flush=True)
    last = 0
    while True:
        ready, _, _ = select.select([connection.sock, sys.stdin], [], [])
        if sys.stdin in ready:
            line = sys.stdin.readline().split()
            if not line:
                return
            what, number = line[0], int(line[1])
            if what == "press":
                connection.send(new_signal(here, "ActionInvoked", "us", (number, "ask")))
            else:
                reason = 2 if what == "close" else 1
                connection.send(new_signal(here, "NotificationClosed", "uu", (number, reason)))
            continue
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                message = connection.receive(timeout=0)
            except TimeoutError:
                break
            if message.header.message_type is not MessageType.method_call:
                continue
            member = message.header.fields.get(3)
            if member == "GetCapabilities":
                offered = ["body", "actions", *([capability] if capability else [])]
                connection.send(new_method_return(message, "as", (offered,)))
            elif member == "Notify":
                last += 1
                connection.send(new_method_return(message, "u", (last,)))
                name, _, _, summary, body, actions, _, _ = message.body
                told = {"id": last, "app": name, "summary": summary, "body": body, "actions": actions}
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
