"""Shows notices to one user, with that user's rights: on the desktop, else on the terminals. A short-lived process.

``python -m agent.notice_child UID GID BUS TERMINAL…``: descriptor 0 is a socket to the agent, BUS the path of the user's
message bus (empty = no desktop). Desktop Notifications Specification 1.2. It ends when nothing is left to wait for.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from agent.notice_wire import ASKED, MAX_DATAGRAM, Show, Told, read_show
from agent.platform.linux import confine

OPEN_S = 600.0
"""How long a notice is waited for; after that its button does nothing."""
IDLE_S = 5.0
REPLY_S = 3.0
_NAME = "org.freedesktop.Notifications"
_SERVER = DBusAddress("/org/freedesktop/Notifications", bus_name=_NAME, interface=_NAME)
_BY_USER = 2
"""Reason of NotificationClosed: dismissed by the user."""
_MEMORY, _FILES, _CPU_S = 512 << 20, 64, 20


class Desktop:
    """The notification server of the user's desktop. Raises OSError, TimeoutError or a jeepney error."""

    def __init__(self, bus: str) -> None:
        self._connection: DBusConnection = open_dbus_connection(f"unix:path={bus}")
        self._open: dict[int, int] = {}
        """The server's number → ours."""
        rule = MatchRule(type="signal", interface=_NAME, path=_SERVER.object_path)
        # A queue: what the user does while an answer is awaited must not get lost.
        self._signals = self._connection.filter(rule, bufsize=256).queue
        self._ask(message_bus.AddMatch(rule))
        (found,) = self._ask(new_method_call(_SERVER, "GetCapabilities"))
        self._markup, self._buttons = "body-markup" in found, "actions" in found

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return int(self._connection.sock.fileno())

    def show(self, notice: Show) -> None:
        """Put a notice up."""
        body = notice.body
        if self._markup:  # what a device calls itself must not become a link
            body = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        actions = [ASKED, notice.button] if notice.button and self._buttons else []
        hints: dict[str, tuple[str, Any]] = {"urgency": ("y", 2), "category": ("s", "device.error")}
        values = ("Sekisho", 0, "security-high", notice.summary, body, actions, hints, 0)
        (number,) = self._ask(new_method_call(_SERVER, "Notify", "susssasa{sv}i", values))
        self._open[number] = notice.id

    def heard(self) -> list[Told]:
        """What the user did; does not wait."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._connection.recv_messages(timeout=0)
        signals = [self._signals.popleft() for _ in range(len(self._signals))]
        return [told for message in signals if (told := self._signal(message))]

    def _signal(self, message: Message) -> Told | None:
        member = message.header.fields.get(HeaderFields.member)
        if member == "ActionInvoked" and message.body[0] in self._open and message.body[1] == ASKED:
            return Told(self._open[message.body[0]], "asked", "desktop")
        if member == "NotificationClosed" and message.body[0] in self._open:
            number = self._open.pop(message.body[0])
            return Told(number, "closed", "desktop") if message.body[1] == _BY_USER else None
        return None

    @property
    def is_waiting(self) -> bool:
        """Whether a notice is still up."""
        return bool(self._open)

    def _ask(self, message: Message) -> tuple[Any, ...]:
        answer = self._connection.send_and_get_reply(message, timeout=REPLY_S)
        if answer.header.message_type is MessageType.error:
            raise OSError(f"{_NAME}: {answer.header.fields.get(HeaderFields.error_name)}")
        body: tuple[Any, ...] = answer.body
        return body


def write_terminal(path: str, notice: Show) -> bool:
    """Write to a terminal that is the user's own; tells whether all of it was taken."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(fd)
            if not stat.S_ISCHR(found.st_mode) or found.st_uid != os.getuid() or not os.isatty(fd):
                return False
            # Nothing that a device calls itself may steer the terminal.
            lines = f"\a\n{notice.summary}\n{notice.body}\n".split("\n")
            plain = ("".join(one for one in line if one.isprintable() or one == "\a") for line in lines)
            text = "\r\n".join(plain).encode()
            return os.write(fd, text) == len(text)
        finally:
            os.close(fd)
    return False


class Child:
    """Takes notices from the agent and tells what became of them."""

    def __init__(self, agent: socket.socket, bus: str, terminals: Sequence[str]) -> None:
        self._agent, self._bus, self._terminals = agent, bus, terminals
        self._desktop: Desktop | None = None

    def run(self) -> None:
        """Work until the agent closes, or nothing is left to wait for."""
        busy_s = time.monotonic()
        while True:
            waiting = self._desktop is not None and self._desktop.is_waiting
            left = busy_s + (OPEN_S if waiting else IDLE_S) - time.monotonic()
            if left <= 0:
                return
            watched: list[socket.socket | Desktop] = [self._agent]
            if self._desktop is not None:
                watched.append(self._desktop)
            ready, _, _ = select.select(watched, [], [], left)
            if self._agent in ready:
                data = self._agent.recv(MAX_DATAGRAM)
                if not data:
                    return
                if notice := read_show(data):
                    self._show(notice)
                    busy_s = time.monotonic()
            self._listen()

    def _show(self, notice: Show) -> None:
        try:
            if self._bus:
                self._desktop = self._desktop or Desktop(self._bus)
                self._desktop.show(notice)
                self._tell(Told(notice.id, "shown", "desktop"))
                return
        except Exception:  # noqa: BLE001 - whatever a desktop does, the notice still has other ways
            self._desktop = None
        written = sum(write_terminal(path, notice) for path in self._terminals)
        if written:
            self._tell(Told(notice.id, "shown", "terminal"))
        else:
            self._tell(Told(notice.id, "failed"))

    def _listen(self) -> None:
        try:
            for told in self._desktop.heard() if self._desktop else ():
                self._tell(told)
        except Exception:  # noqa: BLE001 - the desktop ended: its notices are gone with it
            self._desktop = None

    def _tell(self, told: Told) -> None:
        self._agent.send(msgspec.msgpack.encode(told))


def main(arguments: list[str]) -> int:
    """Entry point."""
    uid, gid, bus, *terminals = arguments
    confine.limit_all(memory=_MEMORY, cpu_s=_CPU_S, files=_FILES)
    confine.become(int(uid), int(gid))
    with socket.socket(fileno=0) as agent, contextlib.suppress(ConnectionError):
        Child(agent, bus, terminals).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
