"""The way to the collector, which no policy closes."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from agent.identity import TRUST_FILE, Identity
from agent.platform.linux.ruleset import Collector
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from agent.platform import Platform


class KnownCollector:
    """Literal addresses out of the trust root; what was known stays when that cannot be read."""

    def __init__(self, platform: Platform) -> None:
        self._state, self._stamp = platform.state, 0
        self.known = Collector()
        """As last read."""

    def now(self) -> Collector:
        """As the trust root names it now; cheap while that does not change."""
        try:
            stamp = (self._state / TRUST_FILE).stat().st_mtime_ns
            if stamp != self._stamp:
                root = Identity.load(self._state).root
                ports = (root.enrol_port, root.control_port, root.data_port)
                self._stamp, self.known = stamp, Collector(_literal(root.addresses), ports)
        except (RefusedError, OSError):
            pass
        return self.known


def _literal(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Without names: resolving one would ask the network whom to let in."""
    found = []
    for one in addresses:
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_address(one)))
    return tuple(found)
