"""Keeps large modules out of the resident process. To be imported before msgspec."""

from __future__ import annotations

import sys


def _without_typing_extensions() -> None:
    """Import msgspec without ``typing_extensions``, which it takes where there is one: 1 MiB with ``inspect`` and ``ast``."""
    name = "typing_extensions"
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]
        import msgspec  # noqa: F401

        del sys.modules[name]


def stay_small() -> None:
    """Keep OpenSSL out of the resident process: 3.4 MiB of libcrypto for a SHA-256 that CPython has itself.

    Only before anything imported hashlib. Large files are hashed by the execution gate, a process of its own.
    """
    if "hashlib" not in sys.modules:
        sys.modules["_hashlib"] = None  # type: ignore[assignment]


_without_typing_extensions()
