"""Measures the PC's own protection from files, sysfs and the packet filter; a few milliseconds, no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.platform.linux.packages_dpkg import parse_status
from agent.platform.linux.posture_antivirus import (
    CLAMAV,
    has_clamav,
    product,
    running_scanners,
    signatures_built_at,
)
from agent.platform.linux.posture_disks import encryption
from agent.platform.linux.posture_firewall import judge_firewall
from agent.platform.linux.posture_updates import (
    AptCount,
    autorun,
    os_name,
    reboot_required,
    update_age_days,
)
from agent.platform.ports import Firewall, UnsupportedError
from agent.platform.posture_ports import Posture, UpdateCount

_STATUS, _APT_GET = "var/lib/dpkg/status", "/usr/bin/apt-get"
_STAMPS = (_STATUS, "var/lib/apt/lists", "var/cache/apt/pkgcache.bin")
_LEGACY = "self/net/ip_tables_names"
_HOUR_S = 3600


class LinuxPostureProbe:
    """Implements ``posture_ports.PostureProbe``. ``firewall`` gives the packet filter when it is first needed."""

    def __init__(self, root: Path, proc: Path, sys: Path, firewall: Callable[[], Firewall]) -> None:
        self._root, self._proc, self._sys, self._firewall = root, proc, sys, firewall
        self._version = (0, "")
        """Change time of dpkg's status, and the version of ClamAV it held."""

    def measure(self, now_us: int, updates_pending: int) -> Posture:
        now_s = now_us / 1e6
        running = running_scanners(self._proc)
        name = product(running, clamav=has_clamav(self._root))
        built = signatures_built_at(self._root) if name == CLAMAV else 0
        firewall, by = self._filters()
        return Posture(
            firewall=firewall,
            firewall_by=by,
            antivirus=f"{name} {self._clamav_version()}".strip() if name == CLAMAV else name,
            antivirus_running=bool(running),
            signature_age_h=int(max(0.0, now_s - built) // _HOUR_S) if built else -1,
            encryption=encryption(self._proc, self._sys),
            update_age_days=update_age_days(self._root, now_s, updates_pending),
            updates_pending=updates_pending,
            os=os_name(self._root),
            reboot_required=reboot_required(self._root),
            autorun=autorun(self._root),
        )

    def _filters(self) -> tuple[str, str]:
        try:
            firewall = self._firewall()
            state, by = judge_firewall(firewall.chains(), firewall.listing)
        except (OSError, UnsupportedError):
            return "unknown", ""
        if state == "off" and self._has_legacy():
            return "unknown", "iptables-legacy"
        return state, by

    def _has_legacy(self) -> bool:
        try:
            return "filter" in (self._proc / _LEGACY).read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return False

    def _clamav_version(self) -> str:
        """By dpkg; empty when another way installed it."""
        path = self._root / _STATUS
        try:
            changed = path.stat().st_mtime_ns
            if changed != self._version[0]:
                with path.open("rb") as file:
                    found = {
                        entry.name: entry.version for entry in parse_status(file) if "clam" in entry.name
                    }
                self._version = changed, found.get("clamav-daemon") or found.get("clamav", "")
        except OSError:
            return ""
        return self._version[1]

    def updates_stamp(self) -> tuple[int, ...]:
        stamps = []
        for name in _STAMPS:
            try:
                stamps.append((self._root / name).stat().st_mtime_ns)
            except OSError:
                stamps.append(0)
        return tuple(stamps)

    def count_updates(self) -> UpdateCount | None:
        if self._root != Path("/") or not Path(_APT_GET).exists():
            return None
        try:
            return AptCount(_APT_GET)
        except OSError:
            return None
