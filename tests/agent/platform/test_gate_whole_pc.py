"""The gate on a whole PC with a root of its own (overlay, pivot_root): every program of this machine's packages runs."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.testbed.machine import PROJECT, Machine

pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("fanotify", "dpkg"),
]

INSIDE = """
import json, os, sys, time
from pathlib import Path
from agent.platform import Platform
from agent.platform.execution_ports import GatePlan
platform = Platform(state=Path("/var/lib/gate"), run=Path("/run/gate"))
gate = platform.execution_gate
gate.load(GatePlan(enforce=True, closed=False, packages={"dpkg": {"*": ()}}))
state, found = {}, []
while state.get("marks", "0") == "0":
    reports, state = gate.reports()
    time.sleep(0.01)
print(json.dumps(state), flush=True)
sys.stdin.readline()
last = os.posix_spawn("/usr/bin/true", ["true"], {})
os.waitpid(last, 0)
pid = 0
while pid != last:  # records come in order: with ours, all are there
    for one in platform.execution_log.executions():
        pid = one.pid
        print(json.dumps([one.target, one.denied, one.reason, one.package]), flush=True)
    time.sleep(0.01)
gate.stop()
"""


@pytest.fixture
def pc() -> Iterator[Machine]:
    with Machine("gated") as machine:
        # its /dev is this machine's: nothing of it may be marked
        machine.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"])
        machine.run(["useradd", "--create-home", "--shell", "/bin/sh", "yamada"])
        machine.write("/tmp/inside.py", INSIDE)
        yield machine


def gated(pc: Machine) -> subprocess.Popen[str]:
    """Start a gate inside and wait until it refuses."""
    process = pc.spawn(
        [sys.executable, "/tmp/inside.py"],
        env={"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    state = json.loads(process.stdout.readline())
    assert state["list"].startswith("enforce")
    return process


Log = list[tuple[str, bool, str, str]]
"""Target, refused, reason, package."""


def log_of(process: subprocess.Popen[str]) -> Log:
    said, _ = process.communicate("\n", timeout=30)
    return [tuple(json.loads(line)) for line in said.splitlines()]


def test_packaged_programs_scripts_and_users(pc: Machine) -> None:
    process = gated(pc)
    pc.run(["cp", "/usr/bin/true", "/home/yamada/copied"])
    pc.run(["sh", "-c", "printf '#!/bin/sh\\n' > /home/yamada/script; chmod 755 /home/yamada/script"])
    for argv in (["ls", "/"], ["ldd", "/bin/ls"], ["/usr/sbin/adduser", "--help"], ["perl", "-e", "1"]):
        pc.run(argv)
    pc.run(["ls", "/"], user="yamada")
    loader = pc.run(["sh", "-c", "echo /lib64/ld-linux-*.so.*"]).stdout.strip()
    for argv in (["/home/yamada/copied"], ["/home/yamada/script"], [loader, "/home/yamada/copied"]):
        refused = pc.run(argv, user="yamada", check=False)
        assert "not permitted" in refused.stderr, argv
    log = log_of(process)
    denied = {(target.rpartition("/")[2], reason) for target, was, reason, _ in log if was}
    assert {("copied", "no_cover"), ("script", "no_cover")} <= denied
    assert ("/usr/bin/ls", False, "", "coreutils") in log
    assert ("/usr/sbin/adduser", False, "", "adduser") in log
    # an execution is logged once, not once more for its interpreter or loader
    assert sum(target == "/usr/bin/perl" for target, *_ in log) == 1


def test_file_system_in_a_namespace_of_ones_own_is_no_way_around(pc: Machine) -> None:
    process = gated(pc)
    script = "mount -t tmpfs tmpfs /mnt && cp /usr/bin/true /mnt/tool && /mnt/tool"
    done = pc.run(["unshare", "--mount", "sh", "-c", script], check=False)
    assert "not permitted" in done.stderr
    assert any(target == "/mnt/tool" and was for target, was, *_ in log_of(process))


def test_package_is_installed_upgraded_and_removed_under_the_gate(pc: Machine) -> None:
    """dpkg's own scripts run, and so do the programs it has just unpacked."""
    folder = pc.path("/root/parcel")
    for version in ("1", "2"):
        (folder / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (folder / "usr/bin").mkdir(parents=True, exist_ok=True)
        (folder / "DEBIAN/control").write_text(
            f"Package: parcel\nVersion: {version}\nArchitecture: all\nMaintainer: x\nDescription: x\n"
        )
        (folder / "DEBIAN/postinst").write_text("#!/bin/sh\nset -e\nparcel > /root/said\n")
        (folder / "DEBIAN/prerm").write_text("#!/bin/sh\ntrue\n")
        tool = folder / "usr/bin/parcel"
        tool.write_text(f"#!/bin/sh\necho version {version}\n")
        for path in (tool, folder / "DEBIAN/postinst", folder / "DEBIAN/prerm"):
            path.chmod(0o755)
        pc.run(["sh", "-c", "cd /root/parcel && md5sum usr/bin/parcel > DEBIAN/md5sums"])
        pc.run(["dpkg-deb", "--build", "--root-owner-group", "/root/parcel", f"/root/{version}.deb"])
    process = gated(pc)
    for version in ("1", "2"):
        pc.run(["dpkg", "-i", f"/root/{version}.deb"])
        assert pc.path("/root/said").read_text() == f"version {version}\n"
    pc.run(["dpkg", "--purge", "parcel"])
    assert not any(was for _, was, *_ in log_of(process))
