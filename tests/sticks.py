"""Real media: an ext4 file behind a loop device, or a zram disk plugged in and out."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ZRAM = Path("/sys/class/zram-control")


def run(*command: str) -> str:
    """Run a command; fails with its own words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def mount(node: str, place: Path, options: str = "rw") -> None:
    """Mount a node, making the place."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", options, node, str(place))


@contextmanager
def loop_stick(folder: Path, label: str = "STICK", size: int = 16 << 20) -> Iterator[str]:
    """An ext4 medium of `size` bytes; yields its node."""
    image = folder / f"{label}.img"
    with image.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-L", label, str(image))
    node = run("losetup", "--find", "--show", str(image))
    try:
        yield node
    finally:
        run("losetup", "--detach", node)


@contextmanager
def zram_stick(label: str = "ZSTICK") -> Iterator[str]:
    """A disk that is hot-plugged for real; yields its node."""
    number = (_ZRAM / "hot_add").read_text().strip()
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text("16M")
        run("mkfs.ext4", "-q", "-L", label, f"/dev/zram{number}")
        yield f"/dev/zram{number}"
    finally:
        (_ZRAM / "hot_remove").write_text(number)
