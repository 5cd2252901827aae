"""What a short-lived child gives up before it reads what strangers made. Every function raises OSError when it cannot."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

NOBODY = 65534
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWNET = 0x40000000


def limit(what: int, most: int) -> None:
    """Set a limit of ``resource`` that cannot be raised again."""
    resource.setrlimit(what, (most, most))


def limit_all(*, memory: int, cpu_s: int, files: int) -> None:
    """Bytes of address space, seconds of CPU, open descriptors; it writes no file and leaves no core."""
    limit(resource.RLIMIT_AS, memory)
    limit(resource.RLIMIT_CPU, cpu_s)
    limit(resource.RLIMIT_NOFILE, files)
    write_nothing()


def write_nothing() -> None:
    """No file gets a byte longer, and there is no core (setrlimit(2))."""
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_CORE, 0)


def end_with_parent() -> None:
    """Die with the process that started this one (prctl(2)). Becoming another user takes it away again."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def without_network() -> None:
    """Leave every network; needs root."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")


def become(uid: int, gid: int) -> None:
    """Take the rights of a user for good, without further groups; a process without root must be that user already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid):
        raise PermissionError(f"still {os.getresuid()}, not {uid}")


def become_nobody() -> None:
    """Give up root; nothing to do without it."""
    if os.geteuid() == 0:
        become(NOBODY, NOBODY)


def no_new_rights() -> None:
    """No program run from here gets more rights."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def untraceable() -> None:
    """No process of the same user may look into this one."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(what: int, value: int) -> None:
    _check(_libc.prctl(what, value, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


_libc = ctypes.CDLL(None, use_errno=True)
