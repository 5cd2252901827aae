"""Which disks below / and the homes are encrypted: dm-crypt, found by sysfs (kernel ``Documentation/ABI/…/dm``)."""

from __future__ import annotations

from pathlib import Path

PLACES = ("/", "/home", "/var")
_MAX_DEPTH = 8


def encryption(proc: Path, sys: Path) -> str:
    """Return full | partial | none | unknown. Places on what is no block device (overlay, network) are not known."""
    try:
        table = (proc / "self/mountinfo").read_text("utf-8", "replace")
    except OSError:
        return "unknown"
    answers = set()
    for numbers in devices_below(table):
        device = sys / "dev/block" / numbers
        answers.add(is_encrypted(device) if device.exists() else None)
    if answers == {True}:
        return "full"
    if True in answers:
        return "partial"
    return "none" if answers == {False} else "unknown"


def devices_below(mountinfo: str) -> set[str]:
    """``major:minor`` of what is mounted at :data:`PLACES` (proc(5)); the last mount at a place counts."""
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        words = line.split(" ")
        if len(words) > 5 and words[4] in PLACES:
            found[words[4]] = words[2]
    return set(found.values())


def is_encrypted(device: Path, depth: int = 0) -> bool:
    """Whether everything below a block device passes dm-crypt: itself, or all that it is made of."""
    try:
        if (device / "dm/uuid").read_text(encoding="ascii").startswith("CRYPT-"):
            return True
    except (OSError, ValueError):
        pass
    try:
        below = list((device / "slaves").iterdir())
    except OSError:
        below = []
    return bool(below) and depth < _MAX_DEPTH and all(is_encrypted(one, depth + 1) for one in below)
