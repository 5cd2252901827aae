"""The dpkg database, read as files (dpkg(1), deb-conffiles(5)): 30 times cheaper than asking dpkg-query.

Everything streams: a PC has 130,000 packaged paths, and the resident agent must not hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

ADMIN = "var/lib/dpkg"
_NOT_INSTALLED = frozenset({"not-installed", "config-files"})
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MD5_HEX = 32
_DIVERSION_LINES = 3


class Entry(Struct, frozen=True):
    """One installed package; ``conffiles`` path → MD5 in hex as the package shipped it."""

    name: str
    architecture: str
    version: str
    conffiles: dict[str, str] = {}


def parse_status(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Read installed packages out of the status file. Paragraphs that make no sense are passed over."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line.strip():
            if entry := _entry(fields):
                yield entry
            fields, current = {}, None
        elif line[0] in " \t":
            if current is not None:
                current.append(line.strip())
        else:
            name, mark, value = line.partition(":")
            current = fields.setdefault(name.lower(), []) if mark and name.lower() in _WANTED else None
            if current is not None:
                current.append(value.strip())
    if entry := _entry(fields):
        yield entry


_WANTED = frozenset({"package", "status", "architecture", "version", "conffiles"})


def _entry(fields: dict[str, list[str]]) -> Entry | None:
    name, status, version = (fields.get(key, [""])[0] for key in ("package", "status", "version"))
    words = status.split()
    if not name or not version or len(words) != 3 or words[2] in _NOT_INSTALLED:
        return None
    conffiles = {}
    for line in fields.get("conffiles", []):
        words = line.split()
        if len(words) >= 2 and len(words[1]) == _MD5_HEX and "obsolete" not in words[2:]:
            conffiles[words[0]] = words[1]
    return Entry(name, fields.get("architecture", [""])[0], version, conffiles)


def parse_diversions(text: str) -> dict[str, tuple[str, str]]:
    """Read path → (where other packages' file went, the package that keeps the path)."""
    lines = text.splitlines()
    whole = len(lines) - len(lines) % _DIVERSION_LINES
    return {lines[i]: (lines[i + 1], lines[i + 2]) for i in range(0, whole, _DIVERSION_LINES)}


class Dpkg:
    """The database below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.status = root / ADMIN / "status"
        self.info = root / ADMIN / "info"

    def stamp(self) -> tuple[int, int]:
        """Changes whenever dpkg changed anything; (0, 0) without a database."""
        try:
            found = self.status.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def entries(self) -> Iterator[Entry]:
        """Installed packages; none without a database."""
        try:
            with self.status.open("rb") as lines:
                yield from parse_status(lines)
        except FileNotFoundError:
            return

    def paths(self) -> Iterator[tuple[str, str]]:
        """(package, path where the file really lies) of everything packages own, folders included."""
        merged, diversions = self.merged(), self.diversions()
        for file in self._files("*.list"):
            package = _package_of(file)
            for path in _lines(file):
                yield package, real_path(path, package, merged, diversions)

    def checksums(self) -> Iterator[tuple[str, str, str]]:
        """(package, real path, MD5 in hex) of the files that packages ship checksums for; conffiles not among them."""
        merged, diversions = self.merged(), self.diversions()
        for file in self._files("*.md5sums"):
            package = _package_of(file)
            for line in _lines(file):
                digest, mark, path = line.partition("  ")
                if mark and len(digest) == _MD5_HEX:
                    yield package, real_path("/" + path, package, merged, diversions), digest

    def merged(self) -> tuple[str, ...]:
        """Top folders that are symlinks into /usr here: packages still name files by the old place."""
        links = (self._root / name for name in _MERGED)
        return tuple(f"/{link.name}/" for link in links if link.is_symlink())

    def diversions(self) -> dict[str, tuple[str, str]]:
        """Read the diversions; none when there is no such file."""
        try:
            text = (self._root / ADMIN / "diversions").read_text("utf-8", "surrogateescape")
        except OSError:
            return {}
        return parse_diversions(text)

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.info.glob(pattern))


def real_path(
    path: str, package: str, merged: tuple[str, ...], diversions: dict[str, tuple[str, str]]
) -> str:
    """Where a packaged path really lies: diverted by another package, below /usr where the folders are merged."""
    diverted = diversions.get(path)
    if diverted and diverted[1] != package:
        path = diverted[0]
    return "/usr" + path if merged and path.startswith(merged) else path


def _package_of(file: Path) -> str:
    return file.stem.partition(":")[0]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            yield line.rstrip("\n")
