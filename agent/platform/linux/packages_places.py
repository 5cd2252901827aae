"""Software outside the package databases: pip and npm packages, and programs in places users can write."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from agent.platform.ports import Package

USER_PLACES = ("home/*", "root", "tmp", "var/tmp", "dev/shm", "usr/local", "opt")
"""Below the root, as globs: where programs appear without a package."""
PIP_ROOTS = (
    "usr/lib/python3*/*-packages",
    "usr/lib/python3/dist-packages",
    "usr/local/lib/python3*/*-packages",
    "opt/*/lib/python3*/site-packages",
    "home/*/.local/lib/python3*/site-packages",
    "root/.local/lib/python3*/site-packages",
)
NPM_ROOTS = (
    "usr/lib/node_modules",
    "usr/local/lib/node_modules",
    "home/*/.npm-global/lib/node_modules",
    "home/*/node_modules",
)
MAX_WATCHES = 4096
"""Folders watched (about 1 KiB of kernel memory and 0.25 KiB in the agent each); the rest waits for the next walk."""
MAX_FOLDERS = 20_000
"""Folders looked at in one walk of the user places; more is reported by ``bounded``."""
MAX_DEPTH = 24
MAX_HASHED = 1 << 29
_METADATA_LIMIT = 256 * 1024
_CHUNK = 64 * 1024
"""Small: CPython's own SHA-256 keeps the interpreter to itself for one chunk (0.2 ms)."""
_SKIPPED = frozenset({"__pycache__", ".git"})
MAX_DIGESTS = 50_000


def globbed(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Folders below ``root`` that match, sorted; symlinks are not followed."""
    found = {path for pattern in patterns for path in root.glob(pattern)}
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def pip_packages(folder: Path, owner: str) -> Iterator[tuple[Path, Package]]:
    """(metadata path, package) of what pip or setup.py installed into a site-packages folder."""
    for path in sorted(folder.glob("*.dist-info")) + sorted(folder.glob("*.egg-info")):
        metadata = (
            path / ("METADATA" if path.suffix == ".dist-info" else "PKG-INFO") if path.is_dir() else path
        )
        try:
            with metadata.open(encoding="utf-8", errors="replace") as file:
                name, version = parse_metadata(file.read(_METADATA_LIMIT))
        except OSError:
            continue  # removed meanwhile, or half written: its next change is seen
        if name:
            yield path, Package("pip", name[:256], version[:256], owner=owner)


def parse_metadata(text: str) -> tuple[str, str]:
    """Name and version out of a METADATA or PKG-INFO file (Python core metadata); empty where they lack."""
    headers = {"name": "", "version": ""}
    for line in text.splitlines():
        if not line.strip():
            break
        key, mark, value = line.partition(":")
        if mark and not headers.get(key.lower(), "-"):
            headers[key.lower()] = value.strip()
    return headers["name"], headers["version"]


def npm_packages(folder: Path, owner: str) -> Iterator[tuple[Path, Package]]:
    """(package.json, package) of a node_modules folder, with scoped ones (@scope/name)."""
    for path in sorted(folder.glob("*/package.json")) + sorted(folder.glob("@*/*/package.json")):
        try:
            with path.open("rb") as file:
                read = json.loads(file.read(_METADATA_LIMIT))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(read, dict) and isinstance(read.get("name"), str):
            yield path, Package("npm", read["name"][:256], str(read.get("version", ""))[:256], owner=owner)


class Programs:
    """Executable ELF and ``#!`` files, with their SHA-256; content read before is not read again."""

    def __init__(self, known: dict[tuple[int, ...], str] | None = None) -> None:
        self._known = known or {}
        self.used: dict[tuple[int, ...], str] = {}
        """The digests given out, by numbers of the stat; at most :data:`MAX_DIGESTS`."""
        self.bounded = False
        """The last walk stopped at :data:`MAX_FOLDERS` or :data:`MAX_DEPTH`."""

    def walk(self, places: list[Path]) -> Iterator[tuple[str, os.stat_result]]:
        """(path, stat) of the programs below folders, without following symlinks or leaving the file system."""
        self.bounded = False
        folders = 0
        for place in places:
            for folder, files in self.folders(place):
                folders += 1
                if folders > MAX_FOLDERS:
                    self.bounded = True
                    return
                for name in files:
                    path = f"{folder}/{name}"
                    if found := program_stat(path):
                        yield path, found

    def folders(self, place: Path) -> Iterator[tuple[str, list[str]]]:
        """(folder, names of its files), top down, on one file system."""
        try:
            device = place.stat().st_dev
        except OSError:
            return
        waiting = [(str(place), 0)]
        while waiting:
            folder, depth = waiting.pop()
            files = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if (
                                entry.name not in _SKIPPED
                                and entry.stat(follow_symlinks=False).st_dev == device
                            ):
                                waiting.append((entry.path, depth + 1))
                        elif entry.is_file(follow_symlinks=False):
                            files.append(entry.name)
            except OSError:  # gone meanwhile
                continue
            if depth > MAX_DEPTH:
                self.bounded = True
                continue
            yield folder, files

    def digest(self, path: str, found: os.stat_result) -> str:
        """SHA-256 in hex, empty for files above :data:`MAX_HASHED` bytes. Raises OSError."""
        if found.st_size > MAX_HASHED:
            return ""
        key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        known = self.used.get(key) or self._known.get(key)
        if known is None:
            hasher = sha256()
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                while chunk := os.read(fd, _CHUNK):
                    hasher.update(chunk)
            finally:
                os.close(fd)
            known = hasher.hexdigest()
        if key not in self.used and len(self.used) >= MAX_DIGESTS:
            del self.used[next(iter(self.used))]
        self.used[key] = known
        return known


def program_stat(path: str) -> os.stat_result | None:
    """Return the stat of a regular file that is executable and begins like a program, else None."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111 or found.st_size < 4:
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            start = os.read(fd, 4)
        finally:
            os.close(fd)
    except OSError:
        return None
    return found if start == b"\x7fELF" or start.startswith(b"#!") else None
