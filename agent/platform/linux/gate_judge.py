"""May this file be executed? Decided from its content and the allow-list; standard library only.

The file is read only through the event's descriptor: nothing can be put in its place between look and decision.
"""

from __future__ import annotations

import os

from agent.platform.linux.gate_content import LARGE, Content, Identity, LargeError, identity_of, read_content
from agent.platform.linux.gate_delta import DpkgDelta
from agent.platform.linux.gate_list import AllowList, allowed_uids, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")

CACHE_SIZE = 4096
"""Contents and verdicts kept; the oldest goes first."""
_PATH_MAX = 4096
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
        except (OSError, ValueError):  # no symlink; or a name no file can have
            done = done + b"/" + part
            continue
        done = root if link.startswith(b"/") else done
        parts += [piece for piece in reversed(link.split(b"/")) if piece not in (b"", b".")]
    return b""


def path_of(fd: int) -> bytes:
    """Path of an open file as this process sees it, ``(deleted)`` behind it when it has no name any more.

    Empty for one too deep to be named (4,096 bytes): it is covered by its content or not at all.
    """
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return b""


class Judge:
    """Verdicts with two caches: content digests by inode and times, verdicts by path and content."""

    def __init__(self, root: str, *, closed: bool, beat: Callable[[], None]) -> None:
        self._root = os.fsencode(root).rstrip(b"/")
        self._closed = closed
        self._beat = beat
        self._list: AllowList | None = None
        self._delta = DpkgDelta(self._root)
        self._contents: dict[Identity, Content] = {}
        self._named: dict[Identity, tuple[bytes, Verdict]] = {}
        self._verdicts: dict[tuple[bytes, Identity], Verdict] = {}

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
        self._named.clear()

    def verdict(self, fd: int) -> tuple[bytes, Verdict]:
        """Judge the file behind ``fd``; returns its path too. Raises LargeError when it must be read elsewhere first.

        The path of an allowed file that has only one name is remembered with its content (a new name changes ctime),
        because asking /proc for it costs as much as all the rest. When a folder above is renamed, the log shows the
        old path until the list is loaded again.
        """
        try:
            found = os.fstat(fd)
            content = identity_of(found)
            named = self._named.get(content)
            return named if named is not None else self._look(fd, found, content)
        except LargeError:
            raise
        except Exception:  # noqa: BLE001 - a hostile file must not end the handler: in fail mode open it would then run
            return path_of(fd), UNSURE

    def learn(self, identity: Identity, content: Content) -> None:
        """Take what was read of a large file."""
        _keep(self._contents, identity, content)

    def _look(self, fd: int, found: os.stat_result, identity: Identity) -> tuple[bytes, Verdict]:
        path = path_of(fd)
        known = self._verdicts.get((path, identity))
        if known is not None and (not known.reason or not self._delta.changed()):
            return path, known
        content = self._contents.get(identity)
        if content is None:
            if found.st_size > LARGE:
                raise LargeError(identity)
            content = read_content(fd, identity, self._beat)
            _keep(self._contents, identity, content)
        trusted_folder = found.st_uid == 0 and not found.st_mode & _OTHERS_MAY_WRITE
        verdict = self._judge(path, content, trusted_folder=trusted_folder)
        _keep(self._verdicts, (path, identity), verdict)
        if not verdict.reason and found.st_nlink == 1:
            _keep(self._named, identity, (path, verdict))
        return path, verdict

    def maintainer_script(self, path: bytes, uid: int, caller: bytes) -> bytes:
        """Return the package whose script dpkg itself runs here as root, or empty: without it no update installs."""
        inner = path.removeprefix(self._root)
        if uid != 0 or caller != self._root + _DPKG or not inner.startswith(_DPKG_SCRIPTS):
            return b""
        name = inner.rpartition(b"/")[2].rpartition(b".")[0].partition(b":")[0]
        return name or b"dpkg"

    def _judge(self, path: bytes, content: Content, *, trusted_folder: bool) -> Verdict:
        md5_digest, digest, interpreter = content
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


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= CACHE_SIZE:
        del cache[next(iter(cache))]
    cache[key] = value
