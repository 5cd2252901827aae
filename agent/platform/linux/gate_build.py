"""Builds the gate's allow-list from the package databases and a plan. A process of its own: it needs 60 MiB for a second.

``python -m agent.platform.linux.gate_build PLAN LIST`` writes LIST and prints what came out as JSON (:class:`Built`).
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Literal

import msgspec
from msgspec import Struct

from agent.platform.linux import gate_list
from agent.platform.linux.gate_judge import resolve
from agent.platform.linux.packages import RPM_FOLDERS
from agent.platform.linux.packages_dpkg import Dpkg
from agent.platform.linux.packages_places import (
    NPM_ROOTS,
    PIP_ROOTS,
    Programs,
    globbed,
    npm_packages,
    pip_packages,
    program_stat,
)

ESSENTIAL = (
    "/bin/sh",
    "/bin/bash",
    "/bin/login",
    "/bin/su",
    "/usr/bin/sudo",
    "/sbin/agetty",
    "/sbin/init",
    "/usr/sbin/sshd",
    "/usr/bin/dpkg",
)
"""Without these nobody could repair a PC: a list that does not cover those that exist is never enforced."""
_RPM_QUERY = "[%{=NAME}\\t%{=VERSION}-%{=RELEASE}\\t%{FILEDIGESTS}\\t%{FILENAMES}\\n]"
_SHA256_HEX = 64


class Plan(Struct, frozen=True, kw_only=True):
    """What the policy covers. ``cover``: source → package (``*`` = every other) → ``+`` or uids with commas."""

    root: str
    enforce: bool
    cover: dict[str, dict[str, str]] = {}
    digests: tuple[tuple[str, int], ...] = ()
    """SHA-256 in hex, and the uid it is for (``gate_list.EVERYBODY`` = all)."""
    folders: tuple[str, ...] = ()
    """Folders whose root-owned programs always run: the agent's own."""


class Built(Struct, frozen=True, kw_only=True):
    """What building came to. ``uncovered``: essential programs the list would refuse (then it only observes)."""

    result: Literal["enforce", "observe", "unsafe"]
    paths: int
    packages: int
    digests: int
    uncovered: tuple[str, ...] = ()


