"""Packages newer than the allow-list, read from dpkg's own checksums. Standard library only."""

from __future__ import annotations

import os

from agent.platform.linux.gate_list import AllowList


class DpkgDelta:
    """Checksums of packages that dpkg unpacked after the list was built, so that their own scripts can call them."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._info = root + b"/var/lib/dpkg/info"
        self._stamp = 0
        self._rows: dict[bytes, tuple[bytes, bytes]] = {}

    def changed(self) -> bool:
        """Was anything unpacked or removed since the last :meth:`find`?"""
        try:
            return os.stat(self._info).st_mtime_ns != self._stamp
        except OSError:
            return False

    def find(self, path: bytes, allowed: AllowList) -> tuple[bytes, bytes] | None:
        """Return (MD5, package) of a path of a package newer than the list, or None."""
        try:
            stamp = os.stat(self._info).st_mtime_ns
            if stamp != self._stamp:
                self._read(allowed.built_ns)
                self._stamp = stamp
        except (OSError, ValueError):  # half written: the next change of the folder makes us read again
            return None
        return self._rows.get(path)

    def _read(self, since_ns: int) -> None:
        self._rows = {}
        usr_merged = os.path.islink(self._root + b"/bin")
        with os.scandir(self._info) as entries:
            # ctime: the archive sets mtime, and only root could set the clock back
            sums = [e for e in entries if e.name.endswith(b".md5sums") and e.stat().st_ctime_ns > since_ns]
        for entry in sums:
            package = entry.name.removesuffix(b".md5sums").partition(b":")[0]
            with open(entry.path, "rb") as lines:
                for line in lines:
                    digest, _, name = line.rstrip(b"\n").partition(b"  ")
                    path = b"/" + name
                    if usr_merged and path.startswith(
                        (b"/bin/", b"/sbin/", b"/lib/", b"/lib32/", b"/lib64/")
                    ):
                        path = b"/usr" + path
                    if len(digest) == 32:
                        self._rows[path] = (bytes.fromhex(digest.decode("ascii", "replace")), package)
