"""Checks of the machine: permissions, ports, space, time."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import socket
import stat

from collector.checks.answer import Answer, ok, reading, root_of
from collector.config import Layout, read_config
from collector.gateway import records
from collector.gateway.clock import Clock
from collector.gateway.service import ports_of
from protocol.text import Text

ROOMY_BYTES = 5 << 30
SOCKETS_PER_PC, PCS = 3, 3000


def data_dir(layout: Layout) -> Answer:
    """Only the service's account may enter it."""
    info = layout.data.stat()
    if not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o077:
        fix = Text(f"chmod 700 {layout.data}", f"chmod 700 {layout.data}")
        return "fail", f"{layout.data}: {stat.filemode(info.st_mode)}", fix
    if info.st_uid != os.geteuid():
        who = Text("サービスのアカウントで実行する", "run this as the service's account")
        return "warn", f"owner {info.st_uid}, this is {os.geteuid()}", who
    return ok(str(layout.data))


def stray_keys(layout: Layout) -> Answer:
    """No private signing key lies below the data directory."""
    found = [str(path) for path in layout.data.rglob("*.key")]
    if found:
        return (
            "fail",
            ", ".join(found),
            Text("持ち主の側へ移し、ここから消す", "move them to their holders and remove them here"),
        )
    return ok()


def config(layout: Layout) -> Answer:
    """The settings file can be read, and the API is not open to the network."""
    config = read_config(layout)
    if config.api_bind not in ("127.0.0.1", "::1"):
        hint = Text(
            "API は暗号化されていません。SSH で中継する", "the API is not encrypted; tunnel it through SSH"
        )
        return "warn", f"api_bind = {config.api_bind}", hint
    return ok(str(layout.config))


def ports(layout: Layout) -> Answer:
    """They are free, or the running collector's own."""
    if _running(layout):
        return ok("in use by the running collector")
    config = read_config(layout)
    wanted = [(bind, port) for bind in config.bind for port in ports_of(root_of(layout)).values()]
    wanted.append((config.api_bind, config.api_port))
    taken = [f"{bind}:{port}" for bind, port in wanted if not _free(bind, port)]
    if taken:
        return (
            "fail",
            ", ".join(taken),
            Text(
                "そのプログラムを止めるか、collector.toml を直す",
                "stop that program, or change collector.toml",
            ),
        )
    return ok(", ".join(str(port) for _, port in wanted))


def _running(layout: Layout) -> bool:
    """Whether a supervisor or gateway holds its lock."""
    for name in ("supervisor", "gateway"):
        try:
            descriptor = os.open(layout.run / f"{name}.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _free(bind: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if bind == "*" else bind, port))
        except OSError:
            return False
    return True


def disk(layout: Layout) -> Answer:
    """There is room for evidence."""
    free = shutil.disk_usage(layout.data).free
    detail = f"{free >> 20} MiB"
    if free < read_config(layout).min_free_mib << 20:
        return (
            "fail",
            detail,
            Text("空きを作る。証跡の受け入れは止まっています", "free some: no evidence is taken"),
        )
    if free < ROOMY_BYTES:
        return (
            "warn",
            detail,
            Text("空きを増やす（3,000台で1日およそ1 GiB）", "add some (3,000 PCs need about 1 GiB a day)"),
        )
    return ok(detail)


def clock(layout: Layout) -> Answer:
    """It was not set back."""
    with reading(layout) as session:
        behind = Clock(records.clock_high(session)).behind_us()
    if behind:
        hint = Text(
            "時刻を合わせる。今が正しければ sekisho-collector clock --accept",
            "set the clock; if it is right now: sekisho-collector clock --accept",
        )
        return "fail", f"{behind // 1_000_000} s behind what it showed before", hint
    return ok()


def file_limit(_layout: Layout) -> Answer:
    """Enough sockets for the design point of one city."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = SOCKETS_PER_PC * PCS + 256
    if hard != resource.RLIM_INFINITY and hard < needed:
        return "warn", f"{hard}", Text(f"LimitNOFILE={needed} 以上に", f"LimitNOFILE={needed} or more")
    return ok(str(hard))