class Builder:
    """Collects rows and the package table."""

    def __init__(self, plan: Plan, known: dict[tuple[bytes, bytes], bytes]) -> None:
        self._plan = plan
        self._root = Path(plan.root)
        self._known = known
        self._index: dict[tuple[str, str], int] = {}
        self._covered: list[bool] = []
        self.rows: list[bytes] = []
        self.packages: list[bytes] = []
        self.digests = [(bytes.fromhex(digest), uid) for digest, uid in plan.digests]

    def add_dpkg(self) -> None:
        """Every file packages own: with the checksum shipped, that of the conffile, or the one pinned here."""
        dpkg = Dpkg(self._root)
        entries = list(dpkg.entries())
        sums: dict[str, tuple[str, str]] = {path: (name, digest) for name, path, digest in dpkg.checksums()}
        merged, diversions = dpkg.merged(), dpkg.diversions()
        for entry in entries:
            self._package("dpkg", entry.name, entry.version)
            for path, digest in entry.conffiles.items():
                self._add(path if not path.startswith(merged) else "/usr" + path, "dpkg", entry.name, digest)
        del entries, diversions
        for name, path in dpkg.paths():
            found = sums.get(path)
            if found and found[0] == name:
                self._add(path, "dpkg", name, found[1])
            elif ("dpkg", name) in self._index:
                self._pin(path, "dpkg", name)

    def add_rpm(self) -> None:
        """Every file of rpm packages with its SHA-256, where rpm keeps that kind of digest."""
        tool = which("rpm")
        if tool is None or not any((self._root / folder).is_dir() for folder in RPM_FOLDERS):
            return
        command = [tool, "--root", self._plan.root, "-qa", "--qf", _RPM_QUERY]
        done = run(command, capture_output=True, check=True, timeout=300)
        for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
            name, version, digest, path = line.split("\t", 3)
            self._package("rpm", name, version)
            if len(digest) == _SHA256_HEX:
                row = gate_list.row(os.fsencode(path), self._index["rpm", name], sha256=bytes.fromhex(digest))
                self.rows.append(row)

    def add_places(self) -> None:
        """Programs of covered pip and npm packages, by their content now."""
        programs = Programs()
        for folder in globbed(self._root, PIP_ROOTS):
            for path, package in pip_packages(folder, ""):
                if mark := self._mark("pip", package.name):
                    self._allow(programs, _recorded(path, folder), mark)
        for folder in globbed(self._root, NPM_ROOTS):
            for path, package in npm_packages(folder, ""):
                if mark := self._mark("npm", package.name):
                    self._allow(programs, (name for name, _ in programs.walk([path.parent])), mark)

    def uncovered(self, essential: tuple[str, ...] = ESSENTIAL) -> tuple[str, ...]:
        """Essential programs that exist below the root and that these rows do not let everybody run."""
        prefix = os.fsencode(self._root).rstrip(b"/")
        allowed = {
            row[:8] for row in self.rows if self._covered[int.from_bytes(row[24:], "little") & 0x7FFFFFFF]
        }
        missing = []
        for path in essential:
            real = resolve(prefix, path.encode())
            if (
                Path(os.fsdecode(real)).is_file()
                and gate_list.path_hash(real.removeprefix(prefix)) not in allowed
            ):
                missing.append(path)
        return tuple(missing)

    def _mark(self, source: str, name: str) -> str:
        packages = self._plan.cover.get(source, {})
        return packages.get(name) or packages.get("*", "")

    def _package(self, source: str, name: str, version: str) -> None:
        if (source, name) not in self._index:
            cover = self._mark(source, name) or "-"
            self._index[source, name] = len(self.packages)
            self._covered.append(cover == "+")
            self.packages.append(gate_list.package_line(source, name, version, cover=cover))

    def _add(self, path: str, source: str, name: str, md5_hex: str) -> None:
        index = self._index.get((source, name))
        try:
            md5 = bytes.fromhex(md5_hex)
        except ValueError:
            return  # a broken line covers nothing
        if index is not None:
            self.rows.append(gate_list.row(os.fsencode(path), index, md5=md5))

    def _pin(self, path: str, source: str, name: str) -> None:
        """A program without a shipped checksum: what it is now, or was when this version was first seen."""
        real = str(self._root).rstrip("/") + path
        found = program_stat(real)
        if found is None or not stat.S_ISREG(found.st_mode):
            return
        index = self._index[source, name]
        line = self.packages[index].partition(b"\t")[2]
        check = self._known.get((gate_list.path_hash(os.fsencode(path)), line))
        digest = check or sha256(Path(real).read_bytes()).digest()
        self.rows.append(gate_list.row(os.fsencode(path), index, sha256=digest))

    def _allow(self, programs: Programs, paths: Iterable[str], mark: str) -> None:
        uids = [gate_list.EVERYBODY] if mark == "+" else [int(uid) for uid in mark.split(",")]
        for path in paths:
            found = program_stat(path)
            if found is not None:
                digest = bytes.fromhex(programs.digest(path, found))
                self.digests += [(digest, uid) for uid in uids]


def _recorded(metadata: Path, folder: Path) -> list[str]:
    """Absolute paths of the files a pip package recorded (RECORD of the wheel format)."""
    try:
        text = (metadata / "RECORD").read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    return [
        os.path.normpath(folder / line.rsplit(",", 2)[0].strip('"')) for line in text.splitlines() if line
    ]


def build(plan: Plan, target: Path) -> Built:
    """Write the list. Raises OSError, ValueError (broken database), CalledProcessError (rpm)."""
    began = time.time_ns()
    builder = Builder(plan, gate_list.pins(str(target)))
    builder.add_dpkg()
    builder.add_rpm()
    builder.add_places()
    uncovered = builder.uncovered()
    every_dpkg = plan.cover.get("dpkg", {}).get("*") == "+"
    safe = plan.enforce and builder.rows and not uncovered
    data = gate_list.encode(
        flags=(gate_list.ENFORCE if safe else 0) | (gate_list.EVERY_DPKG if every_dpkg else 0),
        built_ns=began,
        rows=builder.rows,
        digests=builder.digests,
        packages=builder.packages,
        folders=[os.fsencode(folder.rstrip("/") + "/") for folder in plan.folders],
    )
    new = target.with_name(target.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    new.replace(target)
    result: Literal["enforce", "observe", "unsafe"] = (
        "enforce" if safe else "unsafe" if plan.enforce else "observe"
    )
    return Built(
        result=result,
        paths=len(builder.rows),
        packages=len(builder.packages),
        digests=len(builder.digests),
        uncovered=uncovered if plan.enforce else (),
    )


def main() -> None:
    """Entry point of the building process."""
    plan_path, list_path = sys.argv[1:]
    plan = msgspec.msgpack.decode(Path(plan_path).read_bytes(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(build(plan, Path(list_path))))


if __name__ == "__main__":
    main()
