"""The cut itself: which way stays open, the transaction, and the probes that prove it. Knows nothing of orders."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from agent.identity import Identity
from agent.platform.linux.isolation_rules import (
    FAMILIES,
    LEVELS,
    NAME,
    Level,
    Path,
    render_isolation,
    render_release,
)
from agent.platform.linux.ruleset import Collector
from agent.platform.ports import UnsupportedError
from protocol.refusal import RefusedError
from protocol.trust import TrustRoot

if TYPE_CHECKING:
    from agent.platform import Platform

PROBE_MS = 250
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Documentation addresses (RFC 5737, RFC 3849): nobody answers there, and nobody may be asked."""
_COUNTERS = re.compile(r"counter packets \d+ bytes \d+")


class Proof(Struct, frozen=True):
    """What the probes found."""

    must_succeed: bool
    must_fail: bool
    detail: str = ""


class Cut:
    """The isolation tables of this PC."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.level: Level = LEVELS[0]
        """How strongly this kernel lets us cut."""
        self._listing: dict[str, str] = {}
        self.path: Path | None = None
        """The way out as last rendered."""

    # -- the way that stays ------------------------------------------------------------------------------------------

    def way(self, root: TrustRoot) -> Path:
        """Pinned addresses that are literal and have a route now. Raises RefusedError ``collector_unreachable``."""
        addresses, hops = [], []
        for text in root.addresses:
            try:
                address = str(ipaddress.ip_address(text))
            except ValueError:
                continue
            if (hop := self._platform.network.hop(address)) is not None:
                addresses.append(address)
                hops += [hop.next_hop] if hop.interface != "lo" else []
        if not addresses:
            raise RefusedError(
                "collector_unreachable",
                "no pinned collector address has a route",
                "check the PC's network first",
            )
        ports = (root.enrol_port, root.control_port, root.data_port)
        return Path(Collector(tuple(addresses), ports), tuple(dict.fromkeys(hops)), self._devices())

    def _devices(self) -> tuple[str, ...]:
        return tuple(name for name in self._platform.network.interfaces() if '"' not in name)

    def way_now(self, path: Path) -> Path:
        """The same collector by the routes and devices of now; a route that is gone for the moment changes nothing."""
        found = [self._platform.network.hop(address) for address in path.collector.addresses]
        hops = dict.fromkeys(hop.next_hop for hop in found if hop is not None and hop.interface != "lo")
        return Path(path.collector, tuple(hops) or path.hops, self._devices())

    def boot_rules(self, path: Path) -> str:
        """What is loaded at boot, when no device is there yet."""
        level: Level = "inet" if self.level == "inet" else "arp"
        return render_isolation(path, level, families=FAMILIES[:2])

    # -- acting ------------------------------------------------------------------------------------------------------

    def apply(self, path: Path, strongest: Level = LEVELS[0]) -> Level:
        """Cut, as strongly as this kernel can; one transaction. Returns the level. Raises OSError if none works."""
        complaint = OSError("nothing tried")
        for level in LEVELS[LEVELS.index(strongest) :]:
            cut = render_isolation(path, level)
            gone = [(family, NAME) for family in self.present() if f"table {family} " not in cut]
            try:
                self._platform.firewall.apply(render_release(gone) + cut)
            except OSError as error:
                complaint = error
                continue
            self.level, self.path = level, path
            self._listing = self.listing()
            return level
        raise complaint

    def load(self, rules: str) -> None:
        """Load what was written for the boot, while there is no route to make rules from. Raises OSError."""
        self._platform.firewall.apply(rules)
        self._listing = self.listing()

    def lift(self) -> None:
        """Take the tables away and read back that they are gone. Raises OSError."""
        firewall = self._platform.firewall
        if text := render_release(firewall.tables()):
            firewall.apply(text)
        if left := self.present():
            raise OSError(f"tables still there: {', '.join(sorted(left))}")
        self.path, self._listing = None, {}

    # -- reading back ------------------------------------------------------------------------------------------------

    def present(self) -> set[str]:
        """Families whose isolation table is there."""
        return {family for family, name in self._platform.firewall.tables() if name == NAME}

    def listing(self) -> dict[str, str]:
        """The tables as they are, without what counts by itself."""
        firewall = self._platform.firewall
        return {
            family: _COUNTERS.sub("counter", firewall.listing(family, NAME))
            for family in sorted(self.present())
        }

    def is_changed(self) -> bool:
        """Whether somebody changed what was set."""
        return self.listing() != self._listing

    def prove(self, path: Path) -> Proof:
        """Both probes. The one that must fail is answered by the kernel at once; the other has :data:`PROBE_MS`."""
        collector = path.collector
        near = [one for one in (*collector.addresses, *path.hops) if not _stays(one)]
        escaped = self._platform.network.escaped(tuple(dict.fromkeys([*near, *_ELSEWHERE])))
        control = collector.ports[1]
        reached = self._platform.network.reachable(collector.addresses, control, PROBE_MS)
        detail = []
        if not reached:
            detail.append(
                f"no connection to {', '.join(collector.addresses)} port {control} in {PROBE_MS} ms"
            )
        if escaped:
            detail.append(f"a datagram to {', '.join(escaped)} was not refused")
        return Proof(reached, not escaped, "; ".join(detail))

    def destroy_sockets(self, path: Path) -> tuple[int, str]:
        """End established sockets; what cannot be ended only stalls. Returns how many, and why not."""
        try:
            return self._platform.sockets.destroy_all_but(path.collector.addresses), ""
        except (UnsupportedError, OSError) as error:
            return 0, f"established sockets stall but were not ended: {error}"

    def pinned(self) -> TrustRoot | None:
        """The trust root this PC has on disk; None before enrolment or when it cannot be read."""
        try:
            return Identity.load(self._platform.state).root
        except (RefusedError, OSError):
            return None


def _stays(address: str) -> bool:
    """Whether a datagram to it needs an interface named (link-local) or never leaves this PC."""
    parsed = ipaddress.ip_address(address)
    return parsed.is_link_local or parsed.is_loopback
