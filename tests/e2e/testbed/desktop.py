"""A user's desktop on a test PC: session bus and notification server, as a logged-on user has them."""

from __future__ import annotations

import subprocess

from tests.desktop import CONFIG, Screen, server_command
from tests.e2e.testbed.machine import Machine, wait_for


class PcDesktop(Screen):
    """``user`` is logged on at the screen of ``machine``: what the agent shows there can be read and pressed."""

    def __init__(self, machine: Machine, user: str) -> None:
        uid, gid = (int(machine.run(["id", flag, user]).stdout) for flag in ("-u", "-g"))
        folder = f"/run/user/{uid}"
        bus = f"{folder}/bus"
        machine.run(["install", "-d", "-m", "755", "/run/user"])
        machine.run(["install", "-d", "-m", "700", "-o", str(uid), "-g", str(gid), folder])
        machine.write(f"/etc/session-{uid}.conf", CONFIG.format(bus=bus))
        argv = ["dbus-daemon", f"--config-file=/etc/session-{uid}.conf", "--nofork"]
        daemon = machine.spawn(argv, user=user)
        wait_for("the session bus", machine.path(bus).exists)
        pipe = subprocess.PIPE
        server = machine.spawn(server_command(bus, uid, gid), stdin=pipe, stdout=pipe)
        super().__init__(server, [daemon])
