"""Real .deb packages, built and installed by dpkg into a root of the test's own."""

import hashlib
import subprocess
from pathlib import Path


def dpkg_root(folder: Path) -> Path:
    """An empty root with a dpkg database."""
    root = folder / "root"
    for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"):
        (root / name).mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    return root


def make_deb(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """Build a package with checksums; all its files are executable."""
    tree = folder / f"{name}-{version}"
    control = tree / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.jp>\n"
        "Description: test\n"
    )
    sums = ""
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
        (tree / path).chmod(0o755)
        sums += f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {path}\n"
    (control / "md5sums").write_text(sums)
    target = folder / f"{name}_{version}.deb"
    _run("dpkg-deb", "--build", "--root-owner-group", str(tree), str(target))
    return target


def install(root: Path, deb: Path) -> None:
    """Install into ``root``; nothing of the machine is touched."""
    _run("dpkg", f"--root={root}", f"--log={root}/dpkg.log", "--force-all", "-i", str(deb))


def remove(root: Path, name: str) -> None:
    """Purge from ``root``."""
    _run("dpkg", f"--root={root}", f"--log={root}/dpkg.log", "--force-all", "--purge", name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
