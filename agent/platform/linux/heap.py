"""The C library's heap (mallopt(3), malloc_trim(3)): CPython leaves both to it for objects above 512 bytes."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
_libc = ctypes.CDLL(None)


def one_arena() -> None:
    """Let all threads share one arena: the others cost up to 1 MiB. Before there are threads."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Give free pages back to the system; below a millisecond. Nothing where the C library cannot (musl)."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
