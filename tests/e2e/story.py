"""The story the demo tells and the end-to-end test checks: steps in a city hall, each proved by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.e2e.acts.beginning import Beginning
from tests.e2e.acts.connections import Connections
from tests.e2e.acts.cutting import Cutting
from tests.e2e.acts.devices import Devices
from tests.e2e.acts.programs import Programs
from tests.e2e.city import Told


class Story(Beginning, Devices, Programs, Connections, Cutting):
    """Steps are the methods named in ``STEPS``, told in order; each stands on those before."""

    def tell(self) -> Iterator[tuple[str, Callable[[], Told]]]:
        """Step names with what to call, in order."""
        for name in STEPS:
            yield name, getattr(self, name)


STEPS = (
    "enrolled",
    "unknown_device_blocked",
    "permitted_device_allowed",
    "unknown_medium_blocked",
    "unapproved_software_denied",
    "approved_software_runs",
    "package_install_flagged",
    "external_connection_blocked",
    "permitted_connection_allowed",
    "alert_cites_article",
    "host_isolated",
    "collector_still_reached",
    "isolation_survives_agent_kill",
    "host_restored",
    "nothing_lost",
)
