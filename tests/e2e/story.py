"""The story the demo tells and the end-to-end test checks: steps in a city hall, each proved by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.e2e.acts.beginning import Beginning
from tests.e2e.acts.confidential import Confidential
from tests.e2e.acts.connections import Connections
from tests.e2e.acts.cutting import Cutting
from tests.e2e.acts.devices import Devices
from tests.e2e.acts.governing import Governing
from tests.e2e.acts.links import Links
from tests.e2e.acts.permits import Permits
from tests.e2e.acts.programs import Programs
from tests.e2e.acts.strangers import Strangers
from tests.e2e.city import Told


class Story(
    Beginning, Devices, Programs, Connections, Strangers, Links, Confidential, Permits, Governing, Cutting
):
    """Steps are the methods named in ``STEPS``, told in order; each stands on those before."""

    def stage(self) -> None:
        """The gateway in the register, an access point in reach, a confidential place with something in it."""
        self.gateway_registered()
        self.access_point_in_reach()
        self.confidential_place_filled()

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
    "unregistered_machine_flagged",
    "wireless_refused",
    "my_number_stopped",
    "unprotected_pc_flagged",
    "unknown_service_flagged",
    "refusal_explained",
    "permit_asked_for",
    "permit_granted",
    "applicant_told",
    "permit_used",
    "permit_revoked",
    "policy_tried_first",
    "policy_released_by_ring",
    "alert_cites_article",
    "articles_covered",
    "host_isolated",
    "collector_still_reached",
    "isolation_survives_agent_kill",
    "host_restored",
    "nothing_lost",
)
