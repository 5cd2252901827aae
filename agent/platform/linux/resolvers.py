"""Which name servers this PC asks (resolv.conf(5)), behind a local forwarder too."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

MAX_SERVERS = 8
_READ = 64 * 1024
FILE = "etc/resolv.conf"
UPSTREAMS = ("run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf")
"""Where systemd-resolved and NetworkManager's dnsmasq name the servers behind their own address."""


def parse_resolv_conf(text: str) -> tuple[str, ...]:
    """Return the addresses of name servers, at most :data:`MAX_SERVERS`, in order; what is no address is passed over."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found[str(ipaddress.ip_address(words[1].partition("%")[0]))] = None
            except ValueError:
                continue
    return tuple(found)[:MAX_SERVERS]


def read_resolvers(root: Path) -> tuple[str, ...]:
    """Name servers below ``root``; those behind a forwarder on loopback, where it says which."""
    named = parse_resolv_conf(_text(root / FILE))
    if named and all(ipaddress.ip_address(one).is_loopback for one in named):
        for place in UPSTREAMS:
            if behind := parse_resolv_conf(_text(root / place)):
                return behind
    return named


def watched(root: Path) -> dict[str, set[str]]:
    """Folder → names in it whose change means other name servers; a symlink's target is watched as well."""
    places = [root / FILE, *(root / place for place in UPSTREAMS)]
    with contextlib.suppress(OSError, RuntimeError):  # a loop of symlinks names no server either
        places.append((root / FILE).resolve())
    found: dict[str, set[str]] = {}
    for place in places:
        if place.parent.is_dir():
            found.setdefault(str(place.parent.resolve()), set()).add(place.name)
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_READ).decode("utf-8", "replace")
    except OSError:
        return ""
