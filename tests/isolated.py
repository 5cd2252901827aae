"""Run a test's body in mount and pid namespaces of its own: what it mounts, nobody else sees."""

import ctypes
import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_MS_REC_PRIVATE = (1 << 14) | (1 << 18)


def isolated(body: Callable[[], Any]) -> Any:
    """Run `body` in a child with private mounts and its own /proc; returns what it returned. Fails as it
    failed.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _inside(body, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert data, f"the isolated body ended without a word (status {status})"
    good, result = pickle.loads(data)  # noqa: S301 - from our own child
    assert good, f"in the isolated body:\n{result}"
    return result


def _inside(body: Callable[[], Any], write_end: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _call(libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID), "unshare")
        if (child := os.fork()) != 0:  # the second fork is process 1 of the new pid namespace
            os.waitpid(child, 0)
            os._exit(0)
        _call(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None), "make / private")
        _call(libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None), "mount /proc")
        answer = (True, body())
    except BaseException:  # noqa: BLE001 - all of it is told to the parent
        answer = (False, traceback.format_exc())
    with os.fdopen(write_end, "wb") as pipe:
        pickle.dump(answer, pipe)
    os._exit(0)


def _call(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
