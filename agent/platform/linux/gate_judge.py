"""May this file be executed? Decided from its content and the allow-list; standard library only.

The file is read only through the event's descriptor: nothing can be put in its place between look and decision.
"""

from __future__ import annotations

import os
import time
from hashlib import md5, sha256

from agent.platform.linux.gate_list import AllowList, allowed_uids, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")

CACHE_SIZE = 4096
"""Contents and verdicts kept; the oldest goes first."""
HASH_SECONDS = 20.0
"""Reading a file that takes longer ends in ``gate_unsure``."""
_CHUNK = 1 << 20
_HEADER_BYTES = 4096
_PATH_MAX = 4096
_PT_INTERP = 3
_LOADER_NAMES = (b"ld-linux", b"ld-musl", b"ld64.so", b"ld.so", b"ld-2.")
OWN_PACKAGE = b"sekisho-agent"
"""What covers the agent's own environment; equals policies.model.AGENT_PACKAGE, which the gate does not import."""
_DPKG_SCRIPTS = (b"/var/lib/dpkg/info/", b"/var/lib/dpkg/tmp.ci/")
_DPKG = b"/usr/bin/dpkg"
_OTHERS_MAY_WRITE = 0o022


class Verdict:
    """The answer for one file.

    ``uids``: whom it is allowed for (None = everybody). ``interpreter``: what the kernel opens next for the same
    execution, or empty.
    """

    __slots__ = ("digest", "interpreter", "package", "reason", "uids")

    def __init__(
        self,
        reason: str,
        digest: bytes = b"",
        package: bytes = b"",
        uids: frozenset[int] | None = None,
        interpreter: bytes = b"",
    ) -> None:
        self.reason = reason
        self.digest = digest
        self.package = package
        self.uids = uids
        self.interpreter = interpreter

    def reason_for(self, uid: int) -> str:
        """Why this user may not execute it; empty = may."""
        return self.reason or ("" if self.uids is None or uid in self.uids else "no_cover")


UNSURE = Verdict("gate_unsure")
ON_MEDIA = Verdict("on_media")


class UnsureError(Exception):
    """The file could not be read whole, in time, or changed meanwhile."""


def interpreter_of(header: bytes, read: Callable[[int, int], bytes]) -> bytes:
    """Return the path in ``#!`` (execve(2)) or PT_INTERP (elf(5)) of a file that begins with ``header``.

    ``read(length, offset)`` reads the file. Empty when there is none or the header makes no sense.
    """
    if header.startswith(b"#!"):
        words = header[2:256].split(b"\n", 1)[0].split()
        return words[0] if words else b""
    if header[:4] != b"\x7fELF" or len(header) < 64 or header[4] not in (1, 2) or header[5] not in (1, 2):
        return b""
    wide, order = header[4] == 2, "little" if header[5] == 1 else "big"

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], order)  # type: ignore[arg-type]

    word = 8 if wide else 4
    table = number(header, 32 if wide else 28, word)
    entry, count = (number(header, at, 2) for at in ((54, 56) if wide else (42, 44)))
    for index in range(min(count, 64)):
        program = read(entry, table + index * entry) if entry else b""
        if number(program, 0, 4) == _PT_INTERP and len(program) >= 32:
            offset, size = number(program, 8 if wide else 4, word), number(program, 32 if wide else 16, word)
            return read(min(size, _PATH_MAX), offset).rstrip(b"\0")
    return b""


def is_loader(path: bytes) -> bool:
    """Is this the dynamic loader, which runs any program it is given as an argument (ld.so(8))?"""
    return path.rpartition(b"/")[2].startswith(_LOADER_NAMES)


