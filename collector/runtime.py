"""The supervisor: gateway, detector and API as child processes, restarted when they die (DESIGN §2).

A child asks the kernel to be ended with its parent (``PR_SET_PDEATHSIG``, prctl(2)), so killing the supervisor leaves no
orphan behind; a lock file per child keeps two of them from one data directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import msgspec

from collector.config import Config, Layout
from protocol.refusal import UNREADABLE, RefusedError

CHILDREN = ("gateway", "detector", "api")
REFUSED_EXIT = 78
"""EX_CONFIG (sysexits.h): the child cannot start as things are, and said why on stderr."""
FIRST_WAIT_S, LONGEST_WAIT_S, STEADY_S = 0.2, 30.0, 60.0
STOP_S = 10.0
READY_POLL_S = 0.1
WATCH_S = 5.0
PR_SET_PDEATHSIG = 1


def say(text: str) -> None:
    """One line for the service's log."""
    sys.stderr.write(f"sekisho-collector: {text}\n")
    sys.stderr.flush()


# -- the child's side ------------------------------------------------------------------------------------------------


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent ends; end at once if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit(0)


@contextlib.contextmanager
def only_one(layout: Layout, name: str) -> Iterator[None]:
    """Hold ``run/NAME.lock`` (flock). Raises RefusedError ``already_there``."""
    layout.run.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(layout.run / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError(
                "already_there",
                f"{name} already runs on {layout.data}",
                "stop it first: systemctl stop sekisho-collector",
            ) from error
        yield
    finally:
        os.close(descriptor)


def raise_file_limit() -> None:
    """Three connections per PC: as many open files as the hard limit gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# -- the supervisor's side -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Child:
    """One supervised process. Times are monotonic seconds."""

    name: str
    argv: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    wait_s: float = FIRST_WAIT_S
    restarts: int = 0
    last_exit: int | None = None
    fd: int = field(default=-1)
    """pidfd of the process."""


class Supervisor:
    """Runs the children until SIGTERM or SIGINT."""

    def __init__(self, layout: Layout, config: Config) -> None:
        self._layout, self._config = layout, config
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._ready = False
        self.exit_code = 0
        module = [sys.executable, "-m", "collector.child"]
        common = ["--data", str(layout.data), "--parent", str(os.getpid())]
        api = ["--api-bind", config.api_bind, "--api-port", str(config.api_port)]
        lanes = [part for address in config.bind for part in ("--bind", address)]
        extra = {"gateway": lanes, "api": api}
        self.children = [Child(name, [*module, name, *common, *extra.get(name, [])]) for name in CHILDREN]

    def run(self) -> int:
        """Supervise; returns the exit code. Raises RefusedError ``already_there``."""
        with only_one(self._layout, "supervisor"), self._signals():
            try:
                while not self._stopping:
                    self._start_due()
                    self._wait()
                    self._look_ready()
            finally:
                self._stop_all()
        return self.exit_code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the loop, whatever it waits for."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        reader.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, None)

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        wakeup = signal.set_wakeup_fd(writer.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            reader.close()
            writer.close()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is None and now >= child.start_at:
                child.process = subprocess.Popen(child.argv, stdin=subprocess.DEVNULL)
                child.started = now
                child.fd = os.pidfd_open(child.process.pid)
                self._selector.register(child.fd, selectors.EVENT_READ, child)
                self._write_state()

    def _wait(self) -> None:
        now = time.monotonic()
        due = [child.start_at for child in self.children if child.process is None]
        wait_s = min([WATCH_S if self._ready else READY_POLL_S, *(max(0.0, at - now) for at in due)])
        for key, _ in self._selector.select(wait_s):
            if isinstance(key.data, Child):
                self._ended(key.data)
        notify("WATCHDOG=1")

    def _ended(self, child: Child) -> None:
        code = self._reap(child)
        now = time.monotonic()
        if code == REFUSED_EXIT and not self._ready:
            say(f"{child.name} cannot start; see above")
            self.exit_code, self._stopping = code, True
            return
        if self._stopping:
            return
        child.wait_s = (
            FIRST_WAIT_S if now - child.started > STEADY_S else min(child.wait_s * 2, LONGEST_WAIT_S)
        )
        child.restarts += 1
        child.start_at = now + child.wait_s
        say(f"{child.name} ended ({_how(code)}); starting it again in {child.wait_s:.1f} s")
        self._write_state()
        self._report(child, code)

    def _reap(self, child: Child) -> int:
        assert child.process is not None  # noqa: S101 - it was registered with its pidfd
        code = child.process.wait()
        self._selector.unregister(child.fd)
        os.close(child.fd)
        child.process, child.last_exit = None, code
        return code

    def _report(self, child: Child, code: int) -> None:
        """A finding for the alert list; the log line above stands even if the database does not."""
        from sqlalchemy.exc import SQLAlchemyError

        from collector.registers.models import Finding
        from collector.registers.store import now_us, open_store

        detail = {"process": child.name, "how": _how(code), "restarts": child.restarts}
        try:
            store = open_store(self._layout.control)
            with store.write() as session:
                session.add(Finding(agent_id="", name="child_restarted", detail=detail, time_us=now_us()))
            store.close()
        except (SQLAlchemyError, RefusedError, OSError) as error:
            say(f"the restart could not be recorded: {error}")

    def _look_ready(self) -> None:
        if self._ready or self._stopping or any(child.process is None for child in self.children):
            return
        (gateway,) = [child for child in self.children if child.name == "gateway"]
        pid = gateway.process.pid if gateway.process else 0
        self._ready = _stats_pid(self._layout.stats) == pid and _answers(self._config)
        if self._ready:
            say(f"ready; API on {self._config.api_bind}:{self._config.api_port}")
            notify("READY=1")

    def _write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "children": {
                child.name: {
                    "pid": child.process.pid if child.process else 0,
                    "restarts": child.restarts,
                    "last_exit": child.last_exit,
                }
                for child in self.children
            },
        }
        path = self._layout.run / "supervisor.json"
        with contextlib.suppress(OSError):
            path.with_suffix(".tmp").write_bytes(msgspec.json.encode(state))
            path.with_suffix(".tmp").replace(path)

    def _stop_all(self) -> None:
        notify("STOPPING=1")
        for child in self.children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + STOP_S
        for child in self.children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{child.name} does not end; killing it")
                child.process.kill()
            self._reap(child)
        self._write_state()


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing without ``NOTIFY_SOCKET``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.send(state.encode())


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _stats_pid(path: Path) -> int:
    try:
        return int(msgspec.json.decode(path.read_bytes(), type=dict[str, object]).get("pid", 0))  # type: ignore[call-overload, no-any-return]
    except (OSError, *UNREADABLE):
        return 0


def _answers(config: Config) -> bool:
    try:
        with socket.create_connection((config.api_bind, config.api_port), timeout=1):
            return True
    except OSError:
        return False
