"""Links of a PC beside the designated line."""

from __future__ import annotations

import time

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.access_point import AccessPoint
from tests.e2e.testbed.machine import wait_for

PC = "lgwan-01"


class Links(City):
    """A wireless adapter in a PC of the LGWAN zone, and an access point that the city does not run."""

    point: AccessPoint

    def access_point_in_reach(self) -> None:
        """Switch the access point on; the PC is not joined to it yet."""
        self.point = AccessPoint(self.hall.pcs[PC], self.usb, self.hall.rogue)

    def wireless_refused(self) -> Told:
        """Joining it is undone at once; nothing gets through."""
        begin = time.monotonic()
        self.point.join()
        wait_for("the adapter to be taken down", lambda: not self.point.is_joined())
        took = (time.monotonic() - begin) * 1000
        require(not self.point.reaches_pc(), "the access point reaches the PC")
        alert = self.cited(PC, "link.changed", action="blocked", rule_id="wireless_on_confidential_network")
        require(self.site.host(PC)["online"], "the PC lost its collector")
        return Told(
            "wireless link wlan0: taken down, the access point gets no answer", took, self.article(alert)
        )
