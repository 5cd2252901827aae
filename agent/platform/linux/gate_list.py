"""The allow-list as a file: written by ``gate_build``, mapped read-only by the execution gate.

All packaged paths of a PC (130,000) are 28-byte rows, sorted by a hash of the path and searched in the mapped file, so
the gate holds only the pages it touched. Standard library only.

Layout, little endian: header · rows · SHA-256 digests with the user each is for, sorted · text (packages, then
folders, one a line).
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from hashlib import blake2b
from struct import Struct
from struct import error as struct_error

MAGIC = b"SEKGATE1"
ENFORCE, EVERY_DPKG = 1, 2
"""Header flags: deny for real; every dpkg package is covered, also one installed after this list was built."""

_HEADER = Struct("<8sBIIIIQ")  # magic, flags, rows, digests, packages, bytes of text, ns when building began
_ROW = Struct(
    "<8s16sI"
)  # hash of path, check value, package index (top bit: check is half a SHA-256, else MD5)
_SHA = 0x80000000
_DIGEST = Struct("<32sI")  # SHA-256, uid
EVERYBODY = 0xFFFFFFFF


class MalformedError(ValueError):
    """Not an allow-list, or a damaged one."""


def path_hash(path: bytes) -> bytes:
    """Eight bytes for a path. Only the content check behind it decides; a collision would still have to pass that."""
    return blake2b(path, digest_size=8).digest()


def encode(
    *,
    flags: int,
    built_ns: int,
    rows: list[bytes],
    digests: list[tuple[bytes, int]],
    packages: list[bytes],
    folders: list[bytes],
) -> bytes:
    """Put the parts together. ``rows`` from :func:`row`, ``packages`` from :func:`package_line`.

    ``digests`` are SHA-256 and the uid it is for (or :data:`EVERYBODY`); ``folders`` end with a slash.
    """
    text = b"\n".join([*packages, *folders])
    unique = sorted({_DIGEST.pack(*digest) for digest in digests})
    header = _HEADER.pack(MAGIC, flags, len(rows), len(unique), len(packages), len(text), built_ns)
    return b"".join([header, *sorted(rows), *unique, text])


def row(path: bytes, package: int, *, md5: bytes = b"", sha256: bytes = b"") -> bytes:
    """One row: ``path`` belongs to the package of that index and has this content (16 or 32 raw bytes)."""
    check = md5 or sha256[:16]
    return _ROW.pack(path_hash(path), check, package if md5 else package | _SHA)


def package_line(source: str, name: str, version: str, *, cover: str) -> bytes:
    """One line of the package table. ``cover``: ``+`` for everybody, ``-`` for nobody, else uids with commas."""
    return f"{cover}\t{source}\t{name}\t{version}".encode("utf-8", "replace")


def allowed_uids(cover: bytes) -> frozenset[int] | None:
    """Whom a package's ``cover`` mark names; None = everybody."""
    return None if cover == b"+" else frozenset(int(uid) for uid in cover.split(b",") if uid.isdigit())


class AllowList:
    """A list opened for look-ups."""

    def __init__(self, path: str) -> None:
        """Map a list. Raises OSError or :class:`MalformedError`."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size < _HEADER.size:
                raise MalformedError(f"{size} bytes")
            self._map = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        magic, flags, self._rows, self._digests, packages, text, self.built_ns = _HEADER.unpack_from(
            self._map, 0
        )
        self._digests_at = _HEADER.size + self._rows * _ROW.size
        text_at = self._digests_at + self._digests * _DIGEST.size
        if magic != MAGIC or text_at + text != size:
            raise MalformedError(f"{size} bytes, magic {magic!r}")
        lines = self._map[text_at:].split(b"\n") if text else []
        if len(lines) < packages:
            raise MalformedError(f"{len(lines)} of {packages} packages")
        self.enforce = bool(flags & ENFORCE)
        self.every_dpkg = bool(flags & EVERY_DPKG)
        self.packages = lines[:packages]
        self.folders = tuple(lines[packages:])
        self._covers: dict[bytes, bytes] | None = None

    def find(self, path: bytes) -> tuple[bytes, int] | None:
        """Return the row of a path: (16 bytes to check, package index with the SHA bit), or None."""
        wanted = path_hash(path)
        index = bisect_left(range(self._rows), wanted, key=self._hash_at)
        if index == self._rows or self._hash_at(index) != wanted:
            return None
        _, check, package = _ROW.unpack_from(self._map, _HEADER.size + index * _ROW.size)
        return check, package

    def package(self, index: int) -> tuple[bytes, bytes]:
        """Return the cover mark and the name of the package of a row. Raises :class:`MalformedError`."""
        try:
            cover, _, name, _ = self.packages[index & ~_SHA].split(b"\t")
        except (IndexError, ValueError) as problem:
            raise MalformedError(f"package {index & ~_SHA}") from problem
        return cover, name

    def dpkg_cover(self, name: bytes) -> bytes:
        """Cover mark of a dpkg package, also of one that came after this list was built."""
        if self.every_dpkg:
            return b"+"
        if self._covers is None:
            split = (line.split(b"\t") for line in self.packages)
            self._covers = {parts[2]: parts[0] for parts in split if parts[1] == b"dpkg"}
        return self._covers.get(name, b"-")

    def digest_uids(self, sha256: bytes) -> frozenset[int] | None:
        """Whom this content is allowed for by itself; None = everybody, empty = nobody."""
        index = bisect_left(range(self._digests), sha256, key=lambda at: self._digest_at(at)[0])
        uids = set()
        while index < self._digests:
            digest, uid = self._digest_at(index)
            if digest != sha256:
                break
            if uid == EVERYBODY:
                return None
            uids.add(uid)
            index += 1
        return frozenset(uids)

    def close(self) -> None:
        self._map.close()

    def _hash_at(self, index: int) -> bytes:
        start = _HEADER.size + index * _ROW.size
        return self._map[start : start + 8]

    def _digest_at(self, index: int) -> tuple[bytes, int]:
        digest, uid = _DIGEST.unpack_from(self._map, self._digests_at + index * _DIGEST.size)
        return digest, uid


def matches(check: bytes, package: int, md5: bytes, sha256: bytes) -> bool:
    """Does content with these digests pass the check of a row?"""
    return check == (sha256[:16] if package & _SHA else md5)


def pins(path: str) -> dict[tuple[bytes, bytes], bytes]:
    """Return (hash of path, package line without its cover) → check, of the list built before; empty if there is none.

    A package that ships no checksums is pinned to the content its files had when the list first saw that version.
    """
    try:
        before = AllowList(path)
    except (OSError, ValueError, struct_error):
        return {}
    try:
        known = {}
        for start in range(_HEADER.size, before._digests_at, _ROW.size):  # noqa: SLF001 - the same module
            digest, check, index = _ROW.unpack_from(before._map, start)  # noqa: SLF001
            if index & _SHA and (index & ~_SHA) < len(before.packages):
                known[(digest, before.packages[index & ~_SHA].partition(b"\t")[2])] = check
        return known
    finally:
        before.close()