def resolve(root: bytes, path: bytes) -> bytes:
    """Return the real path of ``path`` inside ``root`` (empty = /), without leaving it by absolute symlinks."""
    done, parts = root, [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
    for _ in range(_PATH_MAX):
        if not parts:
            return done
        part = parts.pop()
        if part == b"..":
            done = done.rpartition(b"/")[0] if len(done) > len(root) else done
            continue
        try:
            link = os.readlink(done + b"/" + part)
        except OSError:
            done = done + b"/" + part
            continue
        done = root if link.startswith(b"/") else done
        parts += [piece for piece in reversed(link.split(b"/")) if piece not in (b"", b".")]
    return b""


class Judge:
    """Verdicts with two caches: content digests by inode and times, verdicts by path and content."""

    def __init__(self, root: str, *, closed: bool, beat: Callable[[], None]) -> None:
        self._root = os.fsencode(root).rstrip(b"/")
        self._closed = closed
        self._beat = beat
        self._list: AllowList | None = None
        self._delta = DpkgDelta(self._root)
        self._contents: dict[tuple[int, ...], tuple[bytes, bytes, bytes]] = {}
        self._verdicts: dict[tuple[bytes, tuple[int, ...]], Verdict] = {}

    @property
    def enforcing(self) -> bool:
        """Does the list ask to deny for real? Without a list the fail mode decides."""
        return self._closed if self._list is None else self._list.enforce

    def load(self, path: str) -> None:
        """Take a new list. Raises OSError or ``gate_list.MalformedError``; then the old one stays."""
        fresh = AllowList(path)
        if self._list is not None:
            self._list.close()
        self._list = fresh
        self._delta = DpkgDelta(self._root)
        self._verdicts.clear()

    def verdict(self, fd: int, path: bytes) -> Verdict:
        """Judge the file behind ``fd`` whose absolute path is ``path``."""
        try:
            found = os.fstat(fd)
            content = _identity(found)
            known = self._verdicts.get((path, content))
            if known is not None and (not known.reason or not self._delta.changed()):
                return known
            digests = self._digests(fd, content)
        except (OSError, UnsureError):
            return UNSURE
        trusted_folder = found.st_uid == 0 and not found.st_mode & _OTHERS_MAY_WRITE
        verdict = self._judge(path, digests, trusted_folder=trusted_folder)
        _keep(self._verdicts, (path, content), verdict)
        return verdict

    def maintainer_script(self, path: bytes, uid: int, caller: bytes) -> bytes:
        """Return the package whose script dpkg itself runs here as root, or empty: without it no update installs."""
        inner = path.removeprefix(self._root)
        if uid != 0 or caller != self._root + _DPKG or not inner.startswith(_DPKG_SCRIPTS):
            return b""
        name = inner.rpartition(b"/")[2].rpartition(b".")[0].partition(b":")[0]
        return name or b"dpkg"

    def _judge(self, path: bytes, digests: tuple[bytes, bytes, bytes], *, trusted_folder: bool) -> Verdict:
        md5_digest, digest, interpreter = digests
        allowed = self._list
        if allowed is None:
            return UNSURE
        reason, package, uids = self._cover(allowed, path, md5_digest, digest)
        if reason and trusted_folder and path.startswith(allowed.folders):
            reason, package = "", OWN_PACKAGE
        if reason:
            return Verdict(reason, digest)
        return Verdict("", digest, package, uids, resolve(self._root, interpreter) if interpreter else b"")

    def _cover(
        self, allowed: AllowList, path: bytes, md5_digest: bytes, digest: bytes
    ) -> tuple[str, bytes, frozenset[int] | None]:
        """Why not (empty = covered), the package, and for whom."""
        inner = path.removeprefix(self._root) if path.startswith(self._root + b"/") else b""
        found = allowed.find(inner)
        cover, package, reason = b"-", b"", "no_cover"
        if found and matches(*found, md5_digest, digest):
            cover, package = allowed.package(found[1])
        elif (fresh := self._delta.find(inner, allowed)) and fresh[0] == md5_digest:
            cover, package = allowed.dpkg_cover(fresh[1]), fresh[1]
        elif found or fresh:
            reason = "changed"
        by_package, by_digest = allowed_uids(cover), allowed.digest_uids(digest)
        if by_package is None or by_digest is None:
            return "", package, None
        uids = by_package | by_digest
        return ("", package, uids) if uids else (reason, b"", None)

    def _digests(self, fd: int, content: tuple[int, ...]) -> tuple[bytes, bytes, bytes]:
        known = self._contents.get(content)
        if known is not None:
            return known
        until = time.monotonic() + HASH_SECONDS
        weak, strong, offset = md5(usedforsecurity=False), sha256(), 0
        while chunk := os.pread(fd, _CHUNK, offset):
            weak.update(chunk)
            strong.update(chunk)
            offset += len(chunk)
            self._beat()
            if time.monotonic() > until:
                raise UnsureError
        if _identity(os.fstat(fd)) != content:
            raise UnsureError
        header = os.pread(fd, _HEADER_BYTES, 0)
        fresh = (
            weak.digest(),
            strong.digest(),
            interpreter_of(header, lambda size, at: os.pread(fd, size, at)),
        )
        _keep(self._contents, content, fresh)
        return fresh


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


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= CACHE_SIZE:
        del cache[next(iter(cache))]
    cache[key] = value
