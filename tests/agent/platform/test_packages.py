"""Package databases and user places: real dpkg in a root of its own, pip metadata, programs, and broken files."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.packages import SOURCES, LinuxPackages
from agent.platform.linux.packages_dpkg import Dpkg, parse_diversions, parse_status, real_path
from agent.platform.linux.packages_places import parse_metadata
from agent.platform.ports import Package
from tests.debs import dpkg_root, install, make_deb, remove
from tests.gatelab import program

STATUS = b"""Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
Conffiles:
 /etc/adduser.conf 46cf9a0a1ea3b2dd1b4ba2c4c2cc7c6e
 /etc/old.conf 46cf9a0a1ea3b2dd1b4ba2c4c2cc7c6e obsolete
Description: add users
 Package: fake

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install reinstreq half-configured
Version: 2
"""


def test_status_file() -> None:
    found = list(parse_status(STATUS.splitlines(keepends=True)))
    assert [(entry.name, entry.version) for entry in found] == [("adduser", "3.134"), ("half", "2")]
    assert list(found[0].conffiles) == ["/etc/adduser.conf"]


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_any_status_file_is_read(lines: list[bytes]) -> None:
    for entry in parse_status(lines):
        assert entry.name
        assert entry.version


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9.+-]{1,20}", fullmatch=True),
            st.from_regex(r"[0-9][0-9a-z.+~-]{0,10}", fullmatch=True),
            st.sampled_from(["installed", "unpacked", "config-files", "not-installed"]),
        ),
        max_size=10,
    )
)
def test_packages_in_a_status_file_are_found(written: list[tuple[str, str, str]]) -> None:
    text = "".join(
        f"Package: {name}\nStatus: install ok {state}\nVersion: {version}\nDescription: x\n .\n\n"
        for name, version, state in written
    )
    found = [(entry.name, entry.version) for entry in parse_status(text.encode().splitlines(keepends=True))]
    there = {"installed", "unpacked"}
    assert found == [(name, version) for name, version, state in written if state in there]


@given(st.text(max_size=200))
def test_any_metadata_is_read(text: str) -> None:
    parse_metadata(text)


@given(st.text(max_size=200))
def test_any_diversions_are_read(text: str) -> None:
    parse_diversions(text)


def test_where_a_packaged_file_really_lies() -> None:
    diversions = parse_diversions("/usr/bin/pg\n/usr/bin/pg.real\ncommon\nrest\n")
    assert real_path("/usr/bin/pg", "other", (), diversions) == "/usr/bin/pg.real"
    assert real_path("/usr/bin/pg", "common", (), diversions) == "/usr/bin/pg"
    assert real_path("/bin/ls", "coreutils", ("/bin/",), {}) == "/usr/bin/ls"
    assert real_path("/binary", "x", ("/bin/",), {}) == "/binary"


@pytest.mark.needs("dpkg", "root")
def test_real_dpkg(tmp_path: Path) -> None:
    root = dpkg_root(tmp_path)
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    install(root, make_deb(tmp_path, "tool", "1.2", {"bin/tool": b"#!/bin/sh\n"}))
    packages = LinuxPackages(root)
    assert list(packages.installed("dpkg")) == [Package("dpkg", "tool", "1.2")]
    assert packages.owner("/usr/bin/tool") == Package("dpkg", "tool", "1.2")
    assert packages.owner("/usr/bin/other") is None
    digest = hashlib.md5(b"#!/bin/sh\n", usedforsecurity=False).hexdigest()
    assert list(Dpkg(root).checksums()) == [("tool", "/usr/bin/tool", digest)]
    remove(root, "tool")
    assert list(packages.installed("dpkg")) == []
    assert packages.owner("/usr/bin/tool") is None


@pytest.mark.needs("dpkg")
def test_this_machine_agrees_with_dpkg_query() -> None:
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = sorted(line.split()[1:] for line in said.stdout.splitlines() if line.startswith("installed "))
    assert sorted([entry.name, entry.version] for entry in Dpkg(Path("/")).entries()) == expected


def test_pip_packages(tmp_path: Path) -> None:
    site = tmp_path / "usr/local/lib/python3.11/dist-packages"
    for name, version in (("requests", "2.31"), ("Broken", "")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: body\n"
        )
    (site / "empty-1.dist-info").mkdir()
    (site / "old-1.0.egg-info").write_text("Name: old\nVersion: 1.0\n")
    user = tmp_path / "home/yamada/.local/lib/python3.11/site-packages/pandas-2.0.dist-info"
    user.mkdir(parents=True)
    (user / "METADATA").write_text("Name: pandas\nVersion: 2.0\n")
    found = {(package.name, package.version) for package in LinuxPackages(tmp_path).installed("pip")}
    assert found == {("requests", "2.31"), ("Broken", ""), ("old", "1.0"), ("pandas", "2.0")}


def test_npm_packages(tmp_path: Path) -> None:
    modules = tmp_path / "usr/local/lib/node_modules"
    for name, text in (
        ("typescript", '{"name": "typescript", "version": "5.0.0"}'),
        ("@angular/cli", '{"name": "@angular/cli", "version": "17.0"}'),
        ("broken", "{"),
        ("list", "[]"),
    ):
        (modules / name).mkdir(parents=True)
        (modules / name / "package.json").write_text(text)
    found = [(package.name, package.version) for package in LinuxPackages(tmp_path).installed("npm")]
    assert sorted(found) == [("@angular/cli", "17.0"), ("typescript", "5.0.0")]


@pytest.mark.needs("dpkg", "root")
def test_programs_in_user_places(tmp_path: Path) -> None:
    root = dpkg_root(tmp_path)
    install(root, make_deb(tmp_path, "vendor", "1", {"opt/vendor/tool": program("vendor")}))
    home = root / "home/yamada"
    home.mkdir(parents=True)
    for name, content, mode in (
        ("game", program("game"), 0o755),
        ("script", b"#!/bin/sh\n", 0o755),
        ("data", b"\x7fELF not executable", 0o644),
        ("text", b"hello world", 0o755),
    ):
        (home / name).write_bytes(content)
        (home / name).chmod(mode)
    (home / "link").symlink_to("/bin/sh")
    packages = LinuxPackages(root)
    found = {package.name: package.digest for package in packages.installed("user_place")}
    assert found == {
        "/home/yamada/game": hashlib.sha256(program("game")).hexdigest(),
        "/home/yamada/script": hashlib.sha256(b"#!/bin/sh\n").hexdigest(),
    }
    one = packages.examine(str(home / "game"))
    assert one is not None
    assert one.digest == found["/home/yamada/game"]
    assert packages.examine(str(root / "opt/vendor/tool")) is None
    assert packages.examine(str(home / "nothing")) is None


def test_watched_places_exist(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "home/yamada").mkdir(parents=True)
    (tmp_path / "home/yamada/bin").mkdir()
    (tmp_path / "usr/lib/python3/dist-packages").mkdir(parents=True)
    packages = LinuxPackages(tmp_path)
    watched = {source: {Path(one) for one in packages.watched(source)} for source in SOURCES}
    assert watched == {
        "dpkg": {tmp_path / "var/lib/dpkg"},
        "rpm": set(),
        "pip": {tmp_path / "usr/lib/python3/dist-packages"},
        "npm": set(),
        "user_place": {tmp_path / "home/yamada", tmp_path / "home/yamada/bin"},
    }


def test_a_program_read_before_is_not_read_again(tmp_path: Path) -> None:
    game = tmp_path / "home/yamada/game"
    game.parent.mkdir(parents=True)
    game.write_bytes(program("game"))
    game.chmod(0o755)
    packages = LinuxPackages(tmp_path)
    used = packages.recall({})
    (found,) = packages.installed("user_place")
    assert list(used.values()) == [found.digest]
    again = packages.recall(dict.fromkeys(used, "kept") | {(1, 2, 3, 4, 5): "gone"})
    (found,) = packages.installed("user_place")
    assert found.digest == "kept"
    assert again == dict.fromkeys(used, "kept")
    game.write_bytes(program("game 2"))
    (found,) = packages.installed("user_place")
    assert found.digest == hashlib.sha256(program("game 2")).hexdigest()
