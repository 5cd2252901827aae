"""Network namespaces for tests: hosts on one switch, with Python functions and commands run inside them.

    with lan("pc", "collector", "other") as net:
        net.run("pc", connect, net.ip4("collector"), 7461)

Names are unique per use, everything is removed at the end, and only processes started here are ended.
Addresses: the n-th host has 10.77.0.n and fd77::n (n from 10) on its ``eth0``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import secrets
import select
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
FIRST = 10
CLONE_NEWNET = 0x40000000


class Child:
    """A function running in a namespace, in a process of its own. ``say`` inside, ``hear`` outside."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._ended = False

    def hear(self, timeout: float = 20) -> Any:
        """The next thing the function said, or what it returned. Raises what it raised."""
        ready, _, _ = select.select([self._descriptor], [], [], timeout)
        if not ready:
            raise TimeoutError(f"child {self.pid} said nothing for {timeout} s")
        head = _read(self._descriptor, 8)
        kind, value = pickle.loads(_read(self._descriptor, int.from_bytes(head, "big")))  # noqa: S301 - our own child
        if kind == "raised":
            pytest.fail(f"in child {self.pid}:\n{value}")
        return value

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process and reap it."""
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self.reap()

    def reap(self) -> None:
        """Wait for the end."""
        if not self._ended:
            os.waitpid(self.pid, 0)
            os.close(self._descriptor)
            self._ended = True


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError("the child ended without a word")
        data += part
    return data


class Lan:
    """Hosts on a switch."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.tag = f"sk{secrets.token_hex(3)}"
        self.hosts = hosts
        self.children: list[Child] = []

    def netns(self, host: str) -> str:
        """Name of the host's namespace."""
        return f"{self.tag}-{host}"

    def ip4(self, host: str) -> str:
        """IPv4 address of a host."""
        return f"10.77.0.{FIRST + self.hosts.index(host)}"

    def ip6(self, host: str) -> str:
        """IPv6 address of a host."""
        return f"fd77::{FIRST + self.hosts.index(host)}"

    def command(self, host: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the host's namespace."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.netns(host)}", *argv],
            capture_output=True,
            text=True,
            check=check,
            timeout=30,
        )

    def start(self, host: str, function: Callable[..., Any], *args: Any) -> Child:
        """Run a function in the host's namespace; it may ``yield`` values, which ``hear`` returns one by one."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(f"/run/netns/{self.netns(host)}", writer, function, args)
        os.close(writer)
        child = Child(pid, reader)
        self.children.append(child)
        return child

    def run(self, host: str, function: Callable[..., T], *args: Any, timeout: float = 60) -> T:
        """Run a function in the host's namespace and return what it returns."""
        child = self.start(host, function, *args)
        try:
            result: T = child.hear(timeout)
            return result
        finally:
            child.kill()

    def make(self) -> None:
        """Create namespaces, a bridge and the links."""
        _ip("netns", "add", self.netns("switch"))
        _ip("-n", self.netns("switch"), "link", "add", "br0", "type", "bridge")
        _ip("-n", self.netns("switch"), "link", "set", "br0", "up")
        for host in self.hosts:
            space = self.netns(host)
            _ip("netns", "add", space)
            peer = ["peer", "name", f"p-{host}"[:15], "netns", self.netns("switch")]
            _ip("-n", space, "link", "add", "eth0", "type", "veth", *peer)
            _ip("-n", self.netns("switch"), "link", "set", f"p-{host}"[:15], "master", "br0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "address", "add", f"{self.ip4(host)}/24", "dev", "eth0")
            _ip("-n", space, "address", "add", f"{self.ip6(host)}/64", "dev", "eth0", "nodad")
            _ip("-n", space, "link", "set", "eth0", "up")
        until(self._quiet, "links to come up")

    def _quiet(self) -> bool:
        """Whether all links are up and no address is tentative any more."""
        for host in self.hosts:
            shown = _ip("-n", self.netns(host), "address", "show", "dev", "eth0")
            if "tentative" in shown or "state UP" not in shown:
                return False
        return True

    def remove(self) -> None:
        """End the children and delete the namespaces."""
        for child in self.children:
            child.kill()
        spaces = [self.netns(host) for host in ("switch", *self.hosts)]
        until(lambda: all(_is_gone(space) for space in spaces), f"namespaces {self.tag} to go")


def _is_gone(space: str) -> bool:
    """Delete a namespace; a machine that is just then out of breath is asked again."""
    place = Path(f"/run/netns/{space}")
    if place.exists():
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
    return not place.exists()


def _child(space: str, writer: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    def say(kind: str, value: Any) -> None:
        data = pickle.dumps((kind, value))
        os.write(writer, len(data).to_bytes(8, "big") + data)

    try:
        enter(space)
        result = function(*args)
        if isinstance(result, Iterator):
            for value in result:
                say("value", value)
            result = None
        say("value", result)
    except BaseException:  # noqa: BLE001 - everything is told to the parent
        say("raised", traceback.format_exc())
    os._exit(0)


def enter(space: str) -> None:
    """Move this thread into a network namespace."""
    with Path(space).open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {space}")


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=20).stdout


@contextlib.contextmanager
def lan(*hosts: str) -> Iterator[Lan]:
    """Hosts on one switch, removed at the end whatever happens."""
    net = Lan(hosts)
    try:
        net.make()
        yield net
    finally:
        net.remove()


def until(condition: Callable[[], T], what: str, timeout: float = 10) -> T:
    """Wait for a condition to become true and return its value."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        select.select([], [], [], 0.002)


@contextlib.contextmanager
def own_cgroup() -> Iterator[Path]:
    """A cgroup v2 directory of our own; processes enter by writing ``0`` into its ``cgroup.procs``."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next(Path(words[1]) for words in mounts if words[2] == "cgroup2")
    group = root / f"sekisho-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().split(), "the cgroup to empty")
        group.rmdir()


CLIENT_C = r"""
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* client KIND ADDRESS PORT: one packet or connect, then gone. KIND: tcp udp (sendto) connected icmp */
int main(int c, char **v) {
    struct sockaddr_storage to; memset(&to, 0, sizeof to);
    struct sockaddr_in *a = (void *)&to; struct sockaddr_in6 *b = (void *)&to;
    int six = strchr(v[2], ':') != 0, fd; socklen_t n = six ? sizeof *b : sizeof *a;
    if (six) { b->sin6_family = AF_INET6; inet_pton(AF_INET6, v[2], &b->sin6_addr); b->sin6_port = htons(atoi(v[3])); }
    else { a->sin_family = AF_INET; inet_pton(AF_INET, v[2], &a->sin_addr); a->sin_port = htons(atoi(v[3])); }
    int f = to.ss_family;
    if (!strcmp(v[1], "tcp")) { fd = socket(f, SOCK_STREAM, 0); return connect(fd, (void *)&to, n) ? 1 : 0; }
    if (!strcmp(v[1], "icmp")) {
        unsigned char echo[8] = { six ? 128 : 8, 0, 0, 0, 0, 7, 0, 1 };
        if (!six) { unsigned s = 0; for (int i = 0; i < 8; i += 2) s += echo[i] << 8 | echo[i + 1];
                    s = (s >> 16) + (s & 0xffff); s = ~s; echo[2] = s >> 8; echo[3] = s; b->sin6_port = 0; }
        if (six) b->sin6_port = 0; else a->sin_port = 0;
        fd = socket(f, SOCK_RAW, six ? 58 : 1); return sendto(fd, echo, 8, 0, (void *)&to, n) < 0;
    }
    fd = socket(f, SOCK_DGRAM, 0);
    if (!strcmp(v[1], "connected")) { if (connect(fd, (void *)&to, n)) return 2; return send(fd, "x", 1, 0) < 0; }
    return sendto(fd, "x", 1, 0, (void *)&to, n) < 0;
}
"""
CLIENT_PY = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
six = ":" in host
family = socket.AF_INET6 if six else socket.AF_INET
if kind == "tcp":
    socket.socket(family, socket.SOCK_STREAM).connect((host, port))
elif kind == "icmp":
    echo = b"\\x80\\0\\0\\0\\0\\7\\0\\1" if six else b"\\x08\\0\\xf7\\xf7\\0\\7\\0\\1"
    socket.socket(family, socket.SOCK_RAW, 58 if six else 1).sendto(echo, (host, 0))
elif kind == "connected":
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.connect((host, port))
    one.send(b"x")
else:
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (host, port))
"""


def short_lived_client(folder: Path) -> list[str]:
    """The command of a program that sends one packet and is gone: C where there is a compiler, else Python."""
    if compiler := shutil.which("gcc"):
        source, program = folder / "client.c", folder / "sk-client"
        source.write_text(CLIENT_C)
        subprocess.run([compiler, "-O1", "-o", str(program), str(source)], check=True, timeout=60)
        return [str(program)]
    script = folder / "client.py"
    script.write_text(CLIENT_PY)
    return ["/usr/bin/env", "python3", "-S", str(script)]
