"""One machine of the testbed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
CGROUPS = (
    Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").exists() else Path("/sys/fs/cgroup")
)
PROJECT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


def wait_for(what: str, probe: Callable[[], T | None], *, seconds: float = 20.0) -> T:
    """Return the first true answer of ``probe``; raises TimeoutError that names ``what``."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Failed(AssertionError):
    """A command on a machine ended otherwise than it had to; shows what it said."""


class Machine:
    """A machine with its own network, mounts, processes, host name and root file system.

    It starts empty-handed: only loopback, no services. ``close`` ends everything that runs in it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"sekisho-{name}-"))
        self.cgroup = CGROUPS / self._folder.name
        self.cgroup.mkdir()
        self._init = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child"),
                *(sys.executable, "-S", str(Path(__file__).with_name("init.py"))),
                *(str(self._folder), name, str(self.cgroup)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._init.stdout is not None
        if self._init.stdout.readline() != "ready\n":
            self.close()
            raise Failed(f"{name}: its first process did not start")
        self.pid = int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])
        self.run(["ip", "link", "set", "lo", "up"])
        # Duplicate address detection would hold back every IPv6 address for a second.
        self.run(["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"])

    def _inside(
        self, argv: Sequence[str], user: str | None, env: Mapping[str, str] | None, net: Machine | None = None
    ) -> list[str]:
        # Given inside: a preload library must not reach the tools that enter.
        given = ["env", *(f"{name}={value}" for name, value in (env or {}).items())] if env else []
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        # The control group is joined before entering: what runs here is then found there by name.
        join = ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs")]
        enter = [
            *join,
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            f"--net=/proc/{(net or self).pid}/ns/net",
            "--pid",
            "--uts",
            "--root",
            "--wd=/",
        ]
        return [*enter, *become, *given, *map(str, argv)]

    def _environment(self) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
        path = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = f"/run/cgroup2/{self.cgroup.name}"
        return {**keep, "PATH": path, "HOME": "/root", "SEKISHO_CGROUP": inside}

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        log: Path | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command; its output goes to ``log`` (on this machine) unless ``stdout`` says otherwise."""
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(log.open("a")) if log else (stdout or subprocess.DEVNULL)
            return subprocess.Popen(
                self._inside(argv, user, env),
                env=self._environment(),
                stdin=stdin,
                stdout=out,
                stderr=subprocess.STDOUT if log else None,
                text=True,
            )

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float = 60.0,
        stdin: str | None = None,
        net: Machine | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises Failed with its output when it must succeed and did not.

        ``net``: use the network of another machine (what an SSH tunnel to it gives).
        """
        done = subprocess.run(
            self._inside(argv, user, env, net),
            env=self._environment(),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise Failed(
                f"{self.name}: {' '.join(map(str, argv))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def path(self, path: str | Path) -> Path:
        """A file of the machine as this process can open it."""
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file on the machine."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def agent_pid(self, process: subprocess.Popen[str]) -> int:
        """The process behind an ``nsenter`` (which forks to enter the process namespace), seen from outside."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return wait_for("the command behind nsenter", lambda: int((children.read_text().split() or ["0"])[0]))

    def close(self) -> None:
        """End the machine and everything in it."""
        self._init.kill()
        self._init.wait()
        if self._init.stdout is not None:
            self._init.stdout.close()
        for _ in self._until_empty():
            pass
        shutil.rmtree(self._folder, ignore_errors=True)

    def _until_empty(self) -> Iterator[None]:
        """The kernel lets go of a control group some milliseconds after its last process."""
        deadline = time.monotonic() + 5
        while self.cgroup.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.cgroup.rmdir()
                return
            time.sleep(0.01)
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
